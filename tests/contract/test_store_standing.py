"""How budgets stand, read without a word written, is how the ledger would have it at the next call."""

from dataclasses import replace

from runner.store import ledger
from runner.store.database import Database
from runner.store.standing import of, standing
from runner.values import Period, Scope, ScopeKind
from tests.contract.store_parts import AT, PROJECT, begin, database

__all__ = ["database"]

DAY = 86_400_000
USER = Scope(ScopeKind.USER, "u")


def spend(database: Database, call: str, *, cost: int | None, at: int) -> None:
    """A call of the run held at 100 on everything, then settled (None: it is still open)."""
    with database.transaction(durable=False) as tx:
        rows = ledger.budgets(tx, [PROJECT], at)
        ledger.hold(tx, rows, run="r1", call=call, model="m", prices="d", amount=100, at=at)
        if cost is not None:
            ledger.close(tx, run="r1", call=call, state="settled", cost=cost)


def as_the_ledger_has_it(database: Database, at: int) -> list[ledger.Budget]:
    """The limited rows, made where they are not there yet."""
    with database.transaction(durable=False) as tx:
        return [row for row in ledger.budgets(tx, [PROJECT], at) if row.limit is not None]


def test_standing_is_what_the_ledger_says_in_every_bucket(database: Database) -> None:
    begin(database)
    with database.transaction(durable=True) as tx:
        for period in (Period.TOTAL, Period.DAY, Period.MONTH):
            ledger.set_limit(tx, PROJECT, period, 1000, zone="Europe/Berlin" if period is Period.DAY else "UTC", at=AT)
    spend(database, "1.1.1", cost=40, at=AT)
    spend(database, "1.2.1", cost=None, at=AT)
    for at in (AT, AT + DAY, AT + 40 * DAY):
        looked = {str(one.budget): replace(one.budget, id=0) for one in standing(database, at)}
        assert len(looked) == 3
        # a second look after the ledger has made the rows of this bucket
        ledgers = {str(row): replace(row, id=0) for row in as_the_ledger_has_it(database, at)}
        assert looked == ledgers == {str(one.budget): replace(one.budget, id=0) for one in standing(database, at)}


def test_looking_makes_no_row(database: Database) -> None:
    begin(database)
    with database.transaction(durable=True) as tx:
        ledger.set_limit(tx, PROJECT, Period.DAY, 1000, zone="UTC", at=AT)
    before = len(database.query("SELECT id FROM budget"))
    assert [one.budget.room for one in standing(database, AT + 3 * DAY)] == [1000]
    assert len(database.query("SELECT id FROM budget")) == before


def test_those_of_other_scopes_are_left_out_and_the_tightest_comes_first(database: Database) -> None:
    with database.transaction(durable=True) as tx:
        for scope, limit in ((PROJECT, 500), (USER, 50), (Scope(ScopeKind.PROJECT, "other"), 1)):
            ledger.set_limit(tx, scope, Period.TOTAL, limit, zone="UTC", at=AT)
    assert [str(one.budget.scope) for one in of(standing(database, AT), [PROJECT, USER])] == ["user:u", "project:p"]
