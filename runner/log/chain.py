"""Compare a run's log with its journal, and the journal with itself. Nothing is repaired here.

The journal is a hash chain whose head is kept beside it; the log is its projection. What is found has a name:
intact, broken at n (changed, missing, reordered), tail cut, unanchored tail. A chain shows a change by somebody who
could not rewrite all of it; whoever may rewrite journal, head and log together leaves no trace in them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runner.errors import StateError
from runner.events.codec import GENESIS, chain
from runner.log.line import VERSION, VERSIONS, Place, Row, read, render

INTACT = "intact"
BROKEN = "broken"
TAIL_CUT = "tail cut"
UNANCHORED = "unanchored tail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found in `where` (`journal` or `log`).

    `result` is `intact`, `broken`, `tail cut` or `unanchored tail`; `how` says of a broken one `changed`, `missing` or
    `reordered`. `seq` is the event's number, `line` the log's line (1-based), None where it has none.
    """

    where: str
    result: str
    how: str = ""
    seq: int | None = None
    line: int | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.result == INTACT

    def __str__(self) -> str:
        result = f"broken at {self.seq} ({self.how})" if self.result == BROKEN else self.result
        if self.result in {TAIL_CUT, UNANCHORED} and self.seq is not None:
            result = f"{result} after {self.seq}" if self.result == TAIL_CUT else f"{result} from {self.seq}"
        line = "" if self.line is None else f", line {self.line}"
        return f"{self.where}: {result}{line}{f': {self.detail}' if self.detail else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The comparison of one run's journal, log and chain. `events` is the number of events in the journal."""

    journal: Finding
    log: Finding
    events: int
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.journal.ok and self.log.ok

    @property
    def next(self) -> str:
        """What to do now, in a sentence; empty when all is intact."""
        if not self.journal.ok:
            return (
                "The journal itself is not as it was written: keep the state directory as it is, compare it with a "
                "backup or an anchored head, and trust neither log nor journal from that event on."
            )
        if not self.log.ok:
            return (
                "The journal is intact, the log is not: keep a copy of the log if you need to know who changed it, "
                "then `runner log repair RUN` writes it anew from the journal."
            )
        return ""


def verify(log_path: Path, rows: Iterable[Row], head: tuple[int, str] | None, *, live: bool = False) -> Report:
    """Compare the log at `log_path`, the journal's `rows` in order, and the journal's `head` (seq, hash).

    `head` None says that none is kept: then a cut tail of the journal cannot be seen. `live`: a driver is at work, so
    a log that ends before the journal does is only late. Raises StateError when the log cannot be read.
    """
    walk = ChainWalk(head)
    passing = walk.through(rows)
    comparison = _Comparison(live=live)
    notes: list[str] = []
    with closing(_lines(log_path)) as lines:
        log = comparison.run(passing, lines)
    for _ in passing:
        pass  # the log's first difference ends its comparison, not the journal's
    if comparison.foreign:
        notes.append(
            f"{comparison.foreign} lines were written by another version of runner, or had a secret masked: compared "
            "by their sum and chain, not by their text"
        )
    if comparison.late:
        notes.append(f"the log ends {comparison.late} events before the journal: the run is at work")
    return Report(journal=walk.finding(), log=log, events=walk.count, notes=tuple(notes))


