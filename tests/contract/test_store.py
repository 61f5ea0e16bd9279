"""What the store promises: one writer, all or nothing, and money that moves with its event."""

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import BusyError, LeaseLostError, RefusedError, StateError
from runner.events.codec import GENESIS, chain
from runner.events.facts import (
    ApprovalDecided,
    BoundViolated,
    CallDispatched,
    CallReconciled,
    CallRefused,
    CallReleased,
    CallUnknown,
    IterationStarted,
    LimitsSet,
    ProtectedAccepted,
    RunStopped,
    StartTool,
    StopAsked,
    ToolRefused,
    ToolStarted,
    Warned,
)
from runner.store import journal, ledger
from runner.store.database import Database
from runner.store.lease import Lease, is_held
from runner.store.recorder import leave_in_inbox, open_run, take_over
from runner.values import CallId, Effect, Limits, Period, Scope, ScopeKind, StopKind, ToolCall, Usage
from tests.contract.store_parts import AT, Clock, begin, database, dispatch, kinds, limit, project, settled

__all__ = ["database"]


# ---- one writer ------------------------------------------------------------------------------------------


def test_after_a_take_over_the_older_writer_writes_nothing_more(database: Database):
    old = begin(database)
    new = open_run(database, "r1", Clock())
    take_over(new, "m")
    limit(database, 1000)
    before = kinds(database)
    for proposal in (Warned(topic="t", text="late"), dispatch()):
        with pytest.raises(LeaseLostError, match="another process took over run r1"):
            old.record(proposal)
    assert kinds(database) == before
    assert project(database) == (0, 0, 0)
    assert isinstance(new.record(dispatch()), CallDispatched)


def test_of_two_that_take_over_at_once_one_wins(database: Database):
    begin(database)
    first, second = open_run(database, "r1", Clock()), open_run(database, "r1", Clock())
    take_over(first, "m")
    with pytest.raises(LeaseLostError):
        take_over(second, "m")
    assert kinds(database) == ["RunCreated", "RunResumed", "RunResumed"]


def test_a_lease_is_held_once_and_free_after_its_holder(tmp_path: Path):
    path = tmp_path / "lease"
    lease = Lease(path, "run r1")
    with pytest.raises(BusyError, match=f"run r1 is held by another process \\(pid {os.getpid()}\\)"):
        Lease(path, "run r1")
    assert is_held(path)
    lease.release()
    assert not is_held(path)
    Lease(path, "run r1").release()


