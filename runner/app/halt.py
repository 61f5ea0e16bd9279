"""Stop runs from outside, so that no request reaches a provider once this returns.

A run's driver is asked through its inbox and has a few seconds; one that does not answer is killed once the kernel has
said that it is the holder of the run's lease. A run without a driver is ended here. Everything that writes happens in
a thread of its own: a hung process may hold the database, and waiting for it must not take longer than promised.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.app import drive
from runner.app.clock import SystemClock
from runner.app.places import State
from runner.errors import BusyError, RunnerError
from runner.events.facts import StopAsked
from runner.sandbox.leftovers import start_ticks
from runner.store import journal
from runner.store.database import Database
from runner.store.lease import holder_of, is_held
from runner.store.recorder import leave_in_inbox
from runner.values import StopKind

ANSWER_S = 4.0
"""Seconds after which a driver that has not stopped by itself is killed."""
ALL_S = 5.5
"""Seconds after which `halt` returns whatever happened; six are promised."""
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """How one run came to stand. `how` is `stopped` (by its driver), `killed`, `ended` (nobody drove it) or `alive`.

    `alive` is a failure: `detail` says of what.
    """

    run: str
    how: str
    detail: str = ""


_Job = Callable[[drive.Access], None]


class _Clerk:
    """Does writes in order in a thread of its own, so that nobody waits for one longer than he wants.

    Opening the database to write may wait for others as well, so that is done there too.
    """

    def __init__(self, opened: Callable[[], drive.Access]) -> None:
        self._opened = opened
        self._jobs: queue.SimpleQueue[tuple[_Stopping, _Job]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="clerk", daemon=True).start()

    def give(self, one: _Stopping, job: _Job) -> None:
        self._jobs.put((one, job))

    def _work(self) -> None:
        access: drive.Access | None = None
        while True:
            one, job = self._jobs.get()
            try:
                access = access or self._opened()
                job(access)
            except RunnerError as error:
                one.trouble = error.message


class _Stopping:
    """One run on its way to a stop."""

    def __init__(self, run: str, lease: Path) -> None:
        self.run, self.lease = run, lease
        self.asked_epoch: int | None = None
        self.killed = False
        self.ending = threading.Event()
        self.trouble = ""
        self.result: Halted | None = None


def standing_open(database: Database) -> list[str]:
    """Every run that has not ended, newest first: driven, crashed, interrupted or parked."""
    return [row.id for row in journal.runs(database) if row.summary.get("status") != "ended"]


def age_s() -> float:
    """Seconds since this process was started: the user has waited that long already. 0 where the system hides it."""
    ticks = start_ticks(os.getpid())
    if not ticks:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def halt(
    runs: Iterable[str], state: State, opened: Callable[[], drive.Access], *, waited_s: float = 0.0
) -> list[Halted]:
    """Stop these runs; gives how each came to stand, in their order. Takes at most `ALL_S` seconds.

    `opened` opens the state directory for writing; `waited_s` have passed of the time already.
    """
    began = time.monotonic() - min(waited_s, ANSWER_S / 2)
    stopping = [_Stopping(run, state.run(run).lease) for run in runs]
    if not stopping:
        return []
    clerk = _Clerk(opened)
    reading = Database(state.database, read_only=True)
    while (left := [one for one in stopping if one.result is None]) and time.monotonic() - began < ALL_S:
        late = time.monotonic() - began >= ANSWER_S
        for one in left:
            _look(one, reading, clerk, late=late)
        time.sleep(_LOOK_S)
    reading.close()
    return [one.result or _alive(one) for one in stopping]


def _look(one: _Stopping, reading: Database, clerk: _Clerk, *, late: bool) -> None:
    """See where a run is, and do the next thing for it."""
    row = journal.find_run(reading, one.run)
    if row.summary.get("status") == "ended":
        how = "killed" if one.killed else "ended" if one.ending.is_set() else "stopped"
        one.result = Halted(run=one.run, how=how)
    elif one.ending.is_set():
        return
    elif not is_held(one.lease):
        one.ending.set()
        clerk.give(one, lambda access: _end(one, access))
    elif one.asked_epoch != row.epoch:
        # a driver that starts just now takes the inbox before it is one: it is asked again
        one.asked_epoch = row.epoch
        clerk.give(one, lambda access: _ask(one, access))
    elif late and not one.killed:
        _kill(one)


def _ask(one: _Stopping, access: drive.Access) -> None:
    leave_in_inbox(access.database, one.run, StopAsked(by="operator", now=True), SystemClock().now())


def _end(one: _Stopping, access: drive.Access) -> None:
    try:
        drive.end_without_driver(one.run, access, by="operator", kind=StopKind.OPERATOR)
    except BusyError:
        # somebody began to drive it meanwhile: it is asked like any other
        one.ending.clear()


def _alive(one: _Stopping) -> Halted:
    if one.killed and not is_held(one.lease):
        detail = f"its driver was killed and nothing more is sent, but that could not be recorded: {_why(one)}"
    else:
        detail = _why(one)
    return Halted(run=one.run, how="alive", detail=detail)


def _why(one: _Stopping) -> str:
    if one.trouble:
        return one.trouble
    if is_held(one.lease):
        return f"process {holder_of(one.lease) or 'unknown'} holds it and does not answer"
    return "another process holds the database and does not answer (a stopped one? see `ps` for state T)"


def _kill(one: _Stopping) -> None:
    """End a driver that does not answer, when it is surely that: never by a number that somebody else may have now."""
    pid = holder_of(one.lease)
    if pid is None or pid == os.getpid():
        return
    try:
        process = os.pidfd_open(pid)
    except AttributeError:
        # no such call on this system: the lock table is missing there as well, and the lease file has to do
        one.killed = is_held(one.lease) and _killed_by_number(pid)
        return
    except OSError:
        return
    try:
        # from here on the handle means this process and no later one; only now is it asked whether it is the holder
        if not _has_lock(pid, one.lease):
            one.trouble = f"process {pid} wrote itself into {one.lease}, but is not its holder"
            return
        signal.pidfd_send_signal(process, signal.SIGKILL)
        one.killed, one.trouble = True, ""
    except OSError as error:
        one.trouble = f"its driver, process {pid}, cannot be killed: {error.strerror}"
    finally:
        os.close(process)


def _killed_by_number(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _has_lock(pid: int, lease: Path) -> bool:
    """Whether the kernel lists this process as the holder of the lease's `flock`.

    Where the table cannot tell (a mount that hides it, another process name space), the process must call itself
    runner: the lease file names it and somebody does hold the lock.
    """
    inode = str(lease.stat().st_ino)
    listed = False
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            words = line.split()
            if "FLOCK" in words and "->" not in words and words[-3].rpartition(":")[2] == inode:
                if words[-4] == str(pid):
                    return True
                listed = listed or words[-4] not in {"0", "-1"}
    if listed:
        return False
    with contextlib.suppress(OSError):
        return b"runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
