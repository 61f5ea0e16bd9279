"""The approvals that wait for people, over all runs of a state directory, read without touching a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from runner.errors import NotFoundError
from runner.events.facts import ApprovalRequested, ApprovalVoted
from runner.policy import gates
from runner.state import Asked, State
from runner.store import journal
from runner.store.database import Database
from runner.store.summary import status
from runner.values import Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An approval of a run, with the votes that its driver has not taken yet.

    `status` is the run's: running, open (goes on with the next loop) or ended.
    """

    run: str
    spec: str
    workspace: str
    asked: Asked
    status: str = "open"

    @property
    def request(self) -> ApprovalRequested:
        return self.asked.request

    def tally(self, now: Ms, more: ApprovalVoted | None = None) -> gates.Tally:
        """How it stands, or would stand with one vote more."""
        return gates.tally(self.request, (*self.asked.votes, *((more,) if more else ())), now)

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody whose yes could count, by name."""
        names = (name for gate in self.request.gates for members in gate.groups.values() for name in members)
        return tuple(dict.fromkeys(names))


class Questions:
    """Reads journals from where it left off: asking again costs only what is new."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._states: dict[str, State] = {}

    def open(self) -> list[Question]:
        """Every question nobody has closed, the oldest first. An ended run asks nothing any more."""
        return self._questions(self._open_runs(), lambda asked: not asked.outcome)

    def every(self) -> list[Question]:
        """Also those that are closed and those of ended runs, the oldest first."""
        asking = journal.asking(self._database)
        rows = [row for row in journal.runs(self._database) if row.id in asking]
        folded = ((row.id, journal.fold(row.id, journal.rows(self._database, row.id))) for row in rows)
        return self._questions(folded, lambda _: True)

    def _questions(self, states: Iterable[tuple[str, State]], wanted: Callable[[Asked], bool]) -> list[Question]:
        found = [
            Question(
                run=run,
                spec=state.created.spec_path,
                workspace=state.created.workspace,
                asked=asked,
                status=status(state),
            )
            for run, state in states
            if state.created is not None
            for asked in self._with_votes(run, state)
            if wanted(asked)
        ]
        return sorted(found, key=lambda one: (one.asked.at, one.request.approval))

    def find(self, approval: str) -> Question:
        """The open question with this id, the only one whose id begins so, or the `last`. Raises NotFoundError."""
        every = self.open()
        if approval == "last" and every:
            return every[-1]
        exact = [one for one in every if one.request.approval == approval]
        near = exact or [one for one in every if approval and one.request.approval.startswith(approval)]
        if len(near) == 1:
            return near[0]
        if near:
            msg = f"{approval!r} means {len(near)} approvals"
            raise NotFoundError(msg, hint="write more of the id: runner approvals list")
        msg = f"no open approval {approval!r}: it was answered, its time is over, or it never was"
        raise NotFoundError(msg, hint="runner approvals list")

    def _open_runs(self) -> Iterator[tuple[str, State]]:
        rows = [row for row in journal.runs(self._database) if row.summary.get("status") != "ended"]
        # what ended is not looked at again
        self._states = {row.id: self._states[row.id] for row in rows if row.id in self._states}
        for row in rows:
            state = self._states.get(row.id, State())
            if state.seq != row.head_seq:
                state = journal.fold(row.id, journal.rows(self._database, row.id, after=state.seq), state)
                self._states[row.id] = state
            yield row.id, state

    def _with_votes(self, run: str, state: State) -> list[Asked]:
        if not state.approvals:
            return []
        waiting = journal.votes(self._database, run)
        return [
            replace(one, votes=(*one.votes, *(vote for vote in waiting if vote.approval == name)))
            for name, one in state.approvals.items()
        ]
