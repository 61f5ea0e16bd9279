"""The kill switch: after its commit no call leaves and no tool starts, of any run; whoever cannot read it does nothing."""

import threading

import pytest

from runner.errors import BusyError, StateError
from runner.events.facts import (
    CallDispatched,
    CallRefused,
    CallUnknown,
    RunCreated,
    StartTool,
    StopAsked,
    ToolRefused,
    ToolStarted,
)
from runner.policy.rules import asked
from runner.store import journal
from runner.store.database import Database
from runner.store.halted import Halt, halt, history, lift, standing_halt
from runner.store.recorder import create_run, open_run, take_over
from runner.values import Effect, Limits, StopKind, ToolCall
from tests.contract.store_parts import AT, Clock, begin, database, dispatch, kinds

__all__ = ["database"]


def start(number: int = 1) -> StartTool:
    call = ToolCall(id=f"t{number}", name="read_file", arguments="{}")
    return StartTool(started=ToolStarted(call=call, effect=Effect.READS))


def test_no_call_leaves_and_no_tool_starts_after_the_switch(database: Database):
    one, two = begin(database, "r1"), begin(database, "r2")
    assert isinstance(one.record(start()), ToolStarted)
    halt(database, by="alice", why="leak", now=lambda: AT)

    assert one.stop_waits()
    assert two.has_news()
    assert isinstance(one.record(start(2)), ToolRefused)
    assert isinstance(two.record(dispatch()), CallRefused)
    for recorder in (one, two):
        assert recorder.state.stop_asked == StopAsked(by="all", now=True)
        assert recorder.interrupt.fired
        stop = asked(recorder.state)
        assert stop is not None
        assert (stop.kind, stop.exit_code) == (StopKind.OPERATOR, 9)
    assert kinds(database, "r1")[-2:] == ["StopAsked", "ToolRefused"]


def test_a_wait_ends_with_the_switch(database: Database):
    recorder = begin(database)
    halt(database, by="alice", why="", now=lambda: AT)
    assert recorder.has_news()
    recorder.drain()
    assert recorder.state.stop_asked == StopAsked(by="all", now=True)


def test_a_call_that_was_cut_by_the_switch_ends_the_run_by_it(database: Database):
    """Whoever watches cuts the call: that it is lost is no failure of the provider."""
    recorder = begin(database)
    sent = recorder.record(dispatch())
    assert isinstance(sent, CallDispatched)
    halt(database, by="alice", why="", now=lambda: AT)
    assert recorder.stop_waits()
    recorder.interrupt.fire()
    recorder.record(CallUnknown(call=sent.call, reason="stopped"))
    assert kinds(database)[-2:] == ["StopAsked", "CallUnknown"]


def test_no_run_begins_until_somebody_allows_it(database: Database):
    halt(database, by="alice", why="leak", now=lambda: 0)
    created = RunCreated(
        run="r9",
        spec_path="s",
        spec_key="k",
        spec_text="",
        workspace="/w",
        origin="/w",
        worktree=False,
        model="m",
        prices_digest="",
        scopes=(),
        limits=Limits(),
    )
    with pytest.raises(BusyError) as refused:
        create_run(database, created, Clock())
    assert refused.value.exit_code == 75
    assert (
        refused.value.message == "starts are blocked since 1970-01-01 00:00:00 UTC by alice (runner stop --all): leak"
    )
    assert "runner allow-starts" in refused.value.hint
    assert not journal.runs(database)

    assert lift(database, by="bob", at=5) == Halt(at=0, by="alice", why="leak")
    assert lift(database, by="carol", at=6) is None
    create_run(database, created, Clock())
    assert history(database) == [Halt(at=0, by="alice", why="leak", lifted=5, lifted_by="bob")]


def test_a_driver_that_takes_a_run_just_then_is_stopped_before_it_does_anything(database: Database):
    begin(database)
    halt(database, by="alice", why="", now=lambda: AT)
    late = open_run(database, "r1", Clock())
    take_over(late, "m")
    assert kinds(database)[-2:] == ["RunResumed", "StopAsked"]
    assert late.state.stop_asked == StopAsked(by="all", now=True)


def test_the_first_word_stays_and_each_is_on_record(database: Database):
    for who in ("alice", "bob"):
        halt(database, by=who, why="", now=lambda: AT)
    assert standing_halt(database) is not None
    lift(database, by="carol", at=AT + 1)
    halt(database, by="bob", why="again", now=lambda: AT + 2)
    assert [(one.by, one.lifted_by) for one in history(database)] == [("alice", "carol"), ("bob", "")]
    assert standing_halt(database) is not None


def test_a_switch_that_cannot_be_read_stops(database: Database):
    recorder = begin(database)
    with database.transaction(durable=True) as tx:
        tx.execute("DROP TABLE halted")
    before = kinds(database)
    for proposal in (dispatch(), start()):
        with pytest.raises(StateError):
            recorder.record(proposal)
    assert kinds(database) == before


def test_whatever_races_with_the_switch_is_before_it_or_refused(database: Database):
    """Eight writers start tools as fast as they can while everything is stopped: the order on disk decides."""
    recorders = [begin(database, f"r{number}") for number in range(8)]
    answers: list[list[bool]] = [[] for _ in recorders]
    going = threading.Barrier(len(recorders) + 1)

    def work(number: int) -> None:
        going.wait()
        for tool in range(200):
            answers[number].append(isinstance(recorders[number].record(start(tool)), ToolStarted))
            if not answers[number][-1]:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(recorders))]
    for thread in threads:
        thread.start()
    going.wait()
    halt(database, by="alice", why="", now=lambda: AT)
    with database.transaction(durable=False) as tx:
        (before,) = tx.execute("SELECT COUNT(*) FROM event WHERE kind = 'ToolStarted'").fetchone()
    for thread in threads:
        thread.join()
    (after,) = database.query("SELECT COUNT(*) FROM event WHERE kind = 'ToolStarted'")[0]
    assert after == before
    assert all(found[-1] is False for found in answers)
    assert isinstance(recorders[0].record(dispatch()), CallRefused)
