"""`decide` and the fold, by facts alone: no disk, no clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
    CallId,
    CheckResult,
    Effect,
    Limits,
    Reply,
    Scope,
    ScopeKind,
    StopKind,
    ToolCall,
    Usage,
)

CREATED = facts.RunCreated(
    run="r",
    spec_path="/w/spec.md",
    spec_key="k",
    spec_text="# Work",
    workspace="/w",
    origin="/w",
    worktree=False,
    model="m",
    prices_digest="p",
    scopes=(Scope(ScopeKind.RUN, "r"),),
    limits=Limits(usd=10**9, iterations=3, steps=2, duration_s=100),
)
RESUMED = facts.RunResumed(epoch=1, pid=1, boot_id="b")
BASE = facts.CheckpointMade(number=0, commit="c0", tree="t0", reason="as found")
FIRST = facts.IterationStarted(iteration=1, system="s", prompt="p")
CHECKED = Policy(has_checks=True)


def call(step: int = 1, attempt: int = 1) -> CallId:
    return CallId(1, step, attempt)


def sent(step: int = 1, attempt: int = 1) -> facts.CallDispatched:
    return facts.CallDispatched(call=call(step, attempt), model="m", input_bound=10, granted_output=5, hold=100)


def settled(
    *tools: str, step: int = 1, text: str = "", cut: bool = False, ending: str = "", usage: Usage | None = None
) -> facts.CallSettled:
    calls = tuple(ToolCall(name, "write_file", "{}") for name in tools)
    reply = Reply(text=text, tool_calls=calls, cut=cut, ending=ending)
    return facts.CallSettled(call=call(step), usage=usage or Usage(7, 3), cost=40, reply=reply, input_cost=30)


def checked(iteration: int = 1, score: float | None = 1.0, tree: str = "t", **more: Any) -> facts.ChecksFinished:
    results = () if score is None else (CheckResult(name="c", exit_code=int(score < 1), score=score),)
    return facts.ChecksFinished(iteration=iteration, results=results, score=score, tree=tree, **more)


def state_after(*events: facts.Event, at: int = 1_000) -> State:
    state = State()
    for seq, event in enumerate((CREATED, RESUMED, *events), start=1):
        state = evolve(state, event, at, seq)
    return state


def next_after(*events: facts.Event, policy: Policy = CHECKED, at: int = 1_000) -> commands.Command:
    return decide(state_after(*events), policy, at)


def stop_after(*events: facts.Event, policy: Policy = CHECKED, at: int = 1_000) -> StopKind:
    command = next_after(*events, policy=policy, at=at)
    assert isinstance(command, commands.Stop), command
    return command.reason.kind


def one_iteration(number: int, score: float | None, tree: str = "t", *, claimed: bool = False, **more: object):
    return (
        facts.IterationStarted(iteration=number, system="s", prompt="p"),
        facts.IterationFinished(iteration=number, ending="answered", claimed=claimed),
        checked(number, score, tree, **more),
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


# ---- money that is short, windows that are full, replies that end otherwise -----------------------------------

SHORT = facts.CallRefused(call=call(2), scope="run:r", need=50, headroom=10)
STEP = (BASE, facts.LimitsSet(limits=Limits(usd=10**9, iterations=3)), FIRST, sent(), settled(step=1, cut=True))


def test_money_for_a_fresh_iteration_only_is_used_there():
    fresh = replace(SHORT, fresh=True)
    assert next_after(*STEP, fresh) == commands.FinishIteration("handoff")
    over = facts.IterationFinished(iteration=1, ending="handoff")
    assert next_after(*STEP, fresh, over) == commands.RunChecks()
    assert next_after(*STEP, fresh, over, checked(score=0.5)) == commands.StartIteration(2)


def test_an_iteration_that_cannot_begin_ends_the_run_whatever_a_fresh_one_would_cost():
    refused = replace(SHORT, call=call(1), fresh=True)
    assert next_after(BASE, FIRST, refused) == commands.FinishIteration("money")


COUNTING = replace(CHECKED, can_count=(True,))


def test_what_does_not_fit_by_its_bytes_is_counted_once_before_money_has_run_out():
    assert next_after(*STEP, SHORT, policy=COUNTING) == commands.CountInput(call(2))
    for tokens in (900, None):
        counted = facts.InputCounted(call=call(2), tokens=tokens)
        assert next_after(*STEP, SHORT, counted, policy=COUNTING) == commands.CallModel(call(2))
        assert next_after(*STEP, SHORT, counted, SHORT, policy=COUNTING) == commands.FinishIteration("money")
    # the next step has words that nobody counted yet
    again = (sent(2), settled(step=2, cut=True), replace(SHORT, call=call(3)))
    later = next_after(*STEP, facts.InputCounted(call=call(2), tokens=9), *again, policy=COUNTING)
    assert later == commands.CountInput(call(3))


def test_a_count_is_not_remembered_by_another_driver():
    counted = (SHORT, facts.InputCounted(call=call(2), tokens=900), RESUMED, SAME, SHORT)
    assert next_after(*STEP, *counted, policy=COUNTING) == commands.CountInput(call(2))


def test_nobody_counts_while_other_runs_hold_what_is_left():
    busy = replace(SHORT, others=True)
    assert isinstance(next_after(*STEP, busy, policy=COUNTING), commands.WaitForHolds)


@pytest.mark.parametrize(
    ("ending", "command"),
    [
        ("refused", commands.FinishIteration("refused")),
        ("filtered", commands.FinishIteration("refused")),
        ("withheld", commands.FinishIteration("refused")),
        ("window", commands.FinishIteration("context")),
        ("paused", commands.CallModel(call(2))),
        ("", commands.FinishIteration("answered")),
    ],
)
def test_a_reply_that_ended_otherwise_is_no_answer(ending, command):
    assert next_after(BASE, FIRST, sent(), settled(ending=ending)) == command


@pytest.mark.parametrize("ending", ["refused", "filtered", "withheld", "window"])
def test_tools_of_a_reply_that_was_broken_off_never_run(ending):
    assert isinstance(next_after(BASE, FIRST, sent(), settled("a", ending=ending)), commands.FinishIteration)


def test_tools_of_a_paused_reply_run_and_it_is_asked_again():
    paused = (BASE, FIRST, sent(), settled("a", ending="paused"))
    assert isinstance(next_after(*paused), commands.RunTool)


WINDOWED = replace(CHECKED, contexts=(10_000,), min_output=1_000)


@pytest.mark.parametrize(("said", "full"), [(0, False), (5_997, False), (6_000, False), (6_001, True)])
def test_an_iteration_ends_before_the_models_window_is_full(said, full):
    reply = settled("a", usage=Usage(6_900, 100))
    tool = facts.ToolFinished(call_id="a", name="run", text="x" * said, ok=True, effect=Effect.READS)
    expected = commands.FinishIteration("context") if full else commands.CallModel(call(2))
    assert next_after(BASE, FIRST, sent(), reply, tool, policy=WINDOWED) == expected


def test_a_first_request_is_sent_whatever_the_window_and_a_window_nobody_knows_is_never_full():
    assert next_after(BASE, FIRST, policy=replace(WINDOWED, contexts=(10,))) == commands.CallModel(call(1))
    huge = settled(cut=True, usage=Usage(9_000_000, 100))
    assert next_after(BASE, FIRST, sent(), huge, policy=replace(WINDOWED, contexts=())) == commands.CallModel(call(2))


def test_a_window_counts_for_the_model_that_is_called():
    two = replace(WINDOWED, engines=2, contexts=(10_000, 1_000_000))
    full = (BASE, FIRST, sent(), settled(cut=True, usage=Usage(9_500, 100)))
    assert next_after(*full, policy=two) == commands.FinishIteration("context")
    switched = facts.ModelSwitched(model="n", engine=1, reason="x")
    assert next_after(*full, switched, policy=two) == commands.CallModel(call(2))


@pytest.mark.parametrize("cause", ["context", "size"])
def test_a_request_that_is_too_long_ends_its_iteration_unless_it_is_the_first(cause):
    too_long = facts.CallReleased(call=call(2), reason="400: too long", cause=cause)
    assert next_after(*STEP, sent(2), too_long) == commands.FinishIteration("context")
    first = next_after(BASE, FIRST, sent(), replace(too_long, call=call(1)), policy=WINDOWED)
    assert isinstance(first, commands.Stop)
    assert first.reason.kind is StopKind.FAILED
    assert first.reason.detail == (
        "400: too long (an iteration's first request: 10 tokens at most, the model's window holds 10000)"
    )


# ---- providers that are busy, and other models ------------------------------------------------------------------


def refusals(count: int, cause: str = "overload", wait: int = 10) -> list[facts.Event]:
    return [
        event
        for attempt in range(1, count + 1)
        for event in (
            sent(1, attempt),
            facts.CallReleased(call=call(1, attempt), reason="529", retry_after_ms=wait, cause=cause),
        )
    ]


@pytest.mark.parametrize("cause", ["rate", "overload"])
def test_a_busy_provider_costs_patience_not_attempts(cause):
    many = refusals(CHECKED.max_attempts * 4, cause)
    assert next_after(BASE, FIRST, *many) == commands.WaitUntil(1_010)
    state = state_after(BASE, FIRST, *many)
    assert state.iteration is not None
    assert (state.iteration.failures, state.money.spent, state.money.unknown, state.money.held) == (0, 0, 0, 0)


def test_other_refusals_count_as_failures():
    assert stop_after(BASE, FIRST, *refusals(CHECKED.max_attempts, "connect")) is StopKind.FAILED


def test_a_refusal_inside_a_stream_is_paid_for_and_counts_as_a_failure():
    lost = [
        event
        for n in range(1, CHECKED.max_attempts + 1)
        for event in (
            sent(1, n),
            facts.CallUnknown(call=call(1, n), reason="overloaded_error", retry_after_ms=0, cause="overload"),
        )
    ]
    assert stop_after(BASE, FIRST, *lost) is StopKind.FAILED


def parked_by(*events: facts.Event, policy: Policy = CHECKED, at: int = 1_000):
    command = next_after(BASE, *events, policy=policy, at=at)
    assert isinstance(command, commands.Stop), command
    assert command.reason.kind is StopKind.PARKED
    return command.reason.rule, command.reason.resume_at


def test_patience_with_a_busy_provider_ends_and_the_run_parks_until_the_next_attempt():
    busy = (FIRST, *refusals(1, wait=60_000))
    patient = replace(CHECKED, patience_ms=100_000)
    roomy = facts.LimitsSet(limits=Limits())
    assert next_after(BASE, roomy, *busy, policy=patient) == commands.WaitUntil(61_000)
    more = (sent(1, 2), facts.CallReleased(call=call(1, 2), reason="529", retry_after_ms=60_000, cause="overload"))
    state = state_after(BASE, roomy, *busy)
    for seq, event in enumerate(more, 20):
        state = evolve(state, event, 61_000, seq)
    stop = decide(state, patient, 61_000)
    assert isinstance(stop, commands.Stop)
    assert (stop.reason.rule, stop.reason.resume_at) == ("overload", 121_000)
    assert stop.reason.detail == "the provider has been busy for 1 min"


def test_a_long_rate_window_parks_at_once_with_the_time_to_go_on():
    assert parked_by(FIRST, *refusals(1, "rate", 3_000_000)) == ("rate_window", 3_001_000)


@pytest.mark.parametrize(
    "limits", [Limits(deadline=20_000), Limits(duration_s=20), Limits(idle_s=20)], ids=["deadline", "duration", "idle"]
)
def test_a_wait_past_the_runs_own_time_is_no_wait(limits):
    waiting = (facts.LimitsSet(limits=limits), FIRST, *refusals(1, "rate", 30_000))
    assert parked_by(*waiting) == ("rate_window", 31_000)
    shorter = (facts.LimitsSet(limits=limits), FIRST, *refusals(1, "rate", 5_000))
    assert next_after(BASE, *shorter) == commands.WaitUntil(6_000)


WINDOW = (BASE, facts.LimitsSet(limits=Limits()), FIRST, *refusals(1, "rate", 3_000_000))
PARKED = facts.RunStopped(kind=StopKind.PARKED, rule="rate_window", detail="later", resume_at=3_001_000)
SAME = facts.WorkspaceCompared(tree=BASE.tree)


def test_a_parked_run_that_is_looked_at_early_parks_again_without_asking_anybody():
    early = next_after(*WINDOW, PARKED, RESUMED, SAME, at=60_000)
    assert isinstance(early, commands.Stop)
    assert (early.reason.kind, early.reason.resume_at) == (StopKind.PARKED, 3_001_000)
    # the wait that is left is short now
    assert next_after(*WINDOW, PARKED, RESUMED, SAME, at=2_990_000) == commands.WaitUntil(3_001_000)
    assert next_after(*WINDOW, PARKED, RESUMED, SAME, at=3_001_000) == commands.CallModel(call(1, 2))
    short_of_time = facts.LimitsSet(limits=Limits(deadline=3_000_000))
    assert isinstance(next_after(*WINDOW, PARKED, RESUMED, SAME, short_of_time, at=2_990_000), commands.Stop)


def test_a_parked_run_still_stands_after_somebody_worked_there_or_its_driver_died():
    changed = (facts.WorkspaceChanged(paths=("x",)), facts.TreeUnchanged(tree="t1"))
    for events in ((*WINDOW, PARKED, RESUMED, *changed), (*WINDOW, PARKED, RESUMED, RESUMED, SAME)):
        early = next_after(*events, at=60_000)
        assert isinstance(early, commands.Stop)
        assert early.reason.resume_at == 3_001_000
    late = next_after(*WINDOW, PARKED, RESUMED, *changed, at=3_001_000)
    assert late == commands.StartIteration(2)


def test_whoever_resumes_a_parked_run_by_name_waits_no_more():
    now = replace(RESUMED, now=True)
    assert next_after(*WINDOW, PARKED, now, SAME) == commands.CallModel(call(1, 2))
    assert next_after(*WINDOW, PARKED, RESUMED, PARKED, now, SAME) == commands.CallModel(call(1, 2))


def test_a_crash_while_waiting_forgets_no_wait():
    waiting = (BASE, FIRST, *refusals(1, "rate", 30_000), RESUMED, SAME)
    assert next_after(*waiting) == commands.WaitUntil(31_000)


TWO = replace(CHECKED, engines=2)
SECOND = facts.ModelSwitched(model="n", engine=1, reason="x")


@pytest.mark.parametrize("cause", ["model", "auth", "billing"])
def test_what_is_wrong_with_a_model_or_its_key_lets_the_next_one_of_the_list_go_on(cause):
    wrong = facts.CallReleased(call=call(), reason="no such thing", cause=cause)
    assert next_after(BASE, FIRST, sent(), wrong, policy=TWO) == commands.SwitchModel(1, "no such thing")
    assert next_after(BASE, FIRST, sent(), wrong, SECOND, policy=TWO) == commands.CallModel(call(1, 2))
    both = (BASE, FIRST, sent(), wrong, SECOND, sent(1, 2), replace(wrong, call=call(1, 2)))
    assert stop_after(*both, policy=TWO) is StopKind.FAILED
    assert stop_after(BASE, FIRST, sent(), wrong) is StopKind.FAILED


@pytest.mark.parametrize("cause", ["", "request", "context", "size"])
def test_what_is_wrong_with_a_request_is_tried_with_no_other_model(cause):
    wrong = facts.CallReleased(call=call(), reason="400", cause=cause)
    assert stop_after(BASE, FIRST, sent(), wrong, policy=TWO) is StopKind.FAILED


def test_attempts_or_patience_that_ran_out_lead_to_the_next_model_and_begin_anew_there():
    tries = refusals(TWO.max_attempts, "connect")
    switch = next_after(BASE, FIRST, *tries, policy=TWO)
    assert switch == commands.SwitchModel(1, "5 attempts in a row, the last: 529")
    state = state_after(BASE, FIRST, *tries, SECOND)
    assert state.iteration is not None
    assert (state.model, state.engine, state.iteration.failures) == ("n", 1, 0)
    assert decide(state, TWO, 1_000) == commands.CallModel(call(1, 6))
    busy = next_after(*WINDOW, policy=TWO)
    assert busy == commands.SwitchModel(1, "the provider asks to wait longer than a run waits: 529")


def test_a_parked_run_with_a_list_of_models_asks_none_of_them_early():
    parked = (*WINDOW, SECOND, PARKED, RESUMED, SAME)
    state = state_after(*parked)
    assert state.engine == 0
    early = decide(state, TWO, 60_000)
    assert isinstance(early, commands.Stop)
    assert early.reason.resume_at == 3_001_000


# ---- sums -------------------------------------------------------------------------------------------------------


def test_calls_that_cost_nothing_or_are_not_metered_are_counted_apart():
    events = (
        replace(sent(1), billing="local"), settled(step=1, cut=True), replace(sent(2), billing="unmetered"),
        settled(step=2, cut=True), sent(3), settled(step=3, cut=True),
    )  # fmt: skip
    money = state_after(BASE, FIRST, *events).money
    assert (money.calls, money.local_calls, money.local_tokens, money.unmetered_calls) == (3, 1, 10, 1)


def test_what_every_iteration_begins_with_is_summed():
    second = replace(settled(step=1, usage=Usage(9, 1)), call=CallId(2, 1, 1), input_cost=50)
    state = state_after(BASE, *one_iteration(1, 0.5), FIRST, sent(), settled(), sent(2), settled(step=2), second)
    assert (state.overhead.calls, state.overhead.tokens, state.overhead.cost) == (2, 16, 80)


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