class ChainWalk:
    """Checks a journal's chain while its rows pass by."""

    def __init__(self, head: tuple[int, str] | None = None) -> None:
        self._head = head
        self._last: Row | None = None
        self._found: Finding | None = None
        self.count = 0

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Give every row on, having looked at it."""
        for row in rows:
            if self._found is None:
                self._found = self._look(row)
            self._last = row
            self.count += 1
            yield row

    def finding(self) -> Finding:
        """Say what was found, once every row has passed."""
        if self._found is not None:
            return self._found
        if self._head is None:
            return Finding(where="journal", result=INTACT, detail="no head is kept: a cut tail would not be seen")
        seq, digest = self._head
        last = self._last
        if last is None or last.seq < seq:
            after = 0 if last is None else last.seq
            detail = f"the head is event {seq}, the last one stored is {after}"
            return Finding(where="journal", result=TAIL_CUT, seq=after, detail=detail)
        if last.seq > seq:
            detail = f"the head is event {seq}, events to {last.seq} are stored"
            return Finding(where="journal", result=UNANCHORED, seq=seq + 1, detail=detail)
        if last.hash != digest:
            return _broken("journal", "changed", seq, "its hash is not the head's")
        return Finding(where="journal", result=INTACT)

    def _look(self, row: Row) -> Finding | None:
        last = self._last
        expected = 1 if last is None else last.seq + 1
        if row.seq > expected:
            return _broken("journal", "missing", expected, f"the next event stored is {row.seq}")
        if row.seq < expected:
            return _broken("journal", "reordered", expected, f"event {row.seq} stands in its place")
        own = chain(run=row.run, seq=row.seq, at=row.at, kind=row.kind, body=row.body, prev=row.prev)
        if own != row.hash:
            return _broken("journal", "changed", row.seq, "its hash is not that of its content")
        if last is None and row.prev != GENESIS:
            return _broken("journal", "missing", row.seq, "the chain does not begin here")
        if last is not None and row.prev != last.hash:
            return _broken("journal", "changed", last.seq, f"event {row.seq} was recorded after another one")
        return None


@dataclass(slots=True)
class _Comparison:
    """Walks log and journal side by side up to the first difference, then names it."""

    live: bool
    foreign: int = 0
    late: int = 0

    def run(self, rows: Iterator[Row], lines: Iterator[bytes]) -> Finding:
        number, last = 0, 0
        for row in rows:
            number += 1
            line = next(lines, None)
            if line is None:
                self.late = 1 + sum(1 for _ in rows)
                return self._ends_early(number - 1, last)
            if not self._matches(line, row):
                return _name(row, line, number=number, rows=rows, lines=lines)
            last = row.seq
        if (line := next(lines, None)) is not None:
            place = read(line)
            if place is not None and place.seq <= last:
                return _broken("log", "reordered", place.seq, "the line stands here again", number + 1)
            detail = "the journal has no such event"
            return Finding(where="log", result=UNANCHORED, seq=last + 1, line=number + 1, detail=detail)
        return Finding(where="log", result=INTACT)

    def _ends_early(self, lines: int, last: int) -> Finding:
        if self.live:
            return Finding(where="log", result=INTACT)
        detail = f"{self.late} events of the journal are not in it"
        self.late = 0
        return Finding(where="log", result=TAIL_CUT, seq=last, line=lines or None, detail=detail)

    def _matches(self, line: bytes, row: Row) -> bool:
        if line == _expected(row):
            return True
        place = read(line)
        if place is None or not place.holds(row):
            return False
        if place.comparable:
            return line == _expected(row, place.v)
        self.foreign += 1
        return True


def _expected(row: Row, version: int = VERSION) -> bytes | None:
    """Render a row; None when its stored body is not even JSON, which the chain says in its own words."""
    try:
        return render(row, version=version)
    except (msgspec.DecodeError, UnicodeEncodeError, OverflowError):
        return None


def _name(row: Row, line: bytes, *, number: int, rows: Iterator[Row], lines: Iterator[bytes]) -> Finding:
    """Name the first difference: `line` stands where `row` should."""
    place = read(line)
    if place is not None and place.hash != row.hash:
        if place.seq < row.seq:
            return _broken("log", "reordered", row.seq, f"the line of event {place.seq} stands here again", number)
        if any(later.hash == place.hash for later in rows):
            if any(found.hash == row.hash for found in _places(lines)):
                return _broken("log", "reordered", row.seq, f"event {place.seq} stands in its place", number)
            return _broken("log", "missing", row.seq, f"event {place.seq} stands in its place", number)
    if not line.endswith(b"\n") and any((_expected(row, one) or b"").startswith(line) for one in VERSIONS):
        detail = "the last line is incomplete"
        return Finding(where="log", result=TAIL_CUT, seq=row.seq - 1, line=number, detail=detail)
    return _broken("log", "changed", row.seq, "the line is not what the journal says", number)


def _lines(path: Path) -> Generator[bytes]:
    """Read the log line by line; a log that is not there has none."""
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        msg = f"cannot read the log {path}: {error.strerror}"
        raise StateError(msg, hint="check who owns it and its mode, then ask again") from error


def _places(lines: Iterator[bytes]) -> Iterator[Place]:
    return (place for line in lines if (place := read(line)) is not None)


def _broken(where: str, how: str, seq: int, detail: str, line: int | None = None) -> Finding:
    return Finding(where=where, result=BROKEN, how=how, seq=seq, line=line, detail=detail)
