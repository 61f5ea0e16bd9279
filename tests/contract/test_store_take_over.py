"""What is left in a run's inbox before a driver takes the run is heard by that driver."""

from __future__ import annotations

from pathlib import Path

from runner.decide import Stop, decide
from runner.events.facts import RunCreated, StopAsked
from runner.policy.model import Policy
from runner.store.database import Database
from runner.store.recorder import create_run, leave_in_inbox, take_over
from runner.testing.fakes import FakeClock
from runner.values import Limits, Scope, ScopeKind, StopKind


def test_a_stop_left_between_lease_and_take_over_stops_the_run(tmp_path: Path) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "runner.db")
    created = RunCreated(
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
    recorder = create_run(database, created, clock)
    leave_in_inbox(database, "r", StopAsked(by="operator", now=True), clock.now())
    take_over(recorder, "m")
    command = decide(recorder.state, Policy(), clock.now())
    assert isinstance(command, Stop)
    assert command.reason.kind is StopKind.OPERATOR
    database.close()
