"""A store and its writer for the store's contract, with a clock that stands still."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.events.facts import (
    CallSettled,
    DispatchCall,
    RunCreated,
)
from runner.store import journal, ledger
from runner.store.database import Database
from runner.store.recorder import JournalRecorder, create_run, take_over
from runner.values import CallId, Limits, Period, Reply, Scope, ScopeKind, Usage

AT = 1_763_769_600_000
PROJECT = Scope(ScopeKind.PROJECT, "p")


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = AT

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return (self.at - AT) / 1000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "state" / "runner.db")
    yield opened
    opened.close()


def begin(database: Database, run: str = "r1", *, limits: Limits | None = None) -> JournalRecorder:
    created = RunCreated(
        run=run,
        spec_path="spec.md",
        spec_key="k",
        spec_text="",
        workspace="/w",
        origin="/w",
        worktree=False,
        model="m",
        prices_digest="d",
        scopes=(Scope(ScopeKind.RUN, run), PROJECT),
        limits=limits or Limits(),
    )
    recorder = create_run(database, created, Clock())
    take_over(recorder, "m")
    return recorder


def dispatch(step: int = 1, *, bound: int = 10, asked: int = 100) -> DispatchCall:
    """One nano-dollar a token: 10 in and 100 out hold 112, with the rounding of token classes."""
    return DispatchCall(
        call=CallId(1, step, 1),
        model="m",
        input_bound=bound,
        asked_output=asked,
        min_output=10,
        input_price=1000,
        output_price=1000,
        prices="d",
    )


def settled(step: int = 1, *, cost: int = 20, usage: Usage | None = None) -> CallSettled:
    return CallSettled(call=CallId(1, step, 1), usage=usage or Usage(5, 15), cost=cost, reply=Reply(text="ok"))


def limit(database: Database, amount: int | None) -> None:
    with database.transaction(durable=True) as tx:
        ledger.set_limit(tx, PROJECT, Period.TOTAL, amount, zone="UTC", at=AT)


def project(database: Database) -> tuple[int, int, int]:
    row = database.query("SELECT spent, unknown, held FROM budget WHERE kind = 'project'")[0]
    return row["spent"], row["unknown"], row["held"]


def kinds(database: Database, run: str = "r1") -> list[str]:
    return [row.kind for row in journal.rows(database, run)]
