"""The journal: runs, their events in order, and the inbox other processes write to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from runner.errors import LeaseLostError, NotFoundError, StateError
from runner.events.codec import GENESIS, chain, decode, encode
from runner.events.facts import ApprovalVoted, Event, ProtectedAccepted, RunCreated, Stamped, StopAsked
from runner.state import State, evolve, pass_over
from runner.store.database import Database
from runner.values import Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stored event exactly as written; `body` is canonical JSON."""

    seq: int
    at: Ms
    kind: str
    body: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as listings show it; `summary` is what its driver last wrote about it."""

    id: str
    spec_key: str
    workspace: str
    created_at: Ms
    epoch: int
    head_seq: int
    head_hash: str
    summary: dict[str, object]


_RUN = "SELECT id, spec_key, workspace, created_at, epoch, head_seq, head_hash, summary FROM run"


def runs(database: Database, *, forgotten: bool = False) -> list[RunRow]:
    """Every run, newest first; one that was cleaned away only where `forgotten` ones are wanted too."""
    every = (_run_row(row) for row in database.query(f"{_RUN} ORDER BY created_at DESC, id DESC"))
    return [row for row in every if forgotten or not row.summary.get("cleaned")]


def find_run(database: Database, name: str) -> RunRow:
    """The run with this id, or the only one whose id starts or ends with `name`; `last` is the newest.

    Raises NotFoundError naming the candidates.
    """
    every = runs(database)
    if name == "last" and every:
        return every[0]
    exact = [one for one in every if one.id == name]
    near = exact or [one for one in every if one.id.startswith(name) or one.id.endswith(name)]
    if len(near) == 1:
        return near[0]
    if near:
        msg = f"{name!r} means {len(near)} runs: {', '.join(one.id for one in near[:5])}"
        raise NotFoundError(msg, hint="write more of the id")
    msg = f"there is no run {name!r}"
    raise NotFoundError(msg, hint="see `runner runs`; `last` is the newest")


def _run_row(row: sqlite3.Row) -> RunRow:
    summary = msgspec.json.decode(str(row["summary"]), type=dict[str, object])
    return RunRow(
        id=row["id"],
        spec_key=row["spec_key"],
        workspace=row["workspace"],
        created_at=row["created_at"],
        epoch=row["epoch"],
        head_seq=row["head_seq"],
        head_hash=row["head_hash"],
        summary=summary,
    )


def rows(database: Database, run: str, *, after: int = 0) -> Iterator[Row]:
    """The stored events of a run in order, those above `after`."""
    sql = "SELECT seq, at, kind, body, prev, hash FROM event WHERE run = ? AND seq > ? ORDER BY seq"
    for row in database.query(sql, (run, after)):
        yield Row(**dict(row))


def known(run: str, row: Row) -> Stamped | None:
    """A stored event as a fact; None for a kind this version does not know. Raises StateError if it is damaged."""
    try:
        event = decode(row.kind, row.body)
    except msgspec.ValidationError as error:
        raise _damaged(run, row, error) from error
    if event is None:
        return None
    return Stamped(run=run, seq=row.seq, at=row.at, event=event, body=row.body, prev=row.prev, hash=row.hash)


def _damaged(run: str, row: Row, error: Exception) -> StateError:
    return StateError(f"event {row.seq} of run {run} is damaged: {error}", hint=f"runner log verify {run}")


def fold(run: str, stored: Iterator[Row], state: State | None = None) -> State:
    """The state after these events, from the beginning or from `state` on; unknown kinds move only the head."""
    state = state or State()
    for row in stored:
        try:
            event = decode(row.kind, row.body)
        except msgspec.ValidationError as error:
            raise _damaged(run, row, error) from error
        state = pass_over(state, row.seq) if event is None else evolve(state, event, row.at, row.seq)
    return state


def insert_run(tx: sqlite3.Connection, created: RunCreated, at: Ms) -> None:
    """Make the row of a new run, with its scopes, before its first event."""
    tx.execute(
        "INSERT INTO run (id, spec_key, workspace, created_at, head_hash) VALUES (?, ?, ?, ?, ?)",
        (created.run, created.spec_key, created.origin, at, GENESIS),
    )
    for scope in created.scopes:
        tx.execute("INSERT INTO run_scope (run, kind, name) VALUES (?, ?, ?)", (created.run, scope.kind, scope.name))


def append(
    tx: sqlite3.Connection, *, run: str, epoch: int, seq: int, at: Ms, event: Event, prev: str, summary: str
) -> Stamped:
    """Append one event as the holder of `epoch`. Raises LeaseLostError when another process took the run over."""
    kind, body = type(event).__name__, encode(event)
    digest = chain(run=run, seq=seq, at=at, kind=kind, body=body, prev=prev)
    moved = tx.execute(
        "UPDATE run SET head_seq = ?, head_hash = ?, summary = ? WHERE id = ? AND epoch = ? AND head_seq = ?",
        (seq, digest, summary, run, epoch, seq - 1),
    ).rowcount
    if moved != 1:
        msg = f"another process took over run {run}"
        raise LeaseLostError(msg, hint="this one has stopped writing; see `runner runs`")
    tx.execute(
        "INSERT INTO event (run, seq, at, kind, body, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (run, seq, at, kind, body, prev, digest),
    )
    return Stamped(run=run, seq=seq, at=at, event=event, body=body, prev=prev, hash=digest)


def leave(tx: sqlite3.Connection, run: str, at: Ms, event: Event) -> None:
    """Leave a fact in a run's inbox, for its writer to append first."""
    tx.execute(
        "INSERT INTO inbox (run, at, kind, body) VALUES (?, ?, ?, ?)", (run, at, type(event).__name__, encode(event))
    )


