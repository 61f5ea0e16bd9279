"""What people are told of money, waits and models: sums of one kind of billing only, and when a run goes on."""

from __future__ import annotations

import pytest

from runner.cli.ending import told
from runner.cli.lines import Lines
from runner.cli.runs import standing
from runner.cli.sums import apart, spent
from runner.events import facts
from runner.state import Money, State, evolve
from runner.store.summary import summary
from runner.values import CallId, Limits, Reply, Scope, ScopeKind, StopKind, Usage

CALL = CallId(1, 1, 1)
CREATED = facts.RunCreated(
    run="r",
    spec_path="/w/spec.md",
    spec_key="k",
    spec_text="# Work",
    workspace="/w",
    origin="/w",
    worktree=False,
    model="openai/a",
    prices_digest="p",
    scopes=(Scope(ScopeKind.RUN, "r"),),
    limits=Limits(usd=10**9),
)
BEGUN = (
    CREATED,
    facts.RunResumed(epoch=1, pid=1, boot_id="b"),
    facts.IterationStarted(iteration=1, system="", prompt=""),
)


def happened(*events: facts.Event) -> tuple[State, list[str]]:
    """The state after these events, and every line that was said of them."""
    state, lines, said = State(), Lines(), list[str]()
    for seq, event in enumerate((*BEGUN, *events), 1):
        state = evolve(state, event, 1_000 * seq, seq)
        said += [line.text for line in lines.of(event, state)]
    return state, said


def sent(billing: str = "metered", attempt: int = 1) -> facts.CallDispatched:
    return facts.CallDispatched(
        call=CallId(1, 1, attempt), model="m", input_bound=10, granted_output=5, hold=100, billing=billing
    )


def settled(cost: int, *, ending: str = "", text: str = "hello") -> facts.CallSettled:
    reply = Reply(text=text, ending=ending)
    return facts.CallSettled(call=CALL, usage=Usage(7, 3), cost=cost, reply=reply, input_cost=cost // 2)


@pytest.mark.parametrize(
    ("money", "words"),
    [
        (Money(spent=1_200_000_000), "$1.2000"),
        (Money(spent=1_200_000_000, local_calls=34), "$1.2000 metered · 34 calls local"),
        (Money(unmetered_calls=1), "$0.0000 metered · 1 call unmetered"),
        (Money(local_calls=1, unmetered_calls=2), "$0.0000 metered · 1 call local · 2 calls unmetered"),
    ],
)
def test_sums_of_different_billing_stand_side_by_side(money: Money, words: str):
    assert spent(money) == words
    assert apart(money.local_calls, money.unmetered_calls) in words


def test_a_step_says_how_it_was_billed():
    _, metered = happened(sent(), settled(40_000_000))
    assert metered[-1] == "  step 1: $0.0400 (7 tokens in, 3 out), spent $0.0400 of $1.0000 — hello"
    _, local = happened(sent("local"), settled(0))
    assert local[-1] == "  step 1: local (7 tokens in, 3 out), spent $0.0000 of $1.0000 metered · 1 call local — hello"


def test_a_reply_without_text_says_how_it_ended():
    _, said = happened(sent(), settled(0, ending="refused", text=""))
    assert said[-1].endswith("— refused by the model")


def test_a_busy_provider_is_told_by_how_long_it_is_busy_not_by_attempts():
    busy = facts.CallReleased(call=CALL, reason="529", retry_after_ms=10_000, cause="overload")
    again = facts.CallReleased(call=CallId(1, 1, 2), reason="529", retry_after_ms=10_000, cause="overload")
    _, said = happened(sent(), busy, sent(attempt=2), again)
    assert said[-2:] == [
        "  call 1.1.1: 529; not billed; again in 10 s",
        "  call 1.1.2: 529; not billed; again in 10 s (busy for 2 s)",
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (facts.InputCounted(call=CALL, tokens=812), "  the provider counts 812 tokens in the next request"),
        (facts.InputCounted(call=CALL, tokens=None), "  the provider did not count the next request"),
        (facts.ModelSwitched(model="openai/b", engine=1, reason="401"), "  openai/b from here on: 401"),
        (
            facts.IterationFinished(iteration=1, ending="handoff"),
            "  ended: this conversation is too dear to go on with; what is left is enough for a fresh one",
        ),
        (
            facts.IterationFinished(iteration=1, ending="context"),
            "  ended: this conversation is too long for the model; a fresh one goes on",
        ),
        (facts.IterationFinished(iteration=1, ending="refused"), "  ended: the model did not go on"),
        (facts.IterationFinished(iteration=1, ending="steps"), "  ended: steps"),
        (
            facts.CallReconciled(call=CALL, held=50_000_000, cost=30_000_000, evidence="request id q", source="u.csv"),
            "  call 1.1.1 cost $0.0300 instead of $0.0500, by request id q in u.csv",
        ),
    ],
)
def test_new_facts_have_their_words(event: facts.Event, line: str):
    _, said = happened(event)
    assert said[-1] == line


def test_a_parked_run_says_when_it_goes_on_and_how_to_ask_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    parked = facts.RunStopped(kind=StopKind.PARKED, rule="rate_window", detail="later", resume_at=1_763_769_600_000)
    state, _ = happened(parked)
    assert state.stopped is not None
    lines = list(told(state.stopped, state, raise_it=""))
    assert any(line.startswith("  asks again from 2025-11-2") for line in lines)
    rows = {tuple(line.split(maxsplit=2)[:2]): line.rpartition("  ")[2] for line in lines[-3:]}
    assert rows["go", "on"] == "runner loop /w/spec.md"
    assert rows["ask", "at"] == "runner resume r"
    document = {**summary(state), "driver": None}
    assert document["resume_at_ms"] == 1_763_769_600_000
    assert standing(document).startswith("open (parked until 2025-11-2")


def test_the_summary_counts_calls_by_billing_and_what_iterations_begin_with():
    events = (sent("local"), settled(0), sent(), settled(40), sent("unmetered"), settled(0))
    state, _ = happened(*events)
    found = summary(state)
    assert found["billing"] == {"metered_calls": 1, "local_calls": 1, "local_tokens": 10, "unmetered_calls": 1}
    assert found["overhead"] == {"iterations": 3, "tokens": 21, "cost_nano_usd": 20}


def test_the_summary_names_the_model_that_is_called_now():
    state, _ = happened(facts.ModelSwitched(model="openai/b", engine=1, reason="401"))
    assert summary(state)["model"] == "openai/b"
