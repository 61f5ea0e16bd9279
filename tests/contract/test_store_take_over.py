"""What others do to the state beside a run: stops are heard, caps hold, a lost database is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.decide import Stop, decide
from runner.errors import StateError
from runner.events.facts import (
    CallRefused,
    DispatchCall,
    LogRepaired,
    ProtectedChanged,
    RunCreated,
    RunStopped,
    StopAsked,
)
from runner.policy.model import Policy
from runner.store.database import Database
from runner.store.recorder import create_run, leave_in_inbox, open_run, take_over
from runner.testing.fakes import FakeClock
from runner.values import CallId, Limits, Scope, ScopeKind, StopKind

CREATED = RunCreated(
    run="r",
    spec_path="s",
    spec_key="k",
    spec_text="# Work",
    workspace="/w",
    origin="/w",
    worktree=False,
    model="m",
    prices_digest="p",
    scopes=(Scope(ScopeKind.RUN, "r"),),
    limits=Limits(),
)
NIGHT = 9 * 3_600_000


def test_a_stop_left_between_lease_and_take_over_stops_the_run(tmp_path: Path) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "runner.db")
    recorder = create_run(database, CREATED, clock)
    leave_in_inbox(database, "r", StopAsked(by="operator", now=True), clock.now())
    take_over(recorder, "m")
    command = decide(recorder.state, Policy(), clock.now())
    assert isinstance(command, Stop)
    assert command.reason.kind is StopKind.OPERATOR
    database.close()


def test_a_log_repaired_before_the_take_over_leaves_the_stop_to_the_driver(tmp_path: Path) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "runner.db")
    take_over(create_run(database, CREATED, clock), "m")
    leave_in_inbox(database, "r", StopAsked(by="operator", now=True), clock.now())
    crashed = open_run(database, "r", clock)
    before = crashed.state.active_ms
    clock.at += NIGHT
    crashed.record(LogRepaired(reason="the last line was incomplete", first_bad_line=3))
    take_over(crashed, "m")
    assert isinstance(decide(crashed.state, Policy(), clock.now()), Stop)
    assert crashed.state.active_ms - before < NIGHT / 2
    database.close()


def test_a_stop_that_came_after_a_run_had_ended_does_not_stop_its_resume(tmp_path: Path) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "runner.db")
    recorder = create_run(database, CREATED, clock)
    take_over(recorder, "m")
    recorder.record(RunStopped(kind=StopKind.LIMIT, rule="budget.iterations"))
    leave_in_inbox(database, "r", StopAsked(by="operator", now=True), clock.now())
    resumed = open_run(database, "r", clock)
    take_over(resumed, "m")
    assert not isinstance(decide(resumed.state, Policy(), clock.now()), Stop)
    database.close()


def test_a_stop_now_that_comes_with_another_fact_ends_the_work_under_way(tmp_path: Path) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "runner.db")
    recorder = create_run(database, CREATED, clock)
    take_over(recorder, "m")
    leave_in_inbox(database, "r", StopAsked(by="operator", now=True), clock.now())
    recorder.record(ProtectedChanged(path="spec.md", digest="d", by="other"))
    assert recorder.interrupt.fired
    database.close()


def test_a_cap_lifted_in_the_database_beside_the_run_still_holds(tmp_path: Path) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "runner.db")
    recorder = create_run(database, replace(CREATED, limits=Limits(usd=1_000)), clock)
    take_over(recorder, "m")
    with database.transaction(durable=False) as tx:
        tx.execute("UPDATE budget SET limit_nano = NULL")
    call = DispatchCall(
        call=CallId(1, 1, 1),
        model="m",
        prices="p",
        input_bound=10,
        asked_output=1_000,
        min_output=1_000,
        input_price=0,
        output_price=1_000_000,
    )
    refused = recorder.record(call)
    assert isinstance(refused, CallRefused)
    assert (refused.headroom, refused.others) == (1_000, False)
    database.close()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_nothing_is_written_to_a_database_that_is_no_longer_there(tmp_path: Path, how: str) -> None:
    clock = FakeClock()
    path = tmp_path / "runner.db"
    database = Database(path)
    recorder = create_run(database, CREATED, clock)
    path.unlink()
    if how == "replaced":
        Database(path).close()
    with pytest.raises(StateError, match="removed or replaced"):
        take_over(recorder, "m")
    database.close()
