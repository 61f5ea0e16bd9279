"""A recorded run's calls decided once more, under another policy: what would have been stopped. Nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runner.app.judge import decided
from runner.events.facts import IterationStarted, ToolRefused, ToolStarted
from runner.policy.book import Rulebook
from runner.policy.facts import Surroundings
from runner.store import journal
from runner.store.database import Database
from runner.values import Decision, Ms, Ruling, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One call as it went then, and as it would be decided now. `then` None = nobody judged it then."""

    seq: int
    at: Ms
    iteration: int
    call: ToolCall
    ran: bool
    then: Decision | None
    now: Decision

    @property
    def stopped(self) -> bool:
        """Whether it ran then and would not without more now."""
        return self.ran and self.now.ruling is not Ruling.ALLOW

    @property
    def loosened(self) -> bool:
        """Whether it was refused by a policy then and would run now."""
        return self.then is not None and self.then.ruling is not Ruling.ALLOW and self.now.ruling is Ruling.ALLOW

    def document(self) -> dict[str, object]:
        """It as JSON."""
        return {
            "seq": self.seq,
            "iteration": self.iteration,
            "tool": self.call.name,
            "arguments": self.call.arguments,
            "ran": self.ran,
            "then": None if self.then is None else {"decision": self.then.ruling.value, "rule": self.then.rule},
            "decision": self.now.ruling.value,
            "rule": self.now.rule,
            "place": self.now.place,
            "reason": self.now.reason,
            "stopped": self.stopped,
        }


def replay(database: Database, run: str, rulebook: Rulebook, around: Surroundings) -> Iterator[Replayed]:
    """Decide every tool call of a run again, in order."""
    iteration = 0
    for row in journal.rows(database, run):
        stamped = journal.known(run, row)
        event = None if stamped is None else stamped.event
        if isinstance(event, IterationStarted):
            iteration = event.iteration
        elif isinstance(event, ToolStarted | ToolRefused):
            yield Replayed(
                seq=row.seq,
                at=row.at,
                iteration=iteration,
                call=event.call,
                ran=isinstance(event, ToolStarted),
                then=event.decision,
                now=decided(rulebook, event.call, around)[0],
            )
