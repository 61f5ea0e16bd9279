"""A run's log as it can be read, checked against the journal, and written anew from it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from runner.app.look import Look
from runner.log.chain import Report, verify
from runner.log.line import render, rows_of
from runner.store import journal
from runner.store.journal import Row, RunRow

# the checkers know this name; what it guards is needed by `repair` alone
TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.app.drive import Access

_LOOK_S = 0.2


def events(found: Look, run: str, *, follow: bool) -> Iterator[Row | None]:
    """The events of a run in order; None wherever the reader has caught up. `follow`: go on until nobody drives it."""
    last = 0
    while True:
        # asked before the journal is read, so that the last events of a driver that ends now are not missed
        driven = follow and found.driver(run) is not None
        for row in journal.rows(found.database, run, after=last):
            last = row.seq
            yield row
        yield None
        if not driven:
            return
        time.sleep(_LOOK_S)


def lines(found: Look, run: str, *, follow: bool) -> Iterator[bytes | None]:
    """The stored lines of a run's log, whole ones only; what the file does not hold, the journal gives at the end.

    None wherever the reader has caught up.
    """
    last, offset = 0, 0
    while True:
        driven = follow and found.driver(run) is not None
        for line in _whole_lines(found.state.run(run).log, offset):
            offset += len(line)
            last = max(last, _seq(line))
            yield line
        yield None
        if not driven:
            break
        time.sleep(_LOOK_S)
    late = rows_of(run, journal.rows(found.database, run, after=last))
    for row in late:
        yield render(row)


def _whole_lines(log: Path, offset: int) -> Iterator[bytes]:
    try:
        with log.open("rb") as file:
            file.seek(offset)
            for line in file:
                if line.endswith(b"\n"):
                    yield line
    except FileNotFoundError:
        return


class _Numbered(msgspec.Struct):
    seq: int = 0


def _seq(line: bytes) -> int:
    try:
        return msgspec.json.decode(line, type=_Numbered).seq
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


def checked(found: Look, name: str) -> tuple[RunRow, Report]:
    """Compare a run's log with its journal and both with the chain; nothing is repaired."""
    run = found.find(name).id
    live = found.driver(run) is not None
    with _still(found.state.run(run).log, live=live) as log, found.database.snapshot():
        # the log is looked at first: what a driver writes meanwhile is in the journal, and late in the log
        row = found.find(run)
        rows = rows_of(run, journal.rows(found.database, run))
        return row, verify(log, rows, (row.head_seq, row.head_hash), live=live)


@contextmanager
def _still(log: Path, *, live: bool) -> Generator[Path]:
    """The log, or its whole lines of this moment while a driver may write more."""
    if not live:
        yield log
        return
    with tempfile.TemporaryDirectory(prefix="runner-log-") as folder:
        copy = Path(folder) / log.name
        with copy.open("wb") as file:
            file.writelines(_whole_lines(log, 0))
        yield copy


def repair(access: Access, run: str, report: Report) -> Path | None:
    """Write a run's log anew from its journal, as an event of the run; give the place of the old file's copy.

    Call it when `report` says that the journal is intact and the log is not. Raises BusyError while the run is driven.
    """
    from runner.app import drive
    from runner.events.facts import LogRepaired
    from runner.log import repair as rewrite

    log = access.state.run(run).log
    with drive.leased(run, access) as recorder:
        kept = _kept(log)
        first = report.log.line or 1
        recorder.record(LogRepaired(reason=f"runner log repair: {report.log}", first_bad_line=first))
        row = journal.find_run(access.database, run)
        rewrite(
            log, rows_of(run, journal.rows(access.database, run)), (row.head_seq, row.head_hash), first_bad_line=first
        )
    return kept


def _kept(log: Path) -> Path | None:
    if not log.exists():
        return None
    number = 1
    while (copy := log.with_name(f"{log.name}.before-repair-{number}")).exists():
        number += 1
    shutil.copy2(log, copy)
    return copy
