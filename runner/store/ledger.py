"""The ledger: `hold`, `settle`, `keep`, `release` on sets of budgets, inside the caller's transaction.

For every budget at every instant `spent + unknown + held <= limit + overrun`, by code here and by a CHECK in the
database. A budget with overrun admits no call.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from runner.pricing.cost import affordable_output, worst
from runner.values import Billing, Ms, NanoUsd, Period, Scope, ScopeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One row: a scope in one bucket of a period. `limit` None counts without limiting."""

    id: int
    scope: Scope
    period: Period
    bucket: str
    limit: NanoUsd | None
    spent: NanoUsd
    unknown: NanoUsd
    held: NanoUsd
    overrun: NanoUsd

    @property
    def settled_room(self) -> NanoUsd | None:
        """What is left once every open hold of others is gone; unknown counts as spent."""
        if self.limit is None:
            return None
        return 0 if self.overrun else self.limit - self.spent - self.unknown

    @property
    def room(self) -> NanoUsd | None:
        """What is left at this instant."""
        settled = self.settled_room
        return None if settled is None else settled - self.held

    def __str__(self) -> str:
        return f"{self.scope}" if self.period is Period.TOTAL else f"{self.scope} per {self.period} ({self.bucket})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The output the money buys, and what was held for it."""

    output: int
    hold: NanoUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """Not enough money on `budget`. `others` = only other calls' holds are in the way."""

    budget: str
    need: NanoUsd
    headroom: NanoUsd
    others: bool


def bucket(period: Period, at: Ms, zone: str = "UTC") -> str:
    """Name the bucket a time falls into: `2026-11-22`, `2026-W47` (weeks start Monday), `2026-11`, or `all`."""
    if period is Period.TOTAL:
        return "all"
    when = _local(at, zone)
    match period:
        case Period.DAY:
            return when.strftime("%Y-%m-%d")
        case Period.WEEK:
            year, week, _ = when.isocalendar()
            return f"{year}-W{week:02}"
        case Period.MONTH:
            return when.strftime("%Y-%m")


def _local(at: Ms, zone: str) -> dt.datetime:
    # UTC needs no time zone database, which a small machine may not have
    return dt.datetime.fromtimestamp(at / 1000, tz=dt.UTC if zone == "UTC" else ZoneInfo(zone))


# kind, name, period and bucket name one row
_Key = tuple[str, str, str, str]
_COLUMNS = "id, kind, name, period, bucket, limit_nano, spent, unknown, held, overrun"


def _budget(row: tuple[int, str, str, str, str, int | None, int, int, int, int]) -> Budget:
    ident, kind, name, period, named, limit, spent, unknown, held, overrun = row
    return Budget(
        id=ident,
        scope=Scope(ScopeKind(kind), name),
        period=Period(period),
        bucket=named,
        limit=limit,
        spent=spent,
        unknown=unknown,
        held=held,
        overrun=overrun,
    )


def budgets(tx: sqlite3.Connection, scopes: Iterable[Scope], at: Ms) -> list[Budget]:
    """Every budget a call of these scopes belongs to now, made on first use; ordered by id."""
    if not (wanted := tuple(scopes)):
        return []
    limits = _limits_of(tx, wanted)
    keys: dict[_Key, int | None] = {}
    for scope in wanted:
        periods = limits.get((scope.kind, scope.name), {})
        for period in sorted({Period.TOTAL, *periods}):
            limit, zone = periods.get(period, (None, "UTC"))
            keys[str(scope.kind), scope.name, str(period), bucket(period, at, zone)] = limit
    found = _rows(tx, keys)
    made = (_made(tx, key, limit, at) for key, limit in keys.items() if key not in found)
    return sorted((*found.values(), *made), key=lambda one: one.id)


def _limits_of(tx: sqlite3.Connection, scopes: Sequence[Scope]) -> dict[tuple[str, str], dict[Period, tuple[int, str]]]:
    """What is set for these scopes: amount and time zone by period."""
    either = " OR ".join(["(kind = ? AND name = ?)"] * len(scopes))
    names = [part for scope in scopes for part in (str(scope.kind), scope.name)]
    found: dict[tuple[str, str], dict[Period, tuple[int, str]]] = {}
    for kind, name, period, limit, zone in tx.execute(
        f"SELECT kind, name, period, limit_nano, zone FROM budget_limit WHERE {either}", names
    ):
        found.setdefault((kind, name), {})[Period(period)] = (limit, zone)
    return found


