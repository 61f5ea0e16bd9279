"""The kill switch of a state directory: while it is on, no call leaves and no tool starts, of any run.

It is looked at inside the transaction that would let a call leave or a tool start, so nothing of either is committed
after it. Whoever cannot read it does nothing: the error ends the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from runner.errors import BusyError
from runner.store.database import Database
from runner.values import Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Somebody stopped everything. `lifted` 0 = it still holds; then by whom it was lifted is ""."""

    at: Ms
    by: str
    why: str = ""
    lifted: Ms = 0
    lifted_by: str = ""


_EVERY = 'SELECT at, "by", why, COALESCE(lifted, 0), lifted_by FROM halted'


def halted(tx: sqlite3.Connection) -> Halt | None:
    """What blocks every start now, seen from inside a transaction; None when nothing does."""
    row = tx.execute(f"{_EVERY} WHERE lifted IS NULL LIMIT 1").fetchone()
    return None if row is None else _halt(row)


def standing_halt(database: Database) -> Halt | None:
    """What blocks every start now; None when nothing does."""
    rows = database.query(f"{_EVERY} WHERE lifted IS NULL LIMIT 1")
    return _halt(rows[0]) if rows else None


def history(database: Database) -> list[Halt]:
    """Every time everything was stopped, oldest first."""
    return [_halt(row) for row in database.query(f"{_EVERY} ORDER BY id")]


def halt(database: Database, *, by: str, why: str, now: Callable[[], Ms]) -> None:
    """Block every start, durably; where they are blocked already the first word stays.

    The time is asked for inside the transaction: what began before it has an earlier one.
    """
    with database.transaction(durable=True) as tx:
        if halted(tx) is None:
            tx.execute('INSERT INTO halted (at, "by", why) VALUES (?, ?, ?)', (now(), by, why))


def lift(database: Database, *, by: str, at: Ms) -> Halt | None:
    """Let runs start again; gives what had blocked them, None when nothing did."""
    with database.transaction(durable=True) as tx:
        found = halted(tx)
        tx.execute("UPDATE halted SET lifted = ?, lifted_by = ? WHERE lifted IS NULL", (at, by))
    return found


def refuse_start(found: Halt | None) -> None:
    """Raise BusyError (75) where starts are blocked: try again once somebody allowed them."""
    if found is None:
        return
    why = f": {found.why}" if found.why else ""
    since = datetime.fromtimestamp(found.at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    msg = f"starts are blocked since {since} by {found.by} (runner stop --all){why}"
    raise BusyError(msg, hint="once whatever made somebody stop everything is dealt with: runner allow-starts")


def _halt(row: sqlite3.Row | tuple[int, str, str, int, str]) -> Halt:
    at, by, why, lifted, lifted_by = row
    return Halt(at=at, by=by, why=why, lifted=lifted, lifted_by=lifted_by)
