"""How shared budgets stand, read without a transaction: nothing is made by looking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.store import ledger
from runner.store.database import Database
from runner.store.ledger import Beside, Budget, bucket
from runner.values import Ms, Period, Scope, ScopeKind


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit that is set, with what is used of it now, the time zone its periods begin in, and calls in no sum."""

    budget: Budget
    zone: str
    beside: Beside


def standing(database: Database, at: Ms) -> list[Standing]:
    """Every limit that is set, as it stands in the bucket of this moment."""
    rows = database.query("SELECT kind, name, period, limit_nano, zone FROM budget_limit ORDER BY kind, name, period")
    beside = ledger.beside(tuple(row) for row in database.query(ledger.BESIDE))
    return [
        _standing(
            database,
            beside,
            Scope(ScopeKind(str(row["kind"])), str(row["name"])),
            Period(str(row["period"])),
            limit=int(row["limit_nano"]),
            zone=str(row["zone"]),
            at=at,
        )
        for row in rows
    ]


def _standing(
    database: Database, beside: Mapping[int, Beside], scope: Scope, period: Period, *, limit: int, zone: str, at: Ms
) -> Standing:
    named = bucket(period, at, zone)
    found = database.query(
        "SELECT id, spent, unknown, held, overrun FROM budget"
        " WHERE kind = ? AND name = ? AND period = ? AND bucket = ?",
        (scope.kind, scope.name, period, named),
    )
    # the first call of a bucket makes its row: without one there was no call
    row = dict(found[0]) if found else {"id": 0, "spent": 0, "unknown": 0, "held": 0, "overrun": 0}
    budget = Budget(scope=scope, period=period, bucket=named, limit=limit, **row)
    return Standing(budget, zone, beside.get(budget.id, Beside()))


def of(found: Iterable[Standing], scopes: Iterable[Scope]) -> list[Standing]:
    """Those that count the calls of these scopes, the one with the least room first."""
    wanted = set(scopes)
    return sorted(
        (one for one in found if one.budget.scope in wanted), key=lambda one: (one.budget.room or 0, str(one.budget))
    )