def _rows(tx: sqlite3.Connection, keys: Collection[_Key]) -> dict[_Key, Budget]:
    """The budgets of these keys that exist, in one look."""
    # spelled out: SQLite would look through the whole table for `IN (VALUES …)`
    either = " OR ".join(["(kind = ? AND name = ? AND period = ? AND bucket = ?)"] * len(keys))
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM budget WHERE {either}",
        [part for key in keys for part in key],
    )
    return {row[1:5]: _budget(row) for row in rows}


def _made(tx: sqlite3.Connection, key: _Key, limit: int | None, at: Ms) -> Budget:
    """A budget on its first use, with what its bucket has used already."""
    tx.execute("INSERT INTO budget (kind, name, period, bucket, limit_nano) VALUES (?, ?, ?, ?, ?)", (*key, limit))
    return _caught_up(tx, _rows(tx, (key,))[key], at)


def _caught_up(tx: sqlite3.Connection, row: Budget, at: Ms) -> Budget:
    """Count on a period's budget the calls of its bucket that nobody held on it: it had no limit, or another zone.

    Open ones are held on it from now on. What is counted already stays, whatever happened to its entries.
    """
    if row.period is Period.TOTAL:
        return row
    spent, unknown, held = _used(tx, row, at)
    if spent + unknown < row.spent + row.unknown:
        spent, unknown = row.spent, row.unknown
    over = 0 if row.limit is None else max(row.overrun, spent + unknown + held - row.limit)
    tx.execute(
        "UPDATE budget SET spent = ?, unknown = ?, held = ?, overrun = ? WHERE id = ?",
        (spent, unknown, held, over, row.id),
    )
    return replace(row, spent=spent, unknown=unknown, held=held, overrun=over)


def _used(tx: sqlite3.Connection, row: Budget, at: Ms) -> tuple[NanoUsd, NanoUsd, NanoUsd]:
    """What a scope has spent, lost and holds in this bucket, by its entries; open ones join the budget."""
    key = (row.scope.kind, row.scope.name)
    limit = "SELECT zone FROM budget_limit WHERE kind = ? AND name = ? AND period = ?"
    (zone,) = tx.execute(limit, (*key, row.period)).fetchone() or ("UTC",)
    start = _bucket_start(row.period, at, str(zone))
    spent = unknown = held = 0
    # a call belongs to the model it was made with, whichever its run began with
    belongs = "run IN (SELECT run FROM run_scope WHERE kind = ? AND name = ?)"
    entries = tx.execute(
        "SELECT run, call, state, hold, cost, at, budgets FROM entry WHERE at >= ? AND "
        + ("? = 'model' AND model = ?" if row.scope.kind is ScopeKind.MODEL else belongs),
        (start - _ZONES_MS, *key),
    ).fetchall()
    for run, call, state, hold_, cost, began, budgets_ in entries:
        ids: list[int] = json.loads(budgets_)
        if row.id not in ids and began < start:
            continue
        if state == "settled":
            spent += cost
        elif state == "unknown":
            unknown += hold_
        elif state == "dispatched":
            held += hold_
            if row.id not in ids:
                joined = json.dumps([*ids, row.id])
                tx.execute("UPDATE entry SET budgets = ? WHERE run = ? AND call = ?", (joined, run, call))
    return spent, unknown, held


# a bucket of the same name begins at most this much earlier in another time zone
_ZONES_MS = 2 * 86_400_000


