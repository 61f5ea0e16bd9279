"""The ledger's words one by one: what a call is granted, what each end moves, and how periods count."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from importlib import resources
from zoneinfo import ZoneInfo

import pytest

from runner.store import ledger
from runner.store.ledger import Beside, Budget, Granted, Short
from runner.values import Period, Scope, ScopeKind

PROJECT = Scope(ScopeKind.PROJECT, "p")
AT = 1_763_769_600_000  # 2025-11-22 00:00 UTC
HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def tx() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    scripts = (resources.files("runner.store") / "migrations").iterdir()
    for script in sorted(scripts, key=lambda one: one.name):
        connection.executescript(script.read_text())
    connection.execute("INSERT INTO run (id, spec_key, workspace, created_at, head_hash) VALUES ('r', '', '', 0, '')")
    connection.execute("INSERT INTO run_scope (run, kind, name) VALUES ('r', 'project', 'p')")
    yield connection
    connection.close()


def budget(limit: int | None = 1000, *, spent: int = 0, unknown: int = 0, held: int = 0, overrun: int = 0) -> Budget:
    return Budget(
        id=1,
        scope=PROJECT,
        period=Period.TOTAL,
        bucket="all",
        limit=limit,
        spent=spent,
        unknown=unknown,
        held=held,
        overrun=overrun,
    )


def ask(*rows: Budget, asked: int = 100, least: int = 10) -> Granted | Short:
    """At one nano-dollar a token, in and out; 10 tokens in, which with the rounding of token classes hold 12."""
    return ledger.grant(rows, input_price=1000, output_price=1000, input_bound=10, asked=asked, least=least)


def call(tx: sqlite3.Connection, name: str, amount: int, at: int = AT) -> None:
    rows = ledger.budgets(tx, [PROJECT], at)
    ledger.hold(tx, rows, run="r", call=name, model="m", prices="p", amount=amount, at=at)


def end(tx: sqlite3.Connection, name: str, state: str, cost: int = 0) -> None:
    ledger.close(tx, run="r", call=name, state=state, cost=cost)


def limit(
    tx: sqlite3.Connection, amount: int | None, period: Period = Period.TOTAL, *, zone: str = "UTC", at: int = AT
) -> Budget:
    return ledger.set_limit(tx, PROJECT, period, amount, zone=zone, at=at)


def now(tx: sqlite3.Connection, period: Period, at: int = AT) -> Budget:
    return next(row for row in ledger.budgets(tx, [PROJECT], at) if row.period is period)


def ms(text: str, zone: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_a_call_gets_all_it_asks_for_where_there_is_room():
    assert ask(budget(None), budget(1000)) == Granted(output=100, hold=112)


def test_without_any_limit_a_call_gets_all_it_asks_for():
    assert ask(budget(None)) == Granted(output=100, hold=112)


def test_a_call_is_clamped_to_the_output_the_money_buys():
    assert ask(budget(1000, spent=950)) == Granted(output=38, hold=50)


def test_what_is_lost_counts_as_spent():
    assert ask(budget(1000, unknown=950)) == ask(budget(1000, spent=950))


def test_the_tightest_budget_decides():
    assert ask(budget(1000, spent=900), budget(1000, spent=960)) == Granted(output=28, hold=40)


def test_below_the_least_useful_output_the_answer_is_no_whoever_else_settles():
    answer = ask(budget(1000, spent=979, held=10))
    assert answer == Short(budget="project:p", need=22, headroom=21, others=False)


def test_where_only_other_calls_holds_are_in_the_way_waiting_helps():
    answer = ask(budget(1000, held=950))
    assert answer == Short(budget="project:p", need=112, headroom=50, others=True)


def test_zero_allows_nothing_not_even_what_is_free():
    answer = ledger.grant([budget(0)], input_price=0, output_price=0, input_bound=1, asked=9, least=1)
    assert isinstance(answer, Short)
    assert not answer.others


def test_a_budget_with_an_overrun_admits_nothing():
    answer = ask(budget(1000, spent=10, overrun=1))
    assert answer == Short(budget="project:p", need=22, headroom=0, others=False)


def test_waiting_ends_when_the_need_fits():
    assert ledger.worth_a_try([budget(1000, held=888)], 112)
    assert not ledger.worth_a_try([budget(1000, held=889)], 112)


def test_waiting_ends_when_others_spent_the_room_that_was_waited_for():
    """A wait for room that can never come back would end parked, though a smaller call fits."""
    waited_for = ask(budget(120, held=60))
    assert isinstance(waited_for, Short)
    after = budget(120, spent=60)
    assert ledger.worth_a_try([after], waited_for.need)
    assert ask(after) == Granted(output=48, hold=60)


def test_a_settled_call_costs_what_it_cost(tx: sqlite3.Connection):
    limit(tx, 100)
    call(tx, "1.1.1", 60)
    assert now(tx, Period.TOTAL).room == 40
    end(tx, "1.1.1", "settled", 25)
    row = now(tx, Period.TOTAL)
    assert (row.spent, row.unknown, row.held, row.room) == (25, 0, 0, 75)


def test_a_lost_call_keeps_its_whole_hold(tx: sqlite3.Connection):
    limit(tx, 100)
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "unknown")
    row = now(tx, Period.TOTAL)
    assert (row.spent, row.unknown, row.held, row.room) == (0, 60, 0, 40)


def test_a_call_that_never_left_gives_its_hold_back(tx: sqlite3.Connection):
    limit(tx, 100)
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "released")
    assert now(tx, Period.TOTAL).room == 100


def test_a_call_ends_once(tx: sqlite3.Connection):
    limit(tx, 100)
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "unknown")
    end(tx, "1.1.1", "released")
    end(tx, "1.1.1", "settled", 1)
    assert now(tx, Period.TOTAL).unknown == 60


def test_the_same_call_is_never_held_twice(tx: sqlite3.Connection):
    call(tx, "1.1.1", 60)
    with pytest.raises(sqlite3.IntegrityError):
        call(tx, "1.1.1", 60)


def test_a_hold_that_does_not_fit_is_refused_by_the_statement_itself(tx: sqlite3.Connection):
    limit(tx, 100)
    call(tx, "1.1.1", 60)
    with pytest.raises(sqlite3.IntegrityError, match="held on 0 of 1 budgets"):
        call(tx, "1.1.2", 41)


def test_the_database_itself_refuses_more_than_the_limit(tx: sqlite3.Connection):
    limit(tx, 100)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        tx.execute("UPDATE budget SET held = 101")


def test_a_bill_above_the_hold_is_recorded_whole_and_closes_the_budget(tx: sqlite3.Connection):
    limit(tx, 100)
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "settled", 75)
    row = now(tx, Period.TOTAL)
    assert (row.spent, row.overrun, row.room) == (75, 15, 0)


def test_a_limit_below_what_is_used_closes_the_budget_and_a_higher_one_opens_it(tx: sqlite3.Connection):
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "settled", 60)
    assert limit(tx, 50).overrun == 10
    assert isinstance(ask(now(tx, Period.TOTAL)), Short)
    assert limit(tx, 500).room == 440
    assert limit(tx, None).room is None


@pytest.mark.parametrize("period", [Period.TOTAL, Period.DAY])
def test_an_overrun_stands_until_the_limit_rises(tx: sqlite3.Connection, period: Period):
    limit(tx, 1000, period)
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "settled", 75)
    # a bill above its hold: the same limit again, or a lower one, says nothing about it
    assert [limit(tx, amount, period).overrun for amount in (1000, 900, 70)] == [15, 15, 15]
    assert isinstance(ask(now(tx, period)), Short)
    assert limit(tx, 71, period).overrun == 4
    assert (limit(tx, 72, period).overrun, limit(tx, 100, period).overrun, limit(tx, 100, period).room) == (3, 0, 25)


@pytest.mark.parametrize(
    ("period", "zone", "at", "name"),
    [
        (Period.TOTAL, "UTC", AT, "all"),
        (Period.DAY, "UTC", AT - 1, "2025-11-21"),
        (Period.DAY, "UTC", AT, "2025-11-22"),
        (Period.DAY, "Pacific/Auckland", AT - 11 * HOUR, "2025-11-22"),
        (Period.WEEK, "UTC", AT, "2025-W47"),
        (Period.WEEK, "UTC", AT + 2 * DAY - 1, "2025-W47"),
        (Period.WEEK, "UTC", AT + 2 * DAY, "2025-W48"),
        (Period.MONTH, "UTC", AT + 9 * DAY, "2025-12"),
        (Period.MONTH, "America/New_York", AT + 9 * DAY, "2025-11"),
    ],
)
def test_a_moment_belongs_to_the_bucket_of_its_own_time_zone(period: Period, zone: str, at: int, name: str):
    assert ledger.bucket(period, at, zone) == name


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2025-11-22", "UTC", 24),
        ("2025-03-30", "Europe/Berlin", 23),
        ("2025-10-26", "Europe/Berlin", 25),
        # midnight comes twice in Havana, and not at all in Santiago
        ("2025-11-02", "America/Havana", 25),
        ("2025-09-07", "America/Santiago", 23),
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, zone: str, hours: int):
    noon = ms(f"{day}T12:00", zone)
    begin = ledger._bucket_start(Period.DAY, noon, zone)
    inside = [
        at for at in range(begin - 3 * HOUR, begin + 30 * HOUR, HOUR // 2) if ledger.bucket(Period.DAY, at, zone) == day
    ]
    assert (inside[0], len(inside)) == (begin, hours * 2)
    assert {ledger._bucket_start(Period.DAY, at, zone) for at in inside} == {begin}


def test_a_new_day_begins_with_the_whole_limit_and_the_old_one_keeps_its_calls(tx: sqlite3.Connection):
    limit(tx, 100, Period.DAY)
    call(tx, "1.1.1", 90, AT + DAY - 1)
    assert now(tx, Period.DAY, AT + DAY).room == 100
    end(tx, "1.1.1", "settled", 90)
    assert now(tx, Period.DAY, AT + DAY).room == 100
    assert now(tx, Period.DAY, AT).spent == 90


def test_a_limit_set_in_the_middle_of_a_day_counts_what_the_day_has_used(tx: sqlite3.Connection):
    call(tx, "1.1.1", 50, AT - 1)
    call(tx, "1.1.2", 20, AT + 1)
    call(tx, "1.1.3", 10, AT + 2)
    end(tx, "1.1.1", "settled", 50)
    end(tx, "1.1.2", "settled", 15)
    row = limit(tx, 100, Period.DAY, at=AT + HOUR)
    assert (row.spent, row.unknown, row.held) == (15, 0, 10)
    end(tx, "1.1.3", "settled", 4)
    assert now(tx, Period.DAY).spent == 19


def test_a_limit_taken_away_and_set_again_counts_the_calls_between(tx: sqlite3.Connection):
    limit(tx, 100, Period.DAY)
    limit(tx, None, Period.DAY)
    call(tx, "1.1.1", 60)
    end(tx, "1.1.1", "settled", 60)
    assert limit(tx, 100, Period.DAY).room == 40
    assert limit(tx, 100, Period.DAY).room == 40


def test_another_time_zone_counts_the_calls_of_its_own_day(tx: sqlite3.Connection):
    limit(tx, 100, Period.DAY)
    call(tx, "1.1.1", 60, AT - 10 * HOUR)
    end(tx, "1.1.1", "settled", 60)
    call(tx, "1.1.2", 5, AT + HOUR)
    # in Auckland the 22nd began at 11:00 UTC on the 21st
    row = limit(tx, 100, Period.DAY, zone="Pacific/Auckland", at=AT + HOUR)
    assert (row.bucket, row.spent, row.held) == ("2025-11-22", 60, 5)


def test_what_is_left_is_never_shown_as_more_than_it_is():
    from runner.values import NANO, format_left, format_usd

    assert format_left(299_991_900_000) == "$299.99"
    assert format_usd(299_991_900_000) == "$300.00"
    assert format_left(NANO + 1) == "$1.0000"
    assert format_left(-5) == "$0.0000"
    assert format_left(None) == "unlimited"


def test_slack_and_fees_are_held_on_top_and_taken_from_what_the_money_buys():
    wide = ledger.grant(
        [budget(1000)], input_price=1000, output_price=1000, input_bound=10, asked=100, least=10, slack=5, fees=300
    )
    assert wide == Granted(output=100, hold=10 + 100 + 5 + 300)
    narrow = ledger.grant(
        [budget(400)], input_price=1000, output_price=1000, input_bound=10, asked=100, least=10, slack=5, fees=300
    )
    assert narrow == Granted(output=85, hold=400)
    short = ledger.grant(
        [budget(324)], input_price=1000, output_price=1000, input_bound=10, asked=100, least=10, slack=5, fees=300
    )
    assert short == Short(budget="project:p", need=325, headroom=324, others=False)


def test_evidence_replaces_the_hold_of_an_unknown_call_once(tx: sqlite3.Connection):
    limit(tx, 1000)
    call(tx, "1.1.1", 600)
    end(tx, "1.1.1", "unknown")
    call(tx, "1.2.1", 300)
    end(tx, "1.2.1", "unknown")
    assert [(one.call, one.hold, one.model, one.at) for one in ledger.unknown(tx)] == [
        ("1.1.1", 600, "m", AT),
        ("1.2.1", 300, "m", AT),
    ]
    assert ledger.reconcile(tx, run="r", call="1.1.1", cost=40) == 600
    assert (now(tx, Period.TOTAL).spent, now(tx, Period.TOTAL).unknown) == (40, 300)
    assert ledger.reconcile(tx, run="r", call="1.1.1", cost=0) == 0
    assert (now(tx, Period.TOTAL).spent, now(tx, Period.TOTAL).unknown) == (40, 300)
    assert [one.call for one in ledger.unknown(tx)] == ["1.2.1"]


@pytest.mark.parametrize("state", ["settled", "released", None])
def test_what_is_not_unknown_is_not_reconciled(tx: sqlite3.Connection, state: str | None):
    call(tx, "1.1.1", 600)
    if state is not None:
        end(tx, "1.1.1", state, cost=5)
    before = now(tx, Period.TOTAL)
    assert ledger.reconcile(tx, run="r", call="1.1.1", cost=40) == 0
    assert now(tx, Period.TOTAL) == before


def test_evidence_above_the_hold_is_recorded_as_it_is_and_admits_no_further_call(tx: sqlite3.Connection):
    limit(tx, 1000)
    call(tx, "1.1.1", 600)
    end(tx, "1.1.1", "unknown")
    assert ledger.reconcile(tx, run="r", call="1.1.1", cost=700) == 600
    row = now(tx, Period.TOTAL)
    assert (row.spent, row.unknown, row.overrun, row.room) == (700, 0, 100, 0)


def test_calls_that_cost_nothing_or_nobody_meters_are_counted_beside_the_sums_of_their_bucket(tx: sqlite3.Connection):
    limit(tx, 1000, Period.DAY)
    for number, (billing, at) in enumerate((("local", AT), ("local", AT), ("unmetered", AT), ("local", AT + DAY))):
        rows = ledger.budgets(tx, [PROJECT], at)
        ledger.hold(tx, rows, run="r", call=f"1.{number}.1", model="m", prices="p", amount=0, at=at, billing=billing)
    call(tx, "1.9.1", 100)
    found = ledger.beside(tx.execute(ledger.BESIDE))
    assert found[now(tx, Period.TOTAL).id] == Beside(local=3, unmetered=1)
    assert found[now(tx, Period.DAY).id] == Beside(local=2, unmetered=1)
    assert found[now(tx, Period.DAY, AT + DAY).id] == Beside(local=1)
    assert now(tx, Period.TOTAL).held == 100
