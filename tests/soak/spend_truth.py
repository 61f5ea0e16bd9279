"""What must be true after any trial: the ledger held against itself, the journals and the provider's own bill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.events.facts import BoundViolated, CallDispatched, CallRefused, Event
from runner.state import State
from runner.store import journal
from runner.store.database import Database
from runner.testing.provider import Billed


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The shared project budget and what was called on it, nano-USD."""

    limit: int
    spent: int
    unknown: int
    held: int
    overrun: int
    entries: int
    requests: int
    billed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One run's journal: its state and the calls that were dispatched or refused."""

    run: str
    state: State
    dispatched: tuple[CallDispatched, ...]
    refused: tuple[CallRefused, ...]
    broken: tuple[BoundViolated, ...]


def stories(state_dir: Path) -> list[Story]:
    """Every run of a state directory."""
    database = Database(state_dir / "runner.db")
    try:
        return [_story(database, row.id) for row in journal.runs(database)]
    finally:
        database.close()


def _story(database: Database, run: str) -> Story:
    stored = list(journal.rows(database, run))
    events: list[Event] = [one.event for row in stored if (one := journal.known(run, row)) is not None]
    return Story(
        run=run,
        state=journal.fold(run, iter(stored)),
        dispatched=tuple(event for event in events if isinstance(event, CallDispatched)),
        refused=tuple(event for event in events if isinstance(event, CallRefused)),
        broken=tuple(event for event in events if isinstance(event, BoundViolated)),
    )


def sums(state_dir: Path, billed: Sequence[Billed]) -> Sums:
    """Read the project's row and count entries."""
    with sqlite3.connect(f"file:{state_dir / 'runner.db'}?mode=ro", uri=True) as tx:
        limit, spent, unknown, held, overrun = tx.execute(
            "SELECT limit_nano, spent, unknown, held, overrun FROM budget WHERE kind = 'project' AND period = 'total'"
        ).fetchone()
        (entries,) = tx.execute("SELECT COUNT(*) FROM entry").fetchone()
    return Sums(
        limit=limit,
        spent=spent,
        unknown=unknown,
        held=held,
        overrun=overrun,
        entries=entries,
        requests=len(billed),
        billed=sum(one.billed_nano_usd for one in billed),
    )


def violations(state_dir: Path, found: Sums, told: Sequence[Story]) -> list[str]:
    """Everything that is not as promised, in words; empty when all is well."""
    wrong: list[str] = []
    if found.billed > found.limit:
        wrong.append(f"billed {found.billed} above the limit {found.limit}")
    if found.spent + found.unknown + found.held < found.billed:
        wrong.append(f"the ledger knows {found.spent + found.unknown + found.held} of {found.billed} billed")
    if found.spent + found.unknown + found.held > found.limit + found.overrun:
        wrong.append("more is spent, lost and held than the limit and its overrun")
    if found.overrun:
        wrong.append(f"an overrun of {found.overrun}, though the provider kept every bound")
    if found.requests > found.entries:
        wrong.append(f"{found.requests} requests came, {found.entries} were held for")
    dispatched = sum(len(one.dispatched) for one in told)
    if dispatched != found.entries:
        wrong.append(f"{dispatched} calls are in the journals, {found.entries} in the ledger")
    wrong += [f"run {one.run}: {one.broken[0].what}" for one in told if one.broken]
    return wrong + _rows(state_dir) + _folds(state_dir, told)


def _rows(state_dir: Path) -> list[str]:
    """Every budget's row is the sum of the entries held on it."""
    with sqlite3.connect(f"file:{state_dir / 'runner.db'}?mode=ro", uri=True) as tx:
        entries = [
            (state, hold, cost, json.loads(ids))
            for state, hold, cost, ids in tx.execute("SELECT state, hold, cost, budgets FROM entry")
        ]
        rows = tx.execute("SELECT id, kind, name, spent, unknown, held FROM budget").fetchall()
    wrong = []
    for ident, kind, name, spent, unknown, held in rows:
        mine = [(state, hold, cost) for state, hold, cost, ids in entries if ident in ids]
        true = (
            sum(cost for state, _, cost in mine if state == "settled"),
            sum(hold for state, hold, _ in mine if state == "unknown"),
            sum(hold for state, hold, _ in mine if state == "dispatched"),
        )
        if true != (spent, unknown, held):
            wrong.append(f"{kind}:{name} says {(spent, unknown, held)}, its entries {true}")
    return wrong


def _folds(state_dir: Path, told: Sequence[Story]) -> list[str]:
    """A run's own fold of its journal and its row of the ledger are the same sums."""
    with sqlite3.connect(f"file:{state_dir / 'runner.db'}?mode=ro", uri=True) as tx:
        rows = {
            name: (spent, unknown, held)
            for name, spent, unknown, held in tx.execute(
                "SELECT name, spent, unknown, held FROM budget WHERE kind = 'run' AND period = 'total'"
            )
        }
    return [
        f"run {one.run}: the journal says {folded}, the ledger {rows.get(one.run)}"
        for one in told
        if (folded := (one.state.money.spent, one.state.money.unknown, one.state.money.held)) != rows.get(one.run)
    ]


def wasted(found: Sums, told: Sequence[Story]) -> list[str]:
    """After clean replies: every run stopped because not even the least useful call fitted what was left."""
    wrong: list[str] = []
    unspent = found.limit - found.spent
    if found.unknown or found.held:
        wrong.append(f"clean replies left {found.unknown} unknown and {found.held} held")
    if found.spent != found.billed:
        wrong.append(f"spent {found.spent}, billed {found.billed}")
    for one in told:
        last = one.refused[-1] if one.refused else None
        if last is None or last.others:
            wrong.append(f"run {one.run} ended without a refusal of its own")
        elif unspent >= last.need or last.headroom >= last.need:
            wrong.append(f"run {one.run} stopped with {unspent} unspent, its next call needed {last.need}")
    return wrong


def odd_exits(codes: Collection[int], expected: Collection[int]) -> list[str]:
    """Exit codes nobody expected."""
    return [f"exit code {code}" for code in sorted(set(codes) - set(expected))]
