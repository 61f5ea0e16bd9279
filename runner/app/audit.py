"""What an auditor asks for: who let what run, by which rule, on whose word; one flat record for each fact.

A record has the same fields whatever it is about; docs/reference/audit.md says what each is evidence for. Texts are
masked and cut; the journal has them whole, and `hash` names the event there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

import msgspec

from runner.errors import ConfigError, StateError
from runner.events.facts import (
    ApprovalDecided,
    ApprovalReminded,
    ApprovalRequested,
    ApprovalVoted,
    CallSettled,
    ChecksFinished,
    Event,
    PolicyPinned,
    ProtectedAccepted,
    RunCreated,
    RunResumed,
    RunStopped,
    StopAsked,
    ToolFinished,
    ToolRefused,
    ToolStarted,
)
from runner.policy import gates
from runner.store import halted, journal
from runner.store.database import Database
from runner.values import Decision, Ms

_LONGEST = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of an export; empty where a field does not apply. `at` is in UTC, `seq` counts a run's events."""

    at: str
    event: str
    run: str = ""
    seq: int = 0
    agent: str = ""
    owner: str = ""
    approver: str = ""
    identity: str = ""
    tool: str = ""
    call: str = ""
    arguments: str = ""
    effect: str = ""
    decision: str = ""
    rule: str = ""
    place: str = ""
    reason: str = ""
    others: str = ""
    policy: str = ""
    action: str = ""
    approval: str = ""
    sandbox: str = ""
    outcome: str = ""
    detail: str = ""
    cost_nano_usd: int = 0
    hash: str = ""


COLUMNS = tuple(one.name for one in fields(Record))


def moment(word: str, what: str) -> Ms:
    """A date, or a date and time, as milliseconds; without a zone it is UTC. Raises ConfigError."""
    try:
        at = datetime.fromisoformat(word)
    except ValueError:
        hint = f"{what} 2026-11-01   {what} 2026-11-01T09:30+01:00"
        raise ConfigError(f"{what} {word}: not a date, nor a date with a time", hint=hint) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def written(at: Ms) -> str:
    """A time as records have it."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def records(database: Database, since: Ms, until: Ms, mask: Callable[[str], str]) -> Iterator[Record]:
    """Everything from `since` to before `until`: the switch, then each run from the oldest, its events in order.

    A run that was cleaned away is one record: its events are gone, and a gap is not passed over.
    """
    yield from (one for at, one in _switched(database) if since <= at < until)
    for row in reversed(journal.runs(database, forgotten=True)):
        if row.summary.get("cleaned"):
            if since <= row.created_at < until:
                yield Record(
                    at=written(row.created_at),
                    event="run.forgotten",
                    run=row.id,
                    seq=row.head_seq,
                    hash=row.head_hash,
                    detail="begun then; its events were removed by `runner clean`",
                )
            continue
        yield from _of_run(database, row.id, since, until, mask)


def _switched(database: Database) -> Iterator[tuple[Ms, Record]]:
    for one in halted.history(database):
        yield one.at, Record(at=written(one.at), event="starts.blocked", approver=one.by, detail=one.why)
        if one.lifted:
            yield one.lifted, Record(at=written(one.lifted), event="starts.allowed", approver=one.lifted_by)


def _of_run(database: Database, run: str, since: Ms, until: Ms, mask: Callable[[str], str]) -> Iterator[Record]:
    agent = owner = ""
    for row in journal.rows(database, run):
        try:
            known = journal.known(run, row)
        except StateError as error:
            # `audit verify` says more; an export with a silent hole would say less than nothing
            if since <= row.at < until:
                yield Record(at=written(row.at), event="damaged", run=run, seq=row.seq, detail=error.message)
            continue
        event = None if known is None else known.event
        if isinstance(event, RunCreated):
            agent, owner = event.agent, event.owner
        if event is None or not since <= row.at < until or (found := _told(event)) is None:
            continue
        kind, said = found
        place: dict[str, object] = {"at": written(row.at), "run": run, "seq": row.seq, "hash": row.hash}
        told = {name: _cut(mask(text)) if isinstance(text, str) else text for name, text in said.items() if text}
        yield msgspec.convert({"event": kind, "agent": agent, "owner": owner, **told, **place}, Record)


def _cut(text: str) -> str:
    """Cut what was masked: half a secret would not be found."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


# fields of a record, and what they hold
_Said = dict[str, str | int]


