"""Whether the record is whole, and whether everything that ran was let run: decisions, approvals, the switch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runner.app.look import Look
from runner.app.record import checked
from runner.errors import ConfigError, StateError
from runner.events.facts import ApprovalDecided, CallDispatched, ToolStarted
from runner.policy import gates
from runner.state import State, evolve, pass_over
from runner.store import halted, journal
from runner.values import Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that ought not to be: `what` in a sentence, in which run and at which event, where there is one."""

    what: str
    run: str = ""
    seq: int = 0

    def __str__(self) -> str:
        place = f"run {self.run}: " if self.run else ""
        return f"{place}{f'event {self.seq}: ' if self.seq else ''}{self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a run's chain: kept elsewhere, it proves later that nothing up to it was rewritten."""

    run: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found. `unanchored` counts the events since the heads it was held against; None: against none."""

    runs: int
    events: int
    faults: tuple[Fault, ...]
    heads: tuple[Head, ...]
    unanchored: int | None = None

    @property
    def ok(self) -> bool:
        return not self.faults


def audit(found: Look, against: Mapping[str, Head] | None = None) -> Audit:
    """Look at every run: its chain and log, that every tool was decided, that every approval was had and used once."""
    faults: list[Fault] = []
    heads: list[Head] = []
    events = behind = 0
    for listed in reversed(journal.runs(found.database)):
        row, report = checked(found, listed.id)
        events += report.events
        faults += [Fault(what=str(one), run=row.id) for one in (report.journal, report.log) if not one.ok]
        if report.journal.ok:
            faults += _of_run(found, row.id)
        heads.append(Head(run=row.id, seq=row.head_seq, hash=row.head_hash))
        behind += row.head_seq - (against[row.id].seq if against and row.id in against else 0)
    if against is not None:
        faults += _held_against(found, against)
    return Audit(
        runs=len(heads),
        events=events,
        faults=tuple(faults),
        heads=tuple(heads),
        unanchored=None if against is None else behind,
    )


def heads_in(file: Path) -> dict[str, Head]:
    """The heads that an earlier `runner audit verify --json` gave. Raises ConfigError."""
    try:
        loaded: object = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            "cannot be read as an earlier result", path=file, hint="runner audit verify --json"
        ) from error
    # narrowed one by one below
    listed = cast("dict[str, object]", loaded).get("heads") if isinstance(loaded, dict) else None
    found: dict[str, Head] = {}
    for one in cast("list[object]", listed) if isinstance(listed, list) else []:
        match one:
            case {"run": str(run), "seq": int(seq), "hash": str(digest)}:
                found[run] = Head(run=run, seq=seq, hash=digest)
            case _:
                raise ConfigError("has a head that is none", path=file, hint="runner audit verify --json")
    if not isinstance(listed, list):
        raise ConfigError("has no heads", path=file, hint="runner audit verify --json")
    return found


def _held_against(found: Look, heads: Mapping[str, Head]) -> Iterator[Fault]:
    kept = {row.id: row for row in journal.runs(found.database, forgotten=True)}
    for head in heads.values():
        row = kept.get(head.run)
        if row is None:
            yield Fault(what="it was here once, and is not any more", run=head.run)
        elif row.summary.get("cleaned"):
            continue  # `runner clean` keeps the row, and an export says so
        elif not any(one.hash == head.hash for one in journal.rows(found.database, head.run, after=head.seq - 1)):
            yield Fault(what="it is not what it was when this head was taken", run=head.run, seq=head.seq)


def _of_run(found: Look, run: str) -> Iterator[Fault]:
    """Everything that ran in a run, held against what was decided."""
    state = State()
    stops = halted.history(found.database)
    for row in journal.rows(found.database, run):
        try:
            known = journal.known(run, row)
        except StateError as error:
            yield Fault(what=error.message, run=run, seq=row.seq)
            return
        if known is None:
            state = pass_over(state, row.seq)
            continue
        event = known.event
        wrong = ""
        if isinstance(event, ToolStarted):
            wrong = _undecided(event, state, row.at)
        elif isinstance(event, ApprovalDecided):
            wrong = _unfounded(event, state, row.at)
        if wrong:
            yield Fault(what=wrong, run=run, seq=row.seq)
        if isinstance(event, ToolStarted | CallDispatched) and _is_blocked(row.at, stops):
            yield Fault(what="it began while everything was stopped", run=run, seq=row.seq)
        state = evolve(state, event, row.at, row.seq)


def _undecided(started: ToolStarted, state: State, at: Ms) -> str:
    """Why a tool ought not to have started; "" where all is well. Runs from before there were policies have none."""
    name, decision = started.call.name, started.decision
    if decision is None:
        return f"{name} started and nobody decided it" if state.policy else ""
    if decision.policy and state.policy and decision.policy != state.policy:
        return f"{name} was decided under another policy than the run goes by"
    if not decision.owner or not decision.agent:
        return f"{name} was decided without saying for whom, and who acts"
    refused = gates.refusal(state, started, at)
    return f"{name} started, though {refused}" if refused else ""


def _unfounded(decided: ApprovalDecided, state: State, at: Ms) -> str:
    """Why an approval ought not to have been given; "" where its votes give it."""
    asked = state.approvals.get(decided.approval)
    if decided.outcome != "approved":
        return ""
    if asked is None:
        return f"{decided.approval} was approved and never asked for"
    links = [one.link for one in asked.votes if one.link]
    if len(links) != len(set(links)):
        return f"{decided.approval}: a link was used twice"
    told = gates.tally(asked.request, asked.votes, at)
    if told.outcome != "approved":
        return f"{decided.approval} was approved, but its votes do not say so ({told.missing or told.why})"
    return ""


def _is_blocked(at: Ms, stops: list[halted.Halt]) -> bool:
    return any(one.at < at and (not one.lifted or at < one.lifted) for one in stops)
