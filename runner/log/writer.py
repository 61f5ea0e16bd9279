"""Write the log. The journal is the truth, so nothing that happens here stops a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RefusedError, StateError
from runner.events.facts import Stamped
from runner.log.chain import ChainWalk
from runner.log.line import Row, read, render, row_of
from runner.secrets import Vault

# What is kept for a disk that comes back; beyond it the next start reads the journal.
_MOST_PENDING = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Old lines were written anew: record `LogRepaired` with these fields."""

    reason: str
    first_bad_line: int


class RunLog:
    """One run's log file (mode 0600), appended to after each record; `mirror` also gets every line as text.

    `say` gets one sentence when the log cannot be written; the run goes on, the lines are kept and tried again with
    the next ones, and what is still missing at the end `catch_up` writes at the next start.
    """

    def __init__(
        self,
        path: Path,
        vault: Vault,
        *,
        mirror: Callable[[str], object] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._vault = vault
        self._mirror = mirror
        self._say = say or _to_stderr
        self._fd: int | None = None
        self._pending: list[bytes] = []
        self._behind = False
        self._said = False

    @property
    def behind(self) -> bool:
        """Whether events are recorded that the file does not hold yet."""
        return self._behind or bool(self._pending)

    def write(self, stamped: Sequence[Stamped]) -> None:
        """Append what was just recorded. Never raises OSError."""
        self.write_rows(row_of(one) for one in stamped)

    def write_rows(self, rows: Iterable[Row]) -> None:
        """Append rows of the journal. Never raises OSError."""
        for row in rows:
            line = render(row, self._vault)
            self._pending.append(line)
            if self._mirror is not None:
                with suppress(OSError):  # a closed stderr has nobody to tell
                    self._mirror(line.decode())
        if self._behind:
            self._pending.clear()
            return
        try:
            self._flush()
        except OSError as error:
            self._failed(error)

    def catch_up(self, rows_after: Callable[[int], Iterable[Row]], head: int) -> Repair | None:
        """Bring the file up to the journal when a driver starts: `rows_after(seq)` gives the journal's later rows.

        A torn last line (a kill in mid-write) and lines of events the journal lost with the machine's power are cut
        off first, and returned for `LogRepaired`; the latter are kept beside the log in `….unanchored`. Other damage
        is left for `verify` to name. `head` is the journal's last seq. Never raises OSError.
        """
        try:
            repair, last = self._cut_tail(head)
            self._behind = False
            self._pending = []
            for row in rows_after(last):
                self._pending.append(render(row, self._vault))
                if len(self._pending) >= 256:
                    self._flush()
            self._flush()
        except OSError as error:
            self._failed(error)
            return None
        return repair

    def close(self) -> None:
        """Close the file; what is pending gets a last try."""
        if self._pending and not self._behind:
            self.write_rows(())
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        if self._fd is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o600)
        return self._fd

    def _flush(self) -> None:
        """Append what is pending in one write; on failure cut off what reached the file in part."""
        if not self._pending:
            return
        fd, data = self._open(), b"".join(self._pending)
        written = 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            # a half line would be taken for tampering; where even this fails, the next start cuts it
            with suppress(OSError):
                os.ftruncate(fd, os.fstat(fd).st_size - written)
            raise
        self._pending.clear()

    def _failed(self, error: OSError) -> None:
        if sum(map(len, self._pending)) > _MOST_PENDING:
            self._pending.clear()
            self._behind = True
        if not self._said:
            self._said = True
            self._say(
                f"warning: the log {self.path} cannot be written ({error.strerror}); the run goes on, nothing is lost: "
                "the journal has every event and the log catches up"
            )

    def _cut_tail(self, head: int) -> tuple[Repair | None, int]:
        """Cut what does not belong off the end; give the seq of the last event the file holds (0: none)."""
        fd = self._open()
        last, number, keep = 0, 0, 0
        torn = False
        with open(fd, "rb", closefd=False) as file:
            file.seek(0)
            for line in file:
                number += 1
                place = read(line)
                if place is not None and place.seq > head:
                    break
                if not line.endswith(b"\n"):
                    torn = True
                    break
                keep += len(line)
                last = last if place is None else max(last, place.seq)
            else:
                return None, last
            file.seek(keep)
            rest = file.read()
        if not torn:
            _keep_beside(self.path, rest)
        os.ftruncate(fd, keep)
        reason = (
            "the last line was incomplete" if torn else f"lines past event {head}, the journal's last, were set aside"
        )
        return Repair(reason=reason, first_bad_line=number), last


def repair(log_path: Path, rows: Iterable[Row], head: tuple[int, str] | None, *, first_bad_line: int = 1) -> Repair:
    """Write the whole log anew from the journal, atomically. Record `LogRepaired` with what this returns.

    Raises RefusedError, the old file untouched, when the journal's own chain is not intact: the log may then be the
    better witness. Raises StateError when it cannot be written.
    """
    walk = ChainWalk(head)
    fresh = log_path.with_name(f"{log_path.name}.{os.getpid()}.new")
    try:
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
            file.writelines(render(row) for row in walk.through(rows))
            file.flush()
            os.fsync(file.fileno())
        if not (finding := walk.finding()).ok:
            msg = f"the log was left as it is: {finding}"
            raise RefusedError(msg, hint="the journal cannot vouch for it; keep both and look at `runner log verify`")
        fresh.replace(log_path)
    except OSError as error:
        msg = f"cannot write the log {log_path}: {error.strerror}"
        raise StateError(msg, hint="make room or set its folder's mode, then repair again") from error
    finally:
        fresh.unlink(missing_ok=True)
    return Repair(reason="written anew from the journal", first_bad_line=first_bad_line)


def _keep_beside(path: Path, lines: bytes) -> None:
    beside = path.with_name(f"{path.name}.unanchored")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(lines)


def _to_stderr(sentence: str) -> None:
    try:
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the warning's only way out, once per run
    except OSError:
        return  # a closed stderr has nobody to tell