def _told(event: Event) -> tuple[str, _Said] | None:
    """What a fact says, and what it is called; None for what concerns no auditor."""
    match event:
        case ToolStarted() | ToolRefused() | ToolFinished():
            return _tool(event)
        case ApprovalRequested() | ApprovalVoted() | ApprovalDecided() | ApprovalReminded():
            return _approval(event)
        case RunCreated():
            detail = (
                f"spec {event.spec_path} in {event.workspace}; policy of {', '.join(event.policy_layers) or 'none'}"
            )
            return "run.created", {"policy": event.policy, "detail": detail}
        case RunResumed():
            return "run.resumed", {"policy": event.policy, "detail": f"by process {event.pid}"}
        case PolicyPinned():
            return "policy.pinned", {
                "policy": event.policy,
                "sandbox": event.sandbox,
                "detail": ", ".join(event.layers),
            }
        case StopAsked():
            return "stop.asked", {"approver": event.by, "outcome": "now" if event.now else "after the step"}
        case RunStopped():
            return "run.stopped", {"outcome": str(event.kind), "rule": event.rule, "detail": event.detail}
        case ChecksFinished():
            score = "no checks" if event.score is None else f"score {event.score:g}"
            changed = f"; protected files changed: {', '.join(event.tampered)}" if event.tampered else ""
            return "checks.finished", {"sandbox": event.sandbox, "outcome": f"{score}{changed}"}
        case ProtectedAccepted():
            return "protected.accepted", {"detail": event.path, "action": event.digest}
        case CallSettled():
            return "call.settled", {"call": str(event.call), "cost_nano_usd": event.cost}
        case _:
            return None


def _tool(event: ToolStarted | ToolRefused | ToolFinished) -> tuple[str, _Said]:
    if isinstance(event, ToolFinished):
        outcome = "interrupted" if event.interrupted else "ok" if event.ok else "failed"
        return "tool.finished", {"call": event.call_id, "tool": event.name, "outcome": outcome}
    call = event.call
    said = {"call": call.id, "tool": call.name, "arguments": call.arguments, **_decided(event.decision)}
    if isinstance(event, ToolRefused):
        return "tool.refused", {**said, "detail": event.reason, "outcome": "repeat" if event.repeat else ""}
    more: _Said = {"effect": event.effect, "approval": event.approval, "sandbox": event.sandbox}
    return "tool.started", {**said, **more}


def _decided(decision: Decision | None) -> _Said:
    if decision is None:
        return {}
    others = "; ".join(f"{one.ruling} by {one.rule} ({one.place}, {one.mode})" for one in decision.others)
    return {
        "decision": decision.ruling,
        "rule": decision.rule,
        "place": decision.place,
        "reason": decision.reason,
        "others": others,
        "policy": decision.policy,
        "action": decision.action,
        "agent": decision.agent,
        "owner": decision.owner,
        "approver": decision.approver,
    }


def _approval(event: ApprovalRequested | ApprovalVoted | ApprovalDecided | ApprovalReminded) -> tuple[str, _Said]:
    said: _Said = {"approval": event.approval}
    match event:
        case ApprovalRequested():
            call = event.call
            asked: _Said = {"call": call.id, "tool": call.name, "arguments": event.shown}
            until = f"{gates.waits_for(event.gates)} until {written(event.expires_at)}"
            return "approval.requested", {**_decided(event.decision), **said, **asked, "detail": until}
        case ApprovalVoted():
            vote = event.vote
            identity = f"{vote.identity}, self" if vote.own else vote.identity
            outcome = "amend" if event.arguments else "approve" if vote.approve else "deny"
            word: _Said = {"approver": vote.by, "identity": identity, "outcome": outcome, "detail": vote.note}
            return "approval.voted", {**said, **word}
        case ApprovalDecided():
            how: _Said = {"outcome": event.outcome, "detail": event.why, "approver": event.approver}
            return "approval.decided", {**said, **how}
        case ApprovalReminded():
            return "approval.reminded", said


# ---- as text -------------------------------------------------------------------------------------------------

# what a spreadsheet would take for a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_jsonl(found: Iterable[Record]) -> Iterator[str]:
    """Each record as one line of JSON."""
    for one in found:
        yield json.dumps(asdict(one), ensure_ascii=False) + "\n"


def as_csv(found: Iterable[Record]) -> Iterator[str]:
    """A header, then each record; a text that a spreadsheet would run begins with an apostrophe."""
    yield _row(COLUMNS)
    for one in found:
        yield _row(_cell(value) for value in asdict(one).values())


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
