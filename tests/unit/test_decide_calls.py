"""`decide` around a model call: money that is short, a window that is full, a provider that is busy, another model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner import decide as commands
from runner.decide import decide
from runner.events import facts
from runner.policy.model import Policy
from runner.state import evolve
from runner.values import (
    CallId,
    Effect,
    Limits,
    StopKind,
    Usage,
)
from tests.unit.decide_parts import (
    BASE,
    CHECKED,
    FIRST,
    PARKED,
    RESUMED,
    SAME,
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

# ---- money that is short, windows that are full, replies that end otherwise -----------------------------------

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
    again = facts.CallReleased(call=call(1, 2), reason="529", retry_after_ms=60_000, cause="overload")
    more: tuple[facts.Event, ...] = (sent(1, 2), again)
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
