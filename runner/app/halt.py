"""Stop runs from outside, so that no request reaches a provider once this returns.

A run's driver is asked through its inbox and has a few seconds; one that does not answer is killed once the kernel has
said that it is the holder of the run's lease. A run without a driver is ended here. What their commands started is gone
too, whatever session it chose: drivers and keepers see to that, and what they leave is killed here. Everything that
writes happens in a thread of its own: a hung process may hold the database, and waiting for it must not take longer
than promised.
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
from functools import cache
from pathlib import Path

from runner.app import drive
from runner.app.clock import SystemClock
from runner.app.places import State
from runner.errors import BusyError, RunnerError
from runner.events.facts import StopAsked
from runner.sandbox import leftovers
from runner.sandbox.leftovers import start_ticks
from runner.store import halted, journal
from runner.store.database import Database
from runner.store.lease import holder_of, is_held
from runner.store.recorder import leave_in_inbox
from runner.values import StopKind

ANSWER_S = 4.0
"""Seconds after which a driver that has not stopped by itself is killed."""
ALL_S = 5.2
"""Seconds after which `halt` returns whatever happened; six are promised."""
_LOOK_S = 0.05
_HELD = "another process holds the database and does not answer (a stopped one? see `ps` for state T)"
_KEEPERS_S = 0.4
"""Seconds that keepers whose driver is gone get to end its commands, before that is done in their place."""


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

    Opening the database to write may wait for others as well, so that is done there too. `by` is who stops.
    """

    def __init__(self, opened: Callable[[], drive.Access], by: str) -> None:
        self._opened, self.by = opened, by
        self._jobs: queue.SimpleQueue[tuple[_Stopping | _Blocking, _Job]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="clerk", daemon=True).start()

    def give(self, one: _Stopping | _Blocking, job: _Job) -> None:
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


class _Blocking:
    """The word that stops everything, on its way to the disk."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.trouble = ""


class _Stopping:
    """One run on its way to a stop. `tags` tell its commands, `alone_at` is when it was first seen without a driver."""

    def __init__(self, run: str, state: State) -> None:
        place = state.run(run)
        self.run, self.lease = run, place.lease
        self.tags = (
            leftovers.tag("tools", place.artefacts.resolve()),
            leftovers.tag("checks", place.scratch.resolve()),
        )
        self.asked_epoch: int | None = None
        self.killed = False
        self.alone_at: float | None = None
        self.left: tuple[str, ...] = ()
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
    stopping = [_Stopping(run, state) for run in runs]
    if stopping:
        _stand_still(stopping, state, _Clerk(opened, "operator"), began)
    return [one.result or _alive(one) for one in stopping]


def halt_all(
    state: State, opened: Callable[[], drive.Access], *, by: str, why: str = "", waited_s: float = 0.0
) -> tuple[list[Halted], str]:
    """Block every start, then stop every run, as `halt` does. The text says why starts are not blocked, "" = they are.

    From the moment on at which that is on disk no call of any run leaves and no tool starts.
    """
    began = time.monotonic() - min(waited_s, ANSWER_S / 2)
    clerk, blocking = _Clerk(opened, "all"), _Blocking()

    def block(access: drive.Access) -> None:
        halted.halt(access.database, by=by, why=why, now=SystemClock().now)
        blocking.done.set()

    clerk.give(blocking, block)
    stopping: list[_Stopping] = []

    def listed(reading: Database) -> bool:
        # a run that began just before the word was on disk is seen by a look after it
        last = blocking.done.is_set()
        known = {one.run for one in stopping}
        stopping.extend(_Stopping(run, state) for run in standing_open(reading) if run not in known)
        return last

    _stand_still(stopping, state, clerk, began, listed)
    trouble = "" if blocking.done.is_set() else blocking.trouble or _HELD
    return [one.result or _alive(one) for one in stopping], trouble


def _stand_still(
    stopping: list[_Stopping],
    state: State,
    clerk: _Clerk,
    began: float,
    listed: Callable[[Database], bool] = lambda _: True,
) -> None:
    """Look at each run until all stand still; `listed` adds to them until it gives True."""
    reading = Database(state.database, read_only=True)
    complete = False
    while time.monotonic() - began < ALL_S:
        complete = complete or listed(reading)
        left = [one for one in stopping if one.result is None]
        if complete and not left:
            break
        late = time.monotonic() - began >= ANSWER_S
        living = cache(leftovers.tagged)
        for one in left:
            _look(one, reading, clerk, living, late=late)
        time.sleep(_LOOK_S)
    reading.close()


_Living = Callable[[], dict[str, leftovers.Tagged]]


def _look(one: _Stopping, reading: Database, clerk: _Clerk, living: _Living, *, late: bool) -> None:
    """See where a run is, and do the next thing for it."""
    row = journal.find_run(reading, one.run)
    driven = is_held(one.lease)
    one.alone_at = None if driven else one.alone_at or time.monotonic()
    ended = row.summary.get("status") == "ended"
    if (ended or not driven) and _is_swept(one, living(), late=late) and ended:
        how = "killed" if one.killed else "ended" if one.ending.is_set() else "stopped"
        one.result = Halted(run=one.run, how=how)
    elif ended or one.ending.is_set():
        return
    elif not driven:
        one.ending.set()
        clerk.give(one, lambda access: _end(one, access, clerk.by))
    elif one.asked_epoch != row.epoch:
        # a driver that starts just now takes the inbox before it is one: it is asked again
        one.asked_epoch = row.epoch
        clerk.give(one, lambda access: _ask(one, access, clerk.by))
    elif late and not one.killed:
        _kill(one)


def _is_swept(one: _Stopping, living: dict[str, leftovers.Tagged], *, late: bool) -> bool:
    """Whether nothing is left of what its commands started; what nobody ends in time is killed."""
    found = [living[tag] for tag in one.tags if tag in living]
    one.left = tuple(leftovers.command_line(pid) for each in found for pid in sorted(each.commands))
    if late or (one.alone_at is not None and time.monotonic() - one.alone_at >= _KEEPERS_S):
        for each in found:
            each.kill()
    return not found


def _ask(one: _Stopping, access: drive.Access, by: str) -> None:
    leave_in_inbox(access.database, one.run, StopAsked(by=by, now=True), SystemClock().now())


def _end(one: _Stopping, access: drive.Access, by: str) -> None:
    try:
        drive.end_without_driver(one.run, access, by=by, kind=StopKind.OPERATOR)
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
    if one.left:
        return f"what its commands started cannot be ended: {', '.join(one.left[:5])}"
    return _HELD


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
