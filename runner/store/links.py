"""Votes from outside and the one-time links they come by: a link is spent by the transaction that leaves its vote."""

from __future__ import annotations

from runner.events.facts import ApprovalVoted
from runner.store import journal
from runner.store.database import Database
from runner.values import Ms


def leave_vote(database: Database, run: str, voted: ApprovalVoted, at: Ms) -> bool:
    """Leave a vote for a run's driver, durably; False, and nothing is left, where its link was used before."""
    with database.transaction(durable=True) as tx:
        if voted.link:
            spent = tx.execute(
                "INSERT OR IGNORE INTO link (token, approval, run, person, used) VALUES (?, ?, ?, ?, ?)",
                (voted.link, voted.approval, run, voted.vote.by, at),
            ).rowcount
            if spent != 1:
                return False
        journal.leave(tx, run, at, voted)
    return True


def is_spent(database: Database, token: str) -> bool:
    """Whether a link was used."""
    return bool(database.query("SELECT 1 FROM link WHERE token = ?", (token,)))


def told(database: Database, run: str, approval: str) -> set[str]:
    """What was told of an approval so far."""
    sql = "SELECT what FROM told WHERE run = ? AND approval = ?"
    return {str(row["what"]) for row in database.query(sql, (run, approval))}


def tell(database: Database, run: str, approval: str, what: str, at: Ms) -> None:
    """Write down that this was told, so that it is not told again."""
    with database.transaction(durable=False) as tx:
        tx.execute(
            "INSERT OR IGNORE INTO told (run, approval, what, at) VALUES (?, ?, ?, ?)", (run, approval, what, at)
        )
