"""A recorded run's calls decided once more, under another policy: what would have been stopped. Nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.app.judge import decided
from runner.events.facts import IterationStarted, ToolRefused, ToolStarted
from runner.policy.book import Rulebook
from runner.store import journal
from runner.store.database import Database
from runner.tools.surroundings import WorkspaceSurroundings
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


def replay(
    database: Database, run: str, rulebook: Rulebook, root: Path, environ: Mapping[str, str]
) -> Iterator[Replayed]:
    """Decide every tool call of a run that worked in `root` again, in order, sandboxed as it was then."""
    around = {kind: WorkspaceSurroundings(root, environ, sandboxed=kind) for kind in (False, True)}
    iteration, sandboxed = 0, rulebook.sandbox.accept_unsandboxed
    for row in journal.rows(database, run):
        stamped = journal.known(run, row)
        event = None if stamped is None else stamped.event
        if isinstance(event, IterationStarted):
            iteration = event.iteration
        elif isinstance(event, ToolStarted | ToolRefused):
            if isinstance(event, ToolStarted) and event.sandbox:
                sandboxed = event.sandbox != "none" or rulebook.sandbox.accept_unsandboxed
            yield Replayed(
                seq=row.seq,
                at=row.at,
                iteration=iteration,
                call=event.call,
                ran=isinstance(event, ToolStarted),
                then=event.decision,
                now=decided(rulebook, event.call, around[sandboxed])[0],
            )
