"""`decide` and the fold, by facts alone: no disk, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from runner import decide as commands
from runner.decide import decide
from runner.events import facts
from runner.policy.model import Policy
from runner.policy.rules import stalled
from runner.state import State, evolve
from runner.values import (
    CheckResult,
    Effect,
    Limits,
    StopKind,
    ToolCall,
    Usage,
)
from tests.unit.decide_parts import (
    BASE,
    CHECKED,
    CREATED,
    FIRST,
    PARKED,
    RESUMED,
    SECOND,
    SHORT,
    call,
    checked,
    next_after,
    one_iteration,
    sent,
    settled,
    state_after,
    stop_after,
)


def test_the_first_command_keeps_the_tree_as_it_was_found():
    assert next_after() == commands.MakeCheckpoint("as found")


def test_setup_runs_once_before_the_first_iteration():
    policy = replace(CHECKED, has_setup=True)
    assert next_after(BASE, policy=policy) == commands.RunSetup()
    done = facts.SetupFinished(ok=True)
    assert next_after(BASE, done, policy=policy) == commands.MakeCheckpoint("after setup")
    assert next_after(BASE, done, facts.TreeUnchanged(tree="t0"), policy=policy) == commands.StartIteration(1)


def test_a_stop_asked_for_before_the_setup_comes_before_it():
    soft = facts.StopAsked(by="SIGINT", now=False)
    assert stop_after(BASE, soft, policy=replace(CHECKED, has_setup=True)) is StopKind.INTERRUPTED


def test_a_failed_setup_fails_the_run():
    policy = replace(CHECKED, has_setup=True)
    assert stop_after(BASE, facts.SetupFinished(ok=False), policy=policy) is StopKind.FAILED


def test_a_reply_with_tools_runs_them_in_order_then_keeps_the_tree_then_calls_again():
    begun = (BASE, FIRST, sent(), settled("a", "b"))
    assert next_after(*begun) == commands.RunTool(ToolCall("a", "write_file", "{}"))
    started = facts.ToolStarted(call=ToolCall("a", "write_file", "{}"), effect=Effect.WRITES, path="x")
    finished = facts.ToolFinished(call_id="a", name="write_file", text="ok", ok=True, effect=Effect.WRITES)
    refused = facts.ToolRefused(call=ToolCall("b", "write_file", "{}"), reason="no")
    assert next_after(*begun, started, finished) == commands.RunTool(ToolCall("b", "write_file", "{}"))
    assert next_after(*begun, started, finished, refused) == commands.MakeCheckpoint("iteration 1, step 1")
    kept = facts.CheckpointMade(number=1, commit="c1", tree="t1", reason="step")
    assert next_after(*begun, started, finished, refused, kept) == commands.CallModel(call(2))


def test_a_reading_tool_needs_no_checkpoint():
    started = facts.ToolStarted(call=ToolCall("a", "read_file", "{}"), effect=Effect.READS)
    finished = facts.ToolFinished(call_id="a", name="read_file", text="ok", ok=True, effect=Effect.READS)
    assert next_after(BASE, FIRST, sent(), settled("a"), started, finished) == commands.CallModel(call(2))


def test_two_calls_with_the_same_id_in_one_reply_are_both_answered():
    finished = facts.ToolFinished(call_id="a", name="write_file", text="ok", ok=True, effect=Effect.READS)
    command = next_after(BASE, FIRST, sent(), settled("a", "a"), finished)
    assert isinstance(command, commands.RunTool)


def test_a_reply_without_tools_ends_the_iteration_and_its_checks_follow():
    assert next_after(BASE, FIRST, sent(), settled(text="done")) == commands.FinishIteration("answered")
    over = facts.IterationFinished(iteration=1, ending="answered")
    assert next_after(BASE, FIRST, sent(), settled(text="done"), over) == commands.RunChecks()


def test_a_cut_reply_runs_no_tool_and_ends_nothing():
    assert next_after(BASE, FIRST, sent(), settled("a", cut=True)) == commands.CallModel(call(2))


def test_the_limit_of_steps_ends_the_iteration_not_the_run():
    steps = (sent(1), settled(step=1, cut=True), sent(2), settled(step=2, cut=True))
    assert next_after(BASE, FIRST, *steps) == commands.FinishIteration("steps")


def test_money_that_runs_out_ends_the_iteration_with_its_checks_and_then_the_run():
    short = facts.CallRefused(call=call(), scope="run:r", need=50, headroom=10)
    assert next_after(BASE, FIRST, short) == commands.FinishIteration("money")
    over = facts.IterationFinished(iteration=1, ending="money")
    assert next_after(BASE, FIRST, short, over) == commands.RunChecks()
    assert stop_after(BASE, FIRST, short, over, checked(score=0.5)) is StopKind.BUDGET
    assert stop_after(BASE, FIRST, short, over, checked(score=1.0)) is StopKind.DONE


def test_other_runs_holds_are_waited_for_and_then_the_run_parks():
    busy = facts.CallRefused(call=call(), scope="project:p", need=50, headroom=10, others=True)
    assert next_after(BASE, FIRST, busy) == commands.WaitForHolds(50, 1_000 + CHECKED.budget_wait_ms)
    assert next_after(BASE, FIRST, busy, facts.HoldsWaited(room=True)) == commands.CallModel(call())
    assert stop_after(BASE, FIRST, busy, facts.HoldsWaited(room=False)) is StopKind.PARKED


def test_a_failed_attempt_waits_and_the_next_one_has_its_own_number():
    lost = facts.CallUnknown(call=call(), reason="dropped", retry_after_ms=500)
    assert next_after(BASE, FIRST, sent(), lost) == commands.WaitUntil(1_500)
    assert next_after(BASE, FIRST, sent(), lost, at=1_500) == commands.CallModel(call(1, 2))


def test_an_attempt_that_makes_no_sense_again_fails_the_run():
    assert stop_after(BASE, FIRST, sent(), facts.CallReleased(call=call(), reason="401")) is StopKind.FAILED


def test_too_many_failures_in_a_row_fail_the_run():
    tries = [
        event
        for attempt in range(1, CHECKED.max_attempts + 1)
        for event in (sent(1, attempt), facts.CallUnknown(call=call(1, attempt), reason="x", retry_after_ms=0))
    ]
    assert stop_after(BASE, FIRST, *tries) is StopKind.FAILED


def test_unknown_calls_keep_their_hold_for_ever():
    state = state_after(BASE, FIRST, sent(), facts.CallUnknown(call=call(), reason="x", retry_after_ms=0), RESUMED)
    assert (state.money.unknown, state.money.held, state.money.spent, state.money.tokens) == (100, 0, 0, 15)


def test_what_a_dead_driver_left_open_is_closed_first():
    started = facts.ToolStarted(call=ToolCall("a", "run", "{}"), effect=Effect.COMMANDS)
    assert next_after(BASE, FIRST, sent(), RESUMED) == commands.CloseCall(sent())
    assert next_after(BASE, FIRST, sent(), settled("a"), started, RESUMED) == commands.RecoverTool(started)
    assert next_after(BASE, FIRST, RESUMED) == commands.CompareWorkspace()


def test_somebody_elses_change_starts_a_fresh_iteration_and_counts_the_old_one():
    changed = (RESUMED, facts.WorkspaceChanged(paths=("x",)))
    assert isinstance(next_after(BASE, FIRST, *changed), commands.MakeCheckpoint)
    kept = facts.CheckpointMade(number=1, commit="c1", tree="t1", reason="changed by somebody else")
    assert next_after(BASE, FIRST, *changed, kept) == commands.StartIteration(2)


BACKGROUND = facts.ToolStarted(call=ToolCall("b", "run", "{}"), effect=Effect.COMMANDS, background=True)
BEGUN = (facts.ToolFinished(call_id="b", name="run", text="bg1", ok=True, effect=Effect.COMMANDS),)
KEPT = facts.TreeUnchanged(tree="t0")


def test_what_a_background_command_changes_after_a_checkpoint_is_the_runs_own_until_its_iteration_ends():
    going = (BASE, FIRST, sent(), settled("b"), BACKGROUND, *BEGUN, KEPT)
    assert state_after(*going).acted == (BACKGROUND,)
    crashed = state_after(*going, RESUMED)
    assert (crashed.acted, crashed.background) == ((BACKGROUND,), ())
    assert isinstance(next_after(*going, RESUMED, facts.WorkspaceCompared(tree="t9")), commands.MakeCheckpoint)
    assert state_after(*going, RESUMED, facts.WorkspaceCompared(tree="t9"), KEPT).acted == ()


def test_what_changes_after_a_stop_is_not_the_work_of_background_commands_that_were_ended():
    stopped = facts.RunStopped(kind=StopKind.INTERRUPTED, rule="interrupt")
    state = state_after(BASE, FIRST, sent(), settled("b"), BACKGROUND, *BEGUN, KEPT, stopped)
    assert (state.background, state.acted) == ((), ())


def test_a_rollback_of_a_crashed_run_leaves_nothing_of_its_iteration():
    back = (facts.RolledBack(to=0, undo=1), facts.CheckpointMade(number=2, commit="c2", tree="t0", reason="back"))
    lost = facts.CallUnknown(call=call(2), reason="the driver died during the call", retry_after_ms=0)
    calling = (BASE, FIRST, sent(1), settled(step=1, cut=True), sent(2), RESUMED, *back, RESUMED)
    assert next_after(*calling) == commands.CloseCall(sent(2))
    same = facts.WorkspaceCompared(tree="t0")
    assert next_after(*calling, lost, same) == commands.StartIteration(2)
    assert state_after(*calling, lost).money.unknown == 100
    started = facts.ToolStarted(call=ToolCall("a", "write_file", "{}"), effect=Effect.WRITES, path="x")
    acting = (BASE, FIRST, sent(), settled("a"), started, RESUMED, *back, RESUMED, same)
    assert next_after(*acting) == commands.StartIteration(2)


def test_what_a_background_command_left_is_kept_before_the_checks_look():
    over = facts.IterationFinished(iteration=1, ending="answered")
    ended = (BASE, FIRST, sent(), settled("b"), BACKGROUND, *BEGUN, KEPT, over)
    assert isinstance(next_after(*ended), commands.MakeCheckpoint)
    assert isinstance(next_after(*ended, KEPT), commands.RunChecks)


def test_a_stop_now_comes_before_everything_but_what_was_left_open():
    now = facts.StopAsked(by="operator", now=True)
    assert stop_after(BASE, FIRST, sent(), settled("a"), now) is StopKind.OPERATOR
    assert next_after(BASE, FIRST, sent(), now) == commands.CloseCall(sent())


@pytest.mark.parametrize("by", ["operator", "SIGTERM", "SIGINT"])
def test_a_stop_now_keeps_what_a_tool_was_cut_off_in_but_a_second_interrupt_does_not_wait(by):
    started = facts.ToolStarted(call=ToolCall("a", "run", "{}"), effect=Effect.COMMANDS)
    cut = facts.ToolFinished(call_id="a", name="run", text="", ok=False, effect=Effect.COMMANDS, interrupted=True)
    events = (BASE, FIRST, sent(), settled("a"), started, facts.StopAsked(by=by, now=True), cut)
    kept = facts.CheckpointMade(number=1, commit="c1", tree="t1", reason="stopped")
    assert isinstance(next_after(*events), commands.Stop if by == "SIGINT" else commands.MakeCheckpoint)
    assert isinstance(next_after(*events, kept), commands.Stop)


def test_a_first_interrupt_lets_the_step_finish():
    soft = facts.StopAsked(by="SIGINT", now=False)
    assert isinstance(next_after(BASE, FIRST, sent(), settled("a"), soft), commands.RunTool)
    assert stop_after(BASE, FIRST, soft) is StopKind.INTERRUPTED


@pytest.mark.parametrize(
    ("more", "policy"),
    [
        ({"score": 0.9}, CHECKED),
        ({"unticked": ("x",)}, CHECKED),
        ({"tampered": ("tests/test_a.py",)}, CHECKED),
        ({"foreign": ("tests/test_a.py",)}, CHECKED),
        ({}, replace(CHECKED, promise="DONE")),
        ({"score": None}, Policy(promise="DONE")),
    ],
)
def test_done_needs_score_checklist_untouched_files_and_the_promise(more, policy):
    assert next_after(BASE, *one_iteration(1, **{"score": 1.0, **more}), policy=policy) == commands.StartIteration(2)


def test_done_is_verified_only_with_checks():
    verified = next_after(BASE, *one_iteration(1, 1.0))
    claimed = next_after(BASE, *one_iteration(1, None, claimed=True), policy=Policy(promise="DONE"))
    assert isinstance(verified, commands.Stop)
    assert isinstance(claimed, commands.Stop)
    assert (verified.reason.verified, claimed.reason.verified) == (True, False)
    assert verified.reason.exit_code == claimed.reason.exit_code == 0


def test_what_somebody_changed_after_the_checks_is_not_verified():
    killed = (BASE, *one_iteration(1, 1.0), RESUMED, facts.WorkspaceChanged(paths=("x",)))
    kept = facts.CheckpointMade(number=1, commit="c1", tree="t1", reason="changed by somebody else")
    assert next_after(*killed, kept) == commands.StartIteration(2)


def test_a_verdict_by_the_agents_own_tests_says_so():
    own = next_after(BASE, *one_iteration(1, 1.0, self_tested=True))
    given = next_after(BASE, *one_iteration(1, 1.0))
    assert isinstance(own, commands.Stop)
    assert isinstance(given, commands.Stop)
    assert "self-tested" in own.reason.detail
    assert "self-tested" not in given.reason.detail


def test_a_false_claim_stops_where_the_spec_says_so():
    policy = replace(CHECKED, on_false_claim="stop", promise="DONE")
    assert stop_after(BASE, *one_iteration(1, 0.5, claimed=True), policy=policy) is StopKind.FALSE_CLAIM


def test_iterations_run_out():
    three = [event for number in (1, 2, 3) for event in one_iteration(number, number / 10, f"t{number}")]
    assert stop_after(BASE, *three) is StopKind.LIMIT


@pytest.mark.parametrize(
    ("scores", "trees", "rule"),
    [
        ((0.5, 0.4, 0.3, 0.5), "abcd", "stall.score"),
        ((None, None, None, None), "aaaa", "stall.tree"),
        ((0.5, 0.5, 0.5, 0.5), "abcd", "stall.failure"),
    ],
)
def test_a_stall_names_its_evidence(scores, trees, rule):
    events = [e for n, (s, t) in enumerate(zip(scores, trees, strict=True), 1) for e in one_iteration(n, s, t)]
    state = structs.replace(state_after(BASE, *events), limits=Limits())
    command = decide(state, replace(CHECKED, promise="X"), 1_000)
    assert isinstance(command, commands.Stop)
    assert command.reason.rule == rule


def test_a_failure_that_stays_is_told_by_the_names_of_its_checks():
    failing = (
        CheckResult(name="it greets by name", exit_code=1, score=0.0),
        CheckResult(name="it greets the world", exit_code=1, score=0.0),
        CheckResult(name="it exists", exit_code=0, score=1.0),
    )
    rounds = [one_iteration(number, 0.5, f"t{number}") for number in range(1, 5)]
    state = state_after(
        BASE,
        *(replace(e, results=failing) if isinstance(e, facts.ChecksFinished) else e for one in rounds for e in one),
    )
    stop = stalled(structs.replace(state, limits=Limits()), CHECKED)
    assert stop is not None
    assert stop.detail == "the same checks fail for 3 iterations: it greets by name, it greets the world"


def test_a_better_score_is_no_stall():
    events = [e for n, s in enumerate((0.1, 0.2, 0.3, 0.4), 1) for e in one_iteration(n, s, "t" + str(n))]
    state = structs.replace(state_after(BASE, *events), limits=Limits())
    assert decide(state, CHECKED, 1_000) == commands.StartIteration(5)


def test_a_stalled_run_resumed_by_its_user_gets_a_new_window():
    events = [e for n in range(1, 5) for e in one_iteration(n, 0.5, f"t{n}")]
    stopped = facts.RunStopped(kind=StopKind.STALLED, rule="stall.score")
    same = facts.WorkspaceCompared(tree=BASE.tree)
    state = structs.replace(state_after(BASE, *events, stopped, RESUMED, same), limits=Limits())
    assert decide(state, CHECKED, 1_000) == commands.StartIteration(5)


def test_time_counts_only_while_a_driver_works():
    state = State()
    parked = facts.RunStopped(kind=StopKind.PARKED, rule="budget_wait")
    happened: list[tuple[int, facts.Event]] = [(0, CREATED), (1_000, RESUMED), (31_000, parked), (999_000, RESUMED)]
    for seq, (at, event) in enumerate(happened, 1):
        state = evolve(state, event, at, seq)
    assert state.active_ms == 30_000
    assert evolve(state, facts.ClockJumped(by_ms=5_000_000), 6_000_000, 9).active_ms == pytest.approx(31_000, abs=1_000)


def test_active_time_and_deadline_stop_a_run():
    assert stop_after(BASE, FIRST, at=1_000 + 100_000) is StopKind.LIMIT
    late = facts.LimitsSet(limits=Limits(deadline=5_000))
    assert stop_after(BASE, FIRST, late, at=5_000) is StopKind.LIMIT


EVENTS = st.sampled_from(
    [
        BASE,
        FIRST,
        sent(),
        settled("a"),
        settled(text="done"),
        settled("a", cut=True),
        facts.CallUnknown(call=call(), reason="x", retry_after_ms=5),
        facts.CallReleased(call=call(), reason="x"),
        facts.CallRefused(call=call(), scope="s", need=1, headroom=0, others=True),
        facts.HoldsWaited(room=False),
        facts.ToolStarted(call=ToolCall("a", "run", "{}"), effect=Effect.COMMANDS),
        facts.ToolFinished(call_id="a", name="run", text="", ok=True, effect=Effect.COMMANDS),
        facts.TreeUnchanged(tree="t"),
        facts.WorkspaceChanged(paths=()),
        facts.IterationFinished(iteration=1, ending="answered"),
        checked(),
        checked(score=None),
        facts.StopAsked(by="SIGINT", now=False),
        facts.RunStopped(kind=StopKind.PARKED, rule="x"),
        PARKED,
        RESUMED,
        replace(RESUMED, now=True),
        settled("a", ending="paused"),
        settled("a", ending="refused"),
        settled(ending="window"),
        settled("a", usage=Usage(9_000, 2_000)),
        facts.CallReleased(call=call(), reason="529", retry_after_ms=9_000, cause="overload"),
        facts.CallReleased(call=call(), reason="429", retry_after_ms=9_000_000, cause="rate"),
        facts.CallReleased(call=call(), reason="401", cause="auth"),
        facts.CallReleased(call=call(), reason="400", cause="context"),
        facts.CallUnknown(call=call(), reason="x"),
        SHORT,
        replace(SHORT, fresh=True),
        facts.InputCounted(call=call(), tokens=None),
        facts.InputCounted(call=call(), tokens=5),
        SECOND,
        facts.CallReconciled(call=call(), held=100, cost=7, evidence="e", source="s"),
        facts.BoundViolated(call=call(), held=1, billed=2, what="x"),
        facts.ProtectedChanged(path="p", digest="d", by="agent"),
        facts.ProtectedAccepted(path="p", digest="d"),
        facts.RolledBack(to=0, undo=1),
    ]
)


RICH = replace(CHECKED, engines=2, can_count=(True, False), contexts=(10_000, 0), min_output=1_000)


@given(st.lists(EVENTS, max_size=40), st.integers(0, 10**9))
def test_decide_is_total_and_the_fold_never_fails(events, now):
    state = state_after(*events)
    for policy in (CHECKED, RICH):
        assert decide(state, policy, now) == decide(state, policy, now)
    assert state.money.held == sum(one.hold for one in state.open_calls.values())
    assert state.money.held >= 0
    assert state.money.unknown == sum(state.unknown_calls.values())
