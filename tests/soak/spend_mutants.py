"""Three bugs a ledger can have, put into a driver on purpose: the harness must see each of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence

from runner.pricing.cost import worst
from runner.store import ledger
from runner.store.ledger import Budget, Granted, Short

Row = sqlite3.Connection


def late_check() -> None:
    """Look at past spend alone: any money left admits a call in full, and its cost is added afterwards."""

    def grant(
        rows: Sequence[Budget],
        *,
        input_price: int,
        output_price: int,
        input_bound: int,
        asked: int,
        least: int,
        slack: int = 2,
        fees: int = 0,
    ) -> Granted | Short:
        for row in rows:
            if row.settled_room is not None and row.settled_room <= 0:
                return Short(budget=str(row), need=1, headroom=row.settled_room, others=False)
        return Granted(output=asked, hold=worst(input_price, output_price, input_bound, asked, slack=slack, fees=fees))

    ledger.grant = grant
    no_hold()


def no_hold() -> None:
    """Ask whether the worst case fits, but hold nothing while the call is under way."""

    def hold(
        tx: Row,
        rows: Sequence[Budget],
        *,
        run: str,
        call: str,
        model: str,
        prices: str,
        amount: int,
        at: int,
        billing: str = "metered",
    ) -> None:
        tx.execute(
            "INSERT INTO entry (run, call, state, model, prices, hold, budgets, at, billing)"
            " VALUES (?, ?, 'dispatched', ?, ?, ?, ?, ?, ?)",
            (run, call, model, prices, amount, json.dumps([row.id for row in rows]), at, billing),
        )

    def close(tx: Row, *, run: str, call: str, state: str, cost: int) -> int:
        held, ids = tx.execute("SELECT hold, budgets FROM entry WHERE run = ? AND call = ?", (run, call)).fetchone()
        unknown = held if state == "unknown" else 0
        for ident in json.loads(ids):
            tx.execute(
                "UPDATE budget SET spent = spent + ?, unknown = unknown + ?, overrun = CASE WHEN limit_nano IS NULL"
                " THEN 0 ELSE MAX(overrun, spent + ? + unknown + ? - limit_nano) END WHERE id = ?",
                (cost, unknown, cost, unknown, ident),
            )
        tx.execute("UPDATE entry SET state = ?, cost = ? WHERE run = ? AND call = ?", (state, cost, run, call))
        return int(held)

    ledger.hold, ledger.close = hold, close


def unknown_refunded() -> None:
    """Give the hold of a lost call back, as if nothing had been billed."""
    close = ledger.close

    def refunding(tx: Row, *, run: str, call: str, state: str, cost: int) -> int:
        return close(tx, run=run, call=call, state="released" if state == "unknown" else state, cost=cost)

    ledger.close = refunding


MUTANTS: dict[str, Callable[[], None]] = {
    "late-check": late_check,
    "no-hold": no_hold,
    "unknown-refunded": unknown_refunded,
}
