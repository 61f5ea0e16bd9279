"""How shared budgets stand, read without a transaction: nothing is made by looking."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.store.database import Database
from runner.store.ledger import Budget, bucket
from runner.values import Ms, Period, Scope, ScopeKind


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit that is set, with what is used of it now, and the time zone its periods begin in."""

    budget: Budget
    zone: str


def standing(database: Database, at: Ms) -> list[Standing]:
    """Every limit that is set, as it stands in the bucket of this moment."""
    rows = database.query("SELECT kind, name, period, limit_nano, zone FROM budget_limit ORDER BY kind, name, period")
    return [
        _standing(
            database,
            Scope(ScopeKind(str(row["kind"])), str(row["name"])),
            Period(str(row["period"])),
            limit=int(row["limit_nano"]),
            zone=str(row["zone"]),
            at=at,
        )
        for row in rows
    ]


def _standing(database: Database, scope: Scope, period: Period, *, limit: int, zone: str, at: Ms) -> Standing:
    named = bucket(period, at, zone)
    found = database.query(
        "SELECT id, spent, unknown, held, overrun FROM budget"
        " WHERE kind = ? AND name = ? AND period = ? AND bucket = ?",
        (scope.kind, scope.name, period, named),
    )
    # the first call of a bucket makes its row: without one there was no call
    row = dict(found[0]) if found else {"id": 0, "spent": 0, "unknown": 0, "held": 0, "overrun": 0}
    return Standing(Budget(scope=scope, period=period, bucket=named, limit=limit, **row), zone)


def of(found: Iterable[Standing], scopes: Iterable[Scope]) -> list[Standing]:
    """Those that count the calls of these scopes, the one with the least room first."""
    wanted = set(scopes)
    return sorted(
        (one for one in found if one.budget.scope in wanted), key=lambda one: (one.budget.room or 0, str(one.budget))
    )