def _bucket_start(period: Period, at: Ms, zone: str) -> Ms:
    # fold: where midnight comes twice, the day begins with the first
    when = _local(at, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period is Period.WEEK:
        when -= dt.timedelta(days=when.weekday())
    if period is Period.MONTH:
        when = when.replace(day=1)
    return int(when.timestamp() * 1000)


def set_limit(
    tx: sqlite3.Connection, scope: Scope, period: Period, limit: NanoUsd | None, *, zone: str, at: Ms
) -> Budget:
    """Give a scope a limit (None takes it away). Below what is used already, the rest is overrun and admits no call."""
    key = (scope.kind, scope.name, period)
    tx.execute("DELETE FROM budget_limit WHERE kind = ? AND name = ? AND period = ?", key)
    if limit is not None:
        tx.execute(
            "INSERT INTO budget_limit (kind, name, period, limit_nano, zone, set_at) VALUES (?, ?, ?, ?, ?, ?)",
            (*key, limit, zone, at),
        )
    whole = (str(scope.kind), scope.name, str(period), bucket(period, at, zone))
    row = _rows(tx, (whole,)).get(whole) or _made(tx, whole, limit, at)
    if limit is not None:
        row = _caught_up(tx, row, at)
    return relimit(tx, row, limit)


def relimit(tx: sqlite3.Connection, row: Budget, limit: NanoUsd | None) -> Budget:
    """Move one budget's limit; `overrun` becomes what lies above it.

    What a bill broke stands until somebody raises the limit, or takes it away: the same again, or a lower one, asks
    for no more money to be spent.
    """
    over = 0 if limit is None else max(0, row.spent + row.unknown + row.held - limit)
    if limit is not None and row.limit is not None and limit <= row.limit:
        over = max(over, row.overrun)
    tx.execute("UPDATE budget SET limit_nano = ?, overrun = ? WHERE id = ?", (limit, over, row.id))
    return _budget(tx.execute(f"SELECT {_COLUMNS} FROM budget WHERE id = ?", (row.id,)).fetchone())


def grant(
    rows: Sequence[Budget],
    *,
    input_price: int,
    output_price: int,
    input_bound: int,
    asked: int,
    least: int,
    slack: NanoUsd = 2,
    fees: NanoUsd = 0,
) -> Granted | Short:
    """Clamp a call to the output the money buys, but not below `least`; wait only for other calls' holds.

    `slack` and `fees` come on top of every hold, as `pricing.cost.worst` says.
    """
    tightest = min((row for row in rows if row.limit is not None), key=lambda row: row.settled_room or 0, default=None)
    output = asked
    if tightest is not None:
        room = tightest.settled_room or 0
        buys = affordable_output(input_price, output_price, input_bound, room, slack=slack, fees=fees)
        output = asked if buys is None else min(asked, buys)
        if output < least or room <= 0:
            need = worst(input_price, output_price, input_bound, least, slack=slack, fees=fees)
            return Short(budget=str(tightest), need=need, headroom=room, others=False)
    need = worst(input_price, output_price, input_bound, output, slack=slack, fees=fees)
    for row in rows:
        if row.room is not None and need > row.room:
            return Short(budget=str(row), need=need, headroom=row.room, others=True)
    return Granted(output=output, hold=need)


def worth_a_try(rows: Sequence[Budget], need: NanoUsd) -> bool:
    """Whether waiting for other calls' holds is over: `need` fits, or no hold is left that it could wait for.

    What others spend while one waits can bring the room below `need` for good; then `grant` clamps, or says so.
    """
    return all(row.room is None or need <= row.room or row.held == 0 for row in rows)


def hold(
    tx: sqlite3.Connection,
    rows: Sequence[Budget],
    *,
    run: str,
    call: str,
    model: str,
    prices: str,
    amount: NanoUsd,
    at: Ms,
    billing: str = Billing.METERED.value,
) -> None:
    """Hold an amount on every budget, in one statement; raises sqlite3.IntegrityError if one does not admit it."""
    ids = [row.id for row in rows]
    marks = ",".join("?" * len(ids))
    changed = tx.execute(
        f"UPDATE budget SET held = held + ? WHERE id IN ({marks}) AND (limit_nano IS NULL OR"
        " (overrun = 0 AND spent + unknown + held + ? <= limit_nano))",
        (amount, *ids, amount),
    ).rowcount
    if changed != len(ids):
        msg = f"held on {changed} of {len(ids)} budgets"
        raise sqlite3.IntegrityError(msg)
    tx.execute(
        "INSERT INTO entry (run, call, state, model, prices, hold, budgets, at, billing)"
        " VALUES (?, ?, 'dispatched', ?, ?, ?, ?, ?, ?)",
        (run, call, model, prices, amount, json.dumps(ids), at, billing),
    )


def close(tx: sqlite3.Connection, *, run: str, call: str, state: str, cost: NanoUsd) -> NanoUsd:
    """End an entry as `settled` (its cost replaces the hold), `unknown` (the hold stays) or `released`; give the hold.

    A cost above the hold is recorded as it is; on limited budgets the excess is overrun, which admits no further call.
    """
    found = tx.execute(
        "SELECT hold, budgets FROM entry WHERE run = ? AND call = ? AND state = 'dispatched'", (run, call)
    ).fetchone()
    if found is None:
        return 0
    held, ids = int(found[0]), [int(one) for one in json.loads(found[1])]
    spent, unknown = (cost, 0) if state == "settled" else (0, held if state == "unknown" else 0)
    excess = max(0, spent - held)
    marks = ",".join("?" * len(ids))
    tx.execute(
        "UPDATE budget SET held = held - ?, spent = spent + ?, unknown = unknown + ?,"
        f" overrun = overrun + CASE WHEN limit_nano IS NULL THEN 0 ELSE ? END WHERE id IN ({marks})",
        (held, spent, unknown, excess, *ids),
    )
    tx.execute("UPDATE entry SET state = ?, cost = ? WHERE run = ? AND call = ?", (state, spent, run, call))
    return held


@dataclass(frozen=True, slots=True)
class Beside:
    """Calls that are in no sum of a budget: local ones cost nothing, unmetered ones nobody can price."""

    local: int = 0
    unmetered: int = 0


# many calls share one list of budgets
BESIDE = "SELECT budgets, billing, COUNT(*) FROM entry WHERE billing <> 'metered' GROUP BY budgets, billing"


def beside(rows: Iterable[Sequence[object]]) -> dict[int, Beside]:
    """What stands beside the sums of each budget, by its id, from the rows of `BESIDE`; others have no such calls."""
    found: dict[int, Beside] = {}
    for ids, billing, count in rows:
        calls = int(str(count))
        local, unmetered = (calls, 0) if billing == Billing.LOCAL else (0, calls)
        for one in json.loads(str(ids)):
            was = found.get(one, Beside())
            found[one] = Beside(was.local + local, was.unmetered + unmetered)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A call whose outcome nobody knows: its whole hold counts on its budgets until evidence lowers it."""

    run: str
    call: str
    model: str
    prices: str
    hold: NanoUsd
    at: Ms


def unknown(tx: sqlite3.Connection) -> list[Unknown]:
    """Every call whose outcome is unknown, the oldest first; `at` is when it was held."""
    rows = tx.execute(
        "SELECT run, call, model, prices, hold, at FROM entry WHERE state = 'unknown' ORDER BY at, run, call"
    )
    return [
        Unknown(run=str(run), call=str(call), model=str(model), prices=str(prices), hold=int(hold_), at=int(at))
        for run, call, model, prices, hold_, at in rows
    ]


def reconcile(tx: sqlite3.Connection, *, run: str, call: str, cost: NanoUsd) -> NanoUsd:
    """Settle an unknown call by evidence: its cost replaces the hold that counted; give that hold, 0 if not unknown.

    A cost above the hold is recorded as it is, and is overrun, as `close` says.
    """
    found = tx.execute(
        "SELECT hold, budgets FROM entry WHERE run = ? AND call = ? AND state = 'unknown'", (run, call)
    ).fetchone()
    if found is None:
        return 0
    kept, ids = int(found[0]), [int(one) for one in json.loads(found[1])]
    marks = ",".join("?" * len(ids))
    tx.execute(
        "UPDATE budget SET unknown = unknown - ?, spent = spent + ?,"
        f" overrun = overrun + CASE WHEN limit_nano IS NULL THEN 0 ELSE ? END WHERE id IN ({marks})",
        (kept, cost, max(0, cost - kept), *ids),
    )
    tx.execute("UPDATE entry SET state = 'settled', cost = ? WHERE run = ? AND call = ?", (cost, run, call))
    return kept


@dataclass(frozen=True, slots=True)
class Limit:
    """What somebody set for a scope: the amount, and the time zone its periods begin in."""

    amount: NanoUsd
    zone: str


def limits(tx: sqlite3.Connection) -> dict[tuple[Scope, Period], Limit]:
    """Every limit that is set."""
    rows = tx.execute("SELECT kind, name, period, limit_nano, zone FROM budget_limit")
    return {
        (Scope(ScopeKind(kind), str(name)), Period(period)): Limit(int(amount), str(zone))
        for kind, name, period, amount, zone in rows
    }


def named(tx: sqlite3.Connection) -> set[Scope]:
    """Every scope that ever had a budget or a limit."""
    rows = tx.execute("SELECT kind, name FROM budget UNION SELECT kind, name FROM budget_limit")
    return {Scope(ScopeKind(kind), str(name)) for kind, name in rows}


def model_of(tx: sqlite3.Connection, *, run: str, call: str) -> str:
    """The model an entry was held for; "" where there is none."""
    found = tx.execute("SELECT model FROM entry WHERE run = ? AND call = ?", (run, call)).fetchone()
    return "" if found is None else str(found[0])