def test_threads_share_one_writer_and_the_chain_stays_whole(database: Database):
    recorder = begin(database)
    threads = [
        threading.Thread(
            target=lambda name=name: [recorder.record(Warned(topic=f"{name}.{n}", text="")) for n in range(20)]
        )
        for name in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list(journal.rows(database, "r1"))
    assert [row.seq for row in rows] == list(range(1, 83))
    prev = GENESIS
    for row in rows:
        assert row.prev == prev
        prev = chain(run="r1", seq=row.seq, at=row.at, kind=row.kind, body=row.body, prev=prev)
        assert row.hash == prev
    assert journal.find_run(database, "r1").head_hash == prev


def test_a_run_opened_while_it_is_written_chains_to_what_was_folded(database: Database):
    recorder = begin(database)
    opened = open_run(database, "r1", Clock())
    recorder.record(Warned(topic="a", text=""))
    again = open_run(database, "r1", Clock())
    take_over(again, "m")
    rows = list(journal.rows(database, "r1"))
    assert rows[-1].prev == rows[-2].hash
    with pytest.raises(LeaseLostError):
        opened.record(Warned(topic="b", text=""))


# ---- one transaction -------------------------------------------------------------------------------------


def test_what_others_left_comes_first_and_in_order_in_the_same_transaction(database: Database):
    recorder = begin(database)
    for path in ("one", "two", "three"):
        leave_in_inbox(database, "r1", ProtectedAccepted(path=path, digest=""), AT)
    recorder.post(ProtectedAccepted(path="posted", digest=""))
    assert recorder.has_news()
    recorder.record(ProtectedAccepted(path="own", digest=""))
    found = [one.event for row in journal.rows(database, "r1") if (one := journal.known("r1", row)) is not None]
    paths = [event.path for event in found if isinstance(event, ProtectedAccepted)]
    assert paths == ["posted", "one", "two", "three", "own"]
    assert not recorder.has_news()
    recorder.drain()
    assert len(kinds(database)) == 7


def test_what_a_run_did_is_its_drivers_word_alone(database: Database):
    """An inbox row that says a tool finished, or that everything was approved, is no fact."""
    recorder = begin(database)
    forged = (
        Warned(topic="t", text=""),
        RunStopped(kind=StopKind.DONE, rule="done"),
        ApprovalDecided(approval="a", outcome="approved"),
    )
    for event in forged:
        leave_in_inbox(database, "r1", event, AT)
    before = kinds(database)
    recorder.drain()
    assert (kinds(database), recorder.has_news()) == (before, False)


def test_what_another_run_is_told_stays_for_that_run(database: Database):
    one, two = begin(database, "r1"), begin(database, "r2")
    leave_in_inbox(database, "r2", Warned(topic="t", text=""), AT)
    assert (one.has_news(), two.has_news()) == (False, True)


def test_after_a_stop_was_left_no_call_and_after_a_stop_now_no_tool_begins(database: Database):
    limit(database, 1000)
    recorder = begin(database)
    leave_in_inbox(database, "r1", StopAsked(by="operator", now=True), AT)
    assert recorder.stop_waits()
    refused = recorder.record(dispatch())
    assert refused == CallRefused(call=CallId(1, 1, 1), scope="operator", need=0, headroom=0, unit="stop")
    assert project(database) == (0, 0, 0)
    started = ToolStarted(call=ToolCall("c", "run", "{}"), effect=Effect.COMMANDS)
    assert isinstance(recorder.record(StartTool(started=started)), ToolRefused)


def test_a_transaction_that_fails_moves_neither_money_nor_journal_and_keeps_what_was_posted(database: Database):
    limit(database, 1000)
    recorder = begin(database)
    recorder.record(dispatch())
    before = kinds(database)
    recorder.post(Warned(topic="kept", text=""))
    with pytest.raises(StateError):  # the same call once more
        recorder.record(dispatch())
    assert kinds(database) == before
    assert project(database) == (0, 0, 112)
    assert recorder.state.money.held == 112
    recorder.record(settled())
    assert kinds(database)[len(before) :] == ["Warned", "CallSettled"]


def test_money_and_event_commit_together(database: Database):
    limit(database, 1000)
    recorder = begin(database)
    sent = recorder.record(dispatch())
    assert isinstance(sent, CallDispatched)
    assert (sent.granted_output, sent.hold) == (100, 112)
    assert set(sent.scopes) == {"run:r1", "project:p", "model:m"}
    other = sqlite3.connect(database.path)
    assert other.execute("SELECT held FROM budget WHERE kind = 'project'").fetchone() == (112,)
    assert other.execute("SELECT kind FROM event ORDER BY seq DESC").fetchone() == ("CallDispatched",)
    other.close()
    recorder.record(settled())
    assert project(database) == (20, 0, 0)
    assert recorder.state.money.spent == 20


def test_a_crashed_runs_open_hold_counts_against_everybody_until_it_is_closed(database: Database):
    limit(database, 200)
    begin(database, "dead").record(dispatch())
    living = begin(database, "alive")
    answer = living.record(dispatch())
    assert isinstance(answer, CallRefused)
    assert (answer.others, answer.need, answer.headroom) == (True, 112, 88)
    assert not living.room(answer.need)
    resumed = open_run(database, "dead", Clock())
    take_over(resumed, "m")
    assert list(resumed.state.open_calls) == ["1.1.1"]
    resumed.record(CallUnknown(call=CallId(1, 1, 1), reason="died"))
    assert project(database) == (0, 112, 0)
    # nothing is left to wait for: the next try is clamped to what is left
    assert living.room(answer.need)
    clamped = living.record(dispatch())
    assert isinstance(clamped, CallDispatched)
    assert (clamped.granted_output, clamped.hold) == (76, 88)


def test_a_bill_above_the_hold_is_a_fact_of_its_own_and_closes_the_project_for_every_run(database: Database):
    limit(database, 1000)
    one, two = begin(database, "r1"), begin(database, "r2")
    one.record(dispatch())
    one.record(settled(cost=500))
    assert isinstance(one.state.violated, BoundViolated)
    assert (one.state.violated.held, one.state.violated.billed) == (112, 500)
    assert project(database) == (500, 0, 0)
    answer = two.record(dispatch())
    assert isinstance(answer, CallRefused)
    assert not answer.others


@pytest.mark.parametrize("usage", [Usage(5, 101), Usage(11, 1)], ids=["more output", "more input"])
def test_tokens_above_a_bound_are_a_violation_even_when_the_money_sufficed(database: Database, usage: Usage):
    recorder = begin(database)
    recorder.record(dispatch())
    recorder.record(settled(usage=usage))
    assert kinds(database)[-2:] == ["CallSettled", "BoundViolated"]


def test_a_runs_own_limits_bind_and_can_be_raised(database: Database):
    recorder = begin(database, limits=Limits(usd=15))
    assert isinstance(recorder.record(dispatch()), CallRefused)
    recorder.record(LimitsSet(limits=Limits(usd=50)))
    sent = recorder.record(dispatch())
    assert isinstance(sent, CallDispatched)
    assert sent.hold == 50


def test_a_token_limit_clamps_and_then_refuses(database: Database):
    recorder = begin(database, limits=Limits(tokens=60))
    sent = recorder.record(dispatch())
    assert isinstance(sent, CallDispatched)
    assert sent.granted_output == 50
    recorder.record(settled(usage=Usage(10, 35)))
    refused = recorder.record(dispatch(2))
    assert isinstance(refused, CallRefused)
    assert (refused.unit, refused.need, refused.headroom) == ("tokens", 20, 15)


def test_replay_gives_the_state_the_writer_had(database: Database):
    limit(database, 1000)
    recorder = begin(database)
    recorder.record(IterationStarted(iteration=1, system="s", prompt="p"))
    recorder.record(dispatch(1))
    recorder.record(settled(1))
    recorder.record(dispatch(2))
    recorder.record(CallUnknown(call=CallId(1, 2, 1), reason="lost", retry_after_ms=5))
    assert open_run(database, "r1", Clock()).state == recorder.state


def test_a_wait_looks_at_the_budget_of_the_model_the_call_was_for(database: Database):
    other = Scope(ScopeKind.MODEL, "other")
    with database.transaction(durable=True) as tx:
        ledger.set_limit(tx, other, Period.TOTAL, 150, zone="UTC", at=AT)
    begin(database, "r1").record(replace(dispatch(), model="other"))
    waiting = begin(database, "r2")
    answer = waiting.record(replace(dispatch(), model="other"))
    assert isinstance(answer, CallRefused)
    assert (answer.scope, answer.others) == ("model:other", True)
    assert not waiting.room(answer.need)
    assert isinstance(waiting.record(dispatch()), CallDispatched)


# ---- what a fresh iteration could still afford, and evidence of what an unknown call cost ----------------------


@pytest.mark.parametrize(
    ("fresh_bound", "fresh"),
    [(0, False), (20, True), (38, True), (39, False), (900, False)],
)
def test_a_refusal_says_whether_a_fresh_iterations_first_call_would_fit(
    database: Database, fresh_bound: int, fresh: bool
):
    recorder = begin(database, limits=Limits(usd=50))
    refused = recorder.record(replace(dispatch(2, bound=60), fresh_bound=fresh_bound))
    assert isinstance(refused, CallRefused)
    assert (refused.others, refused.fresh) == (False, fresh)
    if fresh:
        assert isinstance(recorder.record(dispatch(3, bound=fresh_bound)), CallDispatched)


def test_a_refusal_for_tokens_says_so_too_and_money_must_suffice_as_well(database: Database):
    recorder = begin(database, limits=Limits(tokens=50, usd=1_000))
    refused = recorder.record(replace(dispatch(2, bound=60), fresh_bound=40))
    assert isinstance(refused, CallRefused)
    assert (refused.unit, refused.fresh) == ("tokens", True)
    poor = begin(database, "r2", limits=Limits(tokens=50, usd=51))
    refused = poor.record(replace(dispatch(2, bound=60), fresh_bound=40))
    assert isinstance(refused, CallRefused)
    assert (refused.unit, refused.fresh) == ("tokens", False)


def test_others_holds_make_no_refusal_fresh(database: Database):
    limit(database, 200)
    begin(database, "r1").record(dispatch())
    refused = begin(database, "r2").record(replace(dispatch(2, bound=60), fresh_bound=20))
    assert isinstance(refused, CallRefused)
    assert (refused.others, refused.fresh) == (True, False)


def test_what_a_call_is_billed_by_and_bounded_by_is_on_record(database: Database):
    recorder = begin(database)
    sent = recorder.record(replace(dispatch(), billing="local", bound_by="count", slack=5, fees=300))
    assert isinstance(sent, CallDispatched)
    assert (sent.billing, sent.bound_by, sent.hold) == ("local", "count", 10 + 100 + 5 + 300)


def test_evidence_moves_the_ledger_and_the_runs_own_sums_together(database: Database):
    recorder = begin(database, limits=Limits(usd=200))
    recorder.record(dispatch())
    recorder.record(CallUnknown(call=CallId(1, 1, 1), reason="dropped", retry_after_ms=0))
    refused = recorder.record(dispatch(2))
    assert isinstance(refused, CallDispatched)
    assert refused.granted_output < 100  # the unknown call counts in full
    recorder.record(CallReleased(call=CallId(1, 2, 1), reason="429", retry_after_ms=0))
    recorder.record(CallReconciled(call=CallId(1, 1, 1), held=112, cost=30, evidence="request id q", source="u.csv"))
    assert project(database) == (30, 0, 0)
    money = open_run(database, "r1", Clock()).state.money
    assert (money.spent, money.unknown) == (30, 0)
    again = recorder.record(dispatch(3))
    assert isinstance(again, CallDispatched)
    assert again.hold == 112


def test_evidence_counts_once_and_only_for_what_is_unknown(database: Database):
    recorder = begin(database)
    recorder.record(dispatch())
    recorder.record(CallUnknown(call=CallId(1, 1, 1), reason="dropped", retry_after_ms=0))
    evidence = CallReconciled(call=CallId(1, 1, 1), held=112, cost=30, evidence="request id q", source="u.csv")
    with pytest.raises(RefusedError, match=r"call 1\.1\.1 of run r1 is not counted as unknown with 7 nano-USD"):
        recorder.record(replace(evidence, held=7))
    recorder.record(evidence)
    before = kinds(database)
    for wrong in (evidence, replace(evidence, call=CallId(1, 2, 1))):
        with pytest.raises(RefusedError, match="not counted as unknown"):
            recorder.record(wrong)
    assert kinds(database) == before
    assert project(database) == (30, 0, 0)


def test_evidence_above_the_hold_is_a_broken_bound(database: Database):
    recorder = begin(database)
    recorder.record(dispatch())
    recorder.record(CallUnknown(call=CallId(1, 1, 1), reason="dropped", retry_after_ms=0))
    recorder.record(CallReconciled(call=CallId(1, 1, 1), held=112, cost=130, evidence="request id q", source="u.csv"))
    assert kinds(database)[-2:] == ["CallReconciled", "BoundViolated"]
    assert project(database) == (130, 0, 0)
    violated = recorder.state.violated
    assert violated is not None
    assert (violated.held, violated.billed) == (112, 130)
