"""The ledger under any order of events: no budget ever holds more than it has, and its rows are its entries' sums."""

import json
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.pricing.cost import Price, affordable_output, cost, worst
from runner.store import ledger
from runner.store.database import Database
from runner.store.ledger import Budget, Granted, Short
from runner.values import Period, Scope, ScopeKind, Usage

AT = 1_763_769_600_000  # 2025-11-22 00:00 UTC, a Saturday
HOUR = 3_600_000
PROJECT, USER = Scope(ScopeKind.PROJECT, "p"), Scope(ScopeKind.USER, "u")
RUNS = tuple(Scope(ScopeKind.RUN, f"r{number}") for number in range(3))
ZONES = ("UTC", "Pacific/Auckland", "America/Havana")
PRICES = (750, 4500)

amounts = st.integers(0, 4_000_000)


class Ledger(RuleBasedStateMachine):
    """Three runs of one project and one user; limits come, move and go; days pass; calls end in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.folder.name) / "runner.db")
        self.at = AT
        self.calls = 0
        self.open: dict[str, tuple[str, Granted]] = {}
        self.unknown: dict[str, tuple[str, Granted]] = {}
        self.settled = 0
        self.lost = 0
        with self.database.transaction(durable=False) as tx:
            for scope in RUNS:
                tx.execute(
                    "INSERT INTO run (id, spec_key, workspace, created_at, head_hash) VALUES (?, '', '', 0, '')",
                    (scope.name,),
                )
                for each in (scope, PROJECT, USER):
                    tx.execute(
                        "INSERT INTO run_scope (run, kind, name) VALUES (?, ?, ?)", (scope.name, each.kind, each.name)
                    )

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @initialize(limit=amounts)
    def begins_with_a_limit(self, limit: int) -> None:
        self.limits(PROJECT, Period.TOTAL, limit, "UTC")

    @rule(
        scope=st.sampled_from([PROJECT, USER]),
        period=st.sampled_from(list(Period)),
        limit=st.none() | amounts,
        zone=st.sampled_from(ZONES),
    )
    def limits(self, scope: Scope, period: Period, limit: int | None, zone: str) -> None:
        with self.database.transaction(durable=False) as tx:
            before = {row.id: row for row in every_budget(tx)}
            row = ledger.set_limit(tx, scope, period, limit, zone=zone, at=self.at)
            assert row.limit == limit
            used = row.spent + row.unknown + row.held
            least = 0 if limit is None else max(0, used - limit)
            was = before.get(row.id)
            raised = limit is None or was is None or was.limit is None or limit > was.limit
            assert row.overrun == least if raised else row.overrun >= max(least, was.overrun if was else 0)

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        self.at += hours * HOUR

    @rule(number=st.integers(0, 2), bound=st.integers(0, 500), asked=st.integers(1, 600), least=st.integers(1, 100))
    def calls_model(self, number: int, bound: int, asked: int, least: int) -> None:
        run = RUNS[number]
        least = min(least, asked)
        with self.database.transaction(durable=False) as tx:
            rows = ledger.budgets(tx, (run, PROJECT, USER), self.at)
            granted = ledger.grant(
                rows, input_price=PRICES[0], output_price=PRICES[1], input_bound=bound, asked=asked, least=least
            )
            judged(rows, granted, bound=bound, asked=asked, least=least)
            if isinstance(granted, Granted):
                self.calls += 1
                call = f"1.{self.calls}.1"
                ledger.hold(tx, rows, run=run.name, call=call, model="m", prices="p", amount=granted.hold, at=self.at)
                self.open[call] = (run.name, granted)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["settled", "unknown", "released"]), share=st.integers(0, 100))
    def ends(self, data: st.DataObject, how: str, share: int) -> None:
        call = data.draw(st.sampled_from(sorted(self.open)))
        run, granted = self.open.pop(call)
        billed = granted.hold * share // 100
        with self.database.transaction(durable=False) as tx:
            assert ledger.close(tx, run=run, call=call, state=how, cost=billed) == granted.hold
            # a second word about the same call moves nothing
            before = tx.execute("SELECT * FROM budget ORDER BY id").fetchall()
            assert ledger.close(tx, run=run, call=call, state="released", cost=0) == 0
            assert tx.execute("SELECT * FROM budget ORDER BY id").fetchall() == before
        self.settled += billed if how == "settled" else 0
        if how == "unknown":
            self.lost += granted.hold
            self.unknown[call] = (run, granted)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), extra=st.integers(1, 1000))
    def is_billed_above_its_hold(self, data: st.DataObject, extra: int) -> None:
        call = data.draw(st.sampled_from(sorted(self.open)))
        run, granted = self.open.pop(call)
        billed = granted.hold + extra
        with self.database.transaction(durable=False) as tx:
            (ids,) = tx.execute("SELECT budgets FROM entry WHERE run = ? AND call = ?", (run, call)).fetchone()
            ledger.close(tx, run=run, call=call, state="settled", cost=billed)
            for row in every_budget(tx):
                if row.id in json.loads(ids) and row.limit is not None:
                    assert row.overrun >= extra
                    assert row.room is not None
                    assert row.room <= 0
        self.settled += billed

    @precondition(lambda self: self.unknown)
    @rule(data=st.data(), share=st.integers(0, 110))
    def is_reconciled(self, data: st.DataObject, share: int) -> None:
        call = data.draw(st.sampled_from(sorted(self.unknown)))
        run, granted = self.unknown.pop(call)
        billed = granted.hold * share // 100
        with self.database.transaction(durable=False) as tx:
            assert call in {one.call for one in ledger.unknown(tx)}
            assert ledger.reconcile(tx, run=run, call=call, cost=billed) == granted.hold
            assert ledger.reconcile(tx, run=run, call=call, cost=0) == 0
            assert call not in {one.call for one in ledger.unknown(tx)}
        self.settled += billed
        self.lost -= granted.hold

    @invariant()
    def holds(self) -> None:
        with self.database.transaction(durable=False) as tx:
            rows = every_budget(tx)
            for row in rows:
                assert min(row.spent, row.unknown, row.held, row.overrun) >= 0
                assert row.limit is None or row.spent + row.unknown + row.held <= row.limit + row.overrun
                spent, unknown, held = entries_of(tx, row)
                assert row.held == held
                # a period that was limited late counts calls it never held, too
                assert (row.spent, row.unknown) == (spent, unknown) or row.period is not Period.TOTAL
                assert (row.spent + row.unknown) >= spent + unknown
            for period, zone in tx.execute("SELECT period, zone FROM budget_limit WHERE kind = 'project'").fetchall():
                self.counts_the_whole_bucket(tx, Period(period), zone)
        project = next((row for row in rows if row.scope == PROJECT and row.period is Period.TOTAL), None)
        if project is not None:
            assert (project.spent, project.unknown) == (self.settled, self.lost)
            assert project.held == sum(granted.hold for _, granted in self.open.values())

    def counts_the_whole_bucket(self, tx: sqlite3.Connection, period: Period, zone: str) -> None:
        """Every call of this day, week or month counts, also one made before somebody limited it, or in another zone."""
        name = ledger.bucket(period, self.at, zone)
        row = next(one for one in ledger.budgets(tx, [PROJECT], self.at) if one.period is period)
        assert row.bucket == name
        calls = tx.execute("SELECT state, hold, cost, at FROM entry").fetchall()
        used = sum(
            {"settled": paid, "released": 0}.get(state, hold)
            for state, hold, paid, at in calls
            if ledger.bucket(period, at, zone) == name
        )
        assert row.spent + row.unknown + row.held >= used


def every_budget(tx: sqlite3.Connection) -> list[ledger.Budget]:
    """Every row of every bucket, past ones too."""
    sql = "SELECT id, kind, name, period, bucket, limit_nano, spent, unknown, held, overrun FROM budget ORDER BY id"
    return [
        ledger.Budget(
            id=row[0],
            scope=Scope(ScopeKind(row[1]), row[2]),
            period=Period(row[3]),
            bucket=row[4],
            limit=row[5],
            spent=row[6],
            unknown=row[7],
            held=row[8],
            overrun=row[9],
        )
        for row in tx.execute(sql).fetchall()
    ]


def entries_of(tx: sqlite3.Connection, row: Budget) -> tuple[int, int, int]:
    sums = {"settled": 0, "unknown": 0, "dispatched": 0, "released": 0}
    for state, hold, paid, ids in tx.execute("SELECT state, hold, cost, budgets FROM entry"):
        if row.id in json.loads(ids):
            sums[state] += paid if state == "settled" else hold
    return sums["settled"], sums["unknown"], sums["dispatched"]


def judged(rows: list[Budget], answer: Granted | Short, *, bound: int, asked: int, least: int) -> None:
    """A grant fits every budget and no larger one would have; a refusal names what does not fit."""
    limited = [row for row in rows if row.limit is not None]
    settled = min((row.settled_room or 0 for row in limited), default=None)
    if isinstance(answer, Granted):
        assert least <= answer.output <= asked
        assert answer.hold == worst(*PRICES, bound, answer.output)
        assert all(row.overrun == 0 and row.room is not None and answer.hold <= row.room for row in limited)
        assert answer.output == asked or settled is None or worst(*PRICES, bound, answer.output + 1) > settled
    elif answer.others:
        assert settled is not None
        assert settled >= worst(*PRICES, bound, least)
        assert any(row.held and row.room is not None and answer.need > row.room for row in limited)
    else:
        assert settled is not None
        assert settled <= 0 or settled < worst(*PRICES, bound, least)
        assert answer.headroom == settled


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


prices = st.integers(0, 200_000_000)
counts = st.integers(0, 5_000_000)


@given(prices, prices, counts, st.integers(0, 10**15))
def test_the_affordable_output_is_the_largest_that_fits(input_price: int, output_price: int, bound: int, room: int):
    most = affordable_output(input_price, output_price, bound, room)
    if most is None:
        assert worst(input_price, output_price, bound, 10**9) <= room
    elif most < 0:
        assert worst(input_price, output_price, bound, 0) > room
    else:
        assert worst(input_price, output_price, bound, most) <= room < worst(input_price, output_price, bound, most + 1)


@given(st.tuples(prices, prices, prices, prices), counts, counts, st.data())
def test_no_usage_inside_the_bounds_costs_more_than_the_worst_case(
    each: tuple[int, int, int, int], bound: int, granted: int, data: st.DataObject
):
    price = Price(input=each[0], output=each[1], cached=each[2], cache_write=each[3])
    tokens = data.draw(st.integers(0, bound))
    cached = data.draw(st.integers(0, tokens))
    written = data.draw(st.integers(0, tokens - cached))
    usage = Usage(tokens, data.draw(st.integers(0, granted)), cached, written)
    assert cost(price, usage) <= worst(price.dearest_input, price.output, bound, granted)
