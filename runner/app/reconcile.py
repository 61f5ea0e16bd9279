"""Calls whose outcome nobody knows, and what a provider's report says they cost.

Their full holds count until evidence lowers them. Two kinds of it: a request's own cost, exactly, where only one call
ever had that id; and what a model cost in a span of time, which none of its calls can have cost more than. What other
calls took of that bill is not subtracted: nobody knows here which of them are on it, and a project that counts one of
two lost calls must not count less than was billed for it. Nothing is lowered by less than such a row, and each lowering
is an event of its run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from runner.app.clock import SystemClock
from runner.app.drive import Access, standing
from runner.app.evidence import Evidence, Request, Window
from runner.errors import BusyError, NotFoundError, StateError
from runner.events.facts import CallReconciled, CallUnknown
from runner.store import journal, ledger
from runner.store.database import Database
from runner.values import CallId, Ms, NanoUsd, format_usd

SETTLED_AFTER: Ms = 24 * 3_600_000
"""How long after its end a span of time is taken to be whole: providers report late."""

LONGEST_CALL: Ms = 3_600_000
"""How far from the end of a span of time a call must have been held to be billed within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A call that counts with its whole hold. `request_id` is "" where no answer ever began."""

    run: str
    call: str
    model: str
    hold: NanoUsd
    at: Ms
    request_id: str
    reason: str

    def document(self) -> Mapping[str, object]:
        """The call in documented fields."""
        return {
            "run": self.run,
            "call": self.call,
            "model": self.model,
            "at_ms": self.at,
            "unknown_nano_usd": self.hold,
            "request_id": self.request_id or None,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """What became of a call for which there is evidence; `why` is "" when it was written down, else why it was not.

    `busy`: because somebody drives its run.
    """

    pending: Pending
    cost: NanoUsd
    evidence: str
    why: str = ""
    busy: bool = False

    def document(self) -> Mapping[str, object]:
        """The same in documented fields."""
        one = self.pending
        return {
            "run": one.run,
            "call": one.call,
            "held_nano_usd": one.hold,
            "cost_nano_usd": self.cost,
            "evidence": self.evidence,
            "refused": self.why or None,
        }


def pending(access: Access) -> list[Pending]:
    """Every call whose outcome is unknown, the oldest first."""
    with access.database.transaction(durable=False) as tx:
        rows = ledger.unknown(tx)
    said = {run: dict(_unknowns(access.database, run)) for run in {one.run for one in rows}}
    return [
        Pending(
            run=one.run,
            call=one.call,
            model=one.model,
            hold=one.hold,
            at=one.at,
            request_id=found.request_id if (found := said[one.run].get(one.call)) else "",
            reason=found.reason if found else "",
        )
        for one in rows
    ]


def apply(access: Access, rows: Sequence[Evidence], *, source: str) -> list[Lowered]:
    """Write down what the evidence says of unknown calls, each as an event of its run, and tell of each.

    Nothing is lowered twice by the same evidence. Calls of a run that somebody drives, or whose record was removed,
    keep their holds.
    """
    waiting = pending(access)
    found = [*_by_request(access, waiting, rows)]
    named = [one.pending for one in found]
    rest = [one for one in waiting if one not in named]
    for row in rows:
        if isinstance(row, Window):
            found += _by_window(rest, row)
    return [one if one.why else _written(access, one, source) for one in found]


def _by_request(access: Access, waiting: Sequence[Pending], rows: Sequence[Evidence]) -> Iterator[Lowered]:
    """What single requests cost, each for the one call that ever had its id, whatever became of that call.

    A row that may be about another call as well is none about this one: some gateways give an id more than once.
    """
    wanted = {one.request_id for one in waiting if one.request_id}
    asked = [row for row in rows if isinstance(row, Request) and row.request_id in wanted]
    had = _named(access, {row.request_id for row in asked}) if asked else {}
    for row in asked:
        calls = {where for where, model in had[row.request_id].items() if row.model in {"", model}}
        for one in waiting:
            if one.request_id == row.request_id and (one.run, one.call) in calls:
                others = sorted(calls - {(one.run, one.call)})
                told = ", ".join(f"call {call} of run {run}" for run, call in others)
                why = f"{told} had the id {row.request_id}, too: nobody knows whose cost this is" if told else ""
                yield Lowered(pending=one, cost=row.cost, evidence=f"request {row.request_id}", why=why)


def _named(access: Access, ids: Collection[str]) -> dict[str, dict[tuple[str, str], str]]:
    """Every call that ever had one of these ids, as run and call, with its model."""
    found: dict[str, dict[tuple[str, str], str]] = {name: {} for name in ids}
    calls = [one for one in journal.requests(access.database) if one[2] in found]
    with access.database.transaction(durable=False) as tx:
        for run, call, name in calls:
            found[name][run, call] = ledger.model_of(tx, run=run, call=call)
    return found


def _by_window(waiting: Sequence[Pending], window: Window) -> Iterator[Lowered]:
    """Lower each call of a span to its whole bill at most; none that keeps its hold is named."""
    if window.end + SETTLED_AFTER > SystemClock().now():
        return
    last = window.end - LONGEST_CALL
    evidence = f"{window.model} was billed {format_usd(window.cost)} in that time"
    for one in waiting:
        if one.model == window.model and window.start <= one.at <= last and window.cost < one.hold:
            yield Lowered(pending=one, cost=window.cost, evidence=evidence)


def _written(access: Access, one: Lowered, source: str) -> Lowered:
    call = one.pending
    event = CallReconciled(
        call=CallId(*map(int, call.call.split("."))),
        held=call.hold,
        cost=one.cost,
        evidence=one.evidence,
        source=source,
    )
    try:
        with standing(call.run, access) as recorder:
            recorder.record(event)
    except BusyError:
        return replace(one, why="its run is being driven; again when it stands still", busy=True)
    except (NotFoundError, StateError) as error:
        return replace(one, why=f"its run's record cannot be written: {error.message}")
    return one


def _unknowns(database: Database, run: str) -> Iterator[tuple[str, CallUnknown]]:
    for row in journal.rows(database, run):
        if row.kind == CallUnknown.__name__ and (stamped := journal.known(run, row)) is not None:
            event = stamped.event
            if isinstance(event, CallUnknown):
                yield str(event.call), event