_LEFT = (StopAsked, ProtectedAccepted, ApprovalVoted)
"""What other processes may say: a stop, an acceptance, a vote. What a run did is its driver's word alone."""


def take(tx: sqlite3.Connection, run: str, seq: int) -> list[Event]:
    """Take everything out of a run's inbox; `seq` is where it is appended. What nobody may leave there is dropped."""
    waiting = tx.execute(
        "SELECT id, kind, body FROM inbox WHERE run = ? AND taken IS NULL ORDER BY id", (run,)
    ).fetchall()
    if not waiting:
        return []
    tx.execute("UPDATE inbox SET taken = ? WHERE run = ? AND taken IS NULL", (seq, run))
    found = (decode(kind, body) for _, kind, body in waiting)
    return [event for event in found if isinstance(event, _LEFT)]


def votes(database: Database, run: str) -> list[ApprovalVoted]:
    """Votes that wait in a run's inbox, in order."""
    sql = "SELECT kind, body FROM inbox WHERE run = ? AND taken IS NULL AND kind = 'ApprovalVoted' ORDER BY id"
    found = (decode(str(row["kind"]), str(row["body"])) for row in database.query(sql, (run,)))
    return [event for event in found if isinstance(event, ApprovalVoted)]


def asking(database: Database) -> set[str]:
    """The runs that ever asked people about a call."""
    found = database.query("SELECT DISTINCT run FROM event WHERE kind = 'ApprovalRequested'")
    return {str(row["run"]) for row in found}


def has_mail(database: Database, run: str) -> bool:
    """Whether something waits in a run's inbox."""
    return bool(database.query("SELECT 1 FROM inbox WHERE run = ? AND taken IS NULL LIMIT 1", (run,)))


# by whatever way a call ended; JSON is taken apart here because a settled call's body holds its whole reply
_REQUESTS = """
SELECT run, printf('%d.%d.%d', json_extract(body, '$.call.iteration'), json_extract(body, '$.call.step'),
  json_extract(body, '$.call.attempt')), json_extract(body, '$.request_id')
FROM event WHERE kind IN ('CallSettled', 'CallUnknown', 'CallReleased') AND json_extract(body, '$.request_id') <> ''
"""


def requests(database: Database) -> Iterator[tuple[str, str, str]]:
    """Run, call and the provider's name for it, of every call that ever got one, those of forgotten runs as well."""
    for run, call, name in database.query(_REQUESTS):
        yield str(run), str(call), str(name)
    for row in map(_run_row, database.query(_RUN)):
        for call, name in msgspec.convert(row.summary.get("requests", {}), dict[str, str]).items():
            yield row.id, call, name


def stop_waits(database: Database, run: str) -> bool:
    """Whether a stop waits in a run's inbox."""
    sql = "SELECT 1 FROM inbox WHERE run = ? AND taken IS NULL AND kind = 'StopAsked' LIMIT 1"
    return bool(database.query(sql, (run,)))


def forget(tx: sqlite3.Connection, run: str) -> None:
    """Forget what a run did. What it spent stays in the ledger, and its row with it: no cap ever starts anew.

    So do the providers' names of its requests: what one of them was billed is evidence for no other call.
    """
    (text,) = tx.execute("SELECT summary FROM run WHERE id = ?", (run,)).fetchone()
    named = {str(call): str(name) for _, call, name in tx.execute(f"{_REQUESTS} AND run = ?", (run,))}
    summary = {**msgspec.json.decode(str(text), type=dict[str, object]), "cleaned": True, "requests": named}
    tx.execute("DELETE FROM event WHERE run = ?", (run,))
    tx.execute("DELETE FROM inbox WHERE run = ?", (run,))
    tx.execute("UPDATE run SET summary = ? WHERE id = ?", (msgspec.json.encode(summary).decode(), run))
