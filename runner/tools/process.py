"""Commands: started through a keeper, watched, bounded in time, ended with everything they started."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import WorkspaceError
from runner.tools import leftovers

KEEPER = Path(__file__).with_name("keeper.py")
GRACE_S = 2.0
"""Seconds between SIGTERM and SIGKILL for a command that ran out of time or was stopped."""
INTERRUPT_GRACE_S = 0.5
_READY_S = 30.0
_LAST_OUTPUT_S = 1.0
_KEEPER_S = 6.0
"""Seconds beyond the grace that a keeper gets to end everything, before runner does it in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `status` None: nobody saw it (its keeper was killed); negative: the signal."""

    status: int | None
    left: tuple[str, ...] = ()
    why: str = ""


@dataclass(slots=True)
class Pace:
    """How long a command may take in all and without output, in seconds; None is for ever."""

    total_s: float | None = None
    idle_s: float | None = None


class Commands:
    """Starts commands in one environment. `tag` names the run, so that a later process finds what was left."""

    def __init__(self, env: Mapping[str, str], tag: str) -> None:
        self._env = dict(env)
        self._tag = tag
        self._count = 0
        self._live: set[Command] = set()

    @property
    def keeper_marker(self) -> str:
        return f"RUNNER_KEEPER={self._tag}"

    @property
    def command_marker(self) -> str:
        return f"RUNNER_TOOL={self._tag}."

    def prepare(self, argv: Sequence[str], directory: Path, *, stdin: str | None = None) -> Command:
        """Fork a command that waits at the door. Raises WorkspaceError when no process can be started."""
        self._count += 1
        marker = f"{self.command_marker}{self._count}-{secrets.token_hex(4)}"
        name, _, value = marker.partition("=")
        items = [str(directory), *argv, *(f"{key}={text}" for key, text in {**self._env, name: value}.items())]
        body = b"".join(os.fsencode(item) + b"\0" for item in items)
        header = f"{len(argv)} {len(self._env) + 1} {len(body)}\n".encode()
        try:
            command = Command(header + body, marker, self.keeper_marker, stdin)
        except OSError as error:
            raise WorkspaceError(
                f"no process can be started: {error}", hint="see the limits on processes, memory and open files"
            ) from error
        command.on_end(lambda: self._live.discard(command))
        self._live.add(command)
        return command

    def end_leftovers(self) -> tuple[str, ...]:
        """End what an earlier process of this run left; command lines of what had to be killed."""
        own = {command.keeper_pid for command in self._live}
        leftovers.end_keepers(self.keeper_marker, own)
        markers = {command.pid for command in self._live}

        def strangers() -> list[int]:
            live = {pid for command in self._live for pid in leftovers.carriers(command.marker)} | markers
            return [pid for pid in leftovers.carriers(self.command_marker) if pid not in live]

        return leftovers.end_all(strangers)


@dataclass(slots=True)
class _Reports:
    """What the keeper said so far."""

    buffer: bytes = b""
    pid: int = 0
    left: list[str] = field(default_factory=list[str])
    status: int | None = None
    ended: bool = False

    def feed(self, data: bytes) -> None:
        self.buffer += data
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "pid":
                self.pid = int(rest)
            elif word == "left":
                self.left.append(rest)
            elif word == "exit":
                self.status, self.ended = int(rest), True


@contextmanager
def _typed(text: str | None) -> Generator[int | None]:
    """A file that holds what a command reads on standard input; most read nothing."""
    if text is None:
        yield None
        return
    with tempfile.TemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.seek(0)
        yield file.fileno()


class Command:
    """One command at the door, running or ended. `pid` is also its process group."""

    def __init__(self, request: bytes, marker: str, keeper_marker: str, stdin: str | None) -> None:
        self.marker = marker
        self._reports = _Reports()
        self._why = ""
        self._give_up_at: float | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._control, theirs = socket.socketpair()
        self._output, write_end = os.pipe()
        name, _, value = keeper_marker.partition("=")
        with theirs, _typed(stdin) as given:
            try:
                self._keeper = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(KEEPER), str(given or 0)],
                    stdin=theirs.fileno(),
                    stdout=write_end,
                    stderr=write_end,
                    pass_fds=() if given is None else (given,),
                    env={name: value},
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                os.close(self._output)
                self._control.close()
                raise
            finally:
                os.close(write_end)
        self._meet(request)

    def _meet(self, request: bytes) -> None:
        """Hand the request over and learn who waits at the door."""
        self._control.settimeout(_READY_S)
        try:
            self._control.sendall(request)
            while not self._reports.pid:
                data = self._control.recv(4096)
                if not data:
                    raise OSError("the process that keeps a command ended before it began")
                self._reports.feed(data)
        except OSError:
            self._keeper.kill()
            self._close()
            raise
        self._control.settimeout(None)

    @property
    def pid(self) -> int:
        return self._reports.pid

    @property
    def keeper_pid(self) -> int:
        return self._keeper.pid

    def on_end(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def go(self) -> None:
        """Let it execute."""
        self._tell(b"go\n")

    def end(self, grace_s: float, why: str) -> None:
        """Ask for its end, and that of all it started; `run` returns soon after. Safe from any thread."""
        self._why = self._why or why
        self._give_up_at = self._give_up_at or time.monotonic() + grace_s + _KEEPER_S
        self._tell(f"end {grace_s}\n".encode())
        # A command may have stopped its keeper (`kill -STOP $PPID`), which then would hear nothing.
        self._keeper.send_signal(signal.SIGCONT)

    def abandon(self) -> None:
        """End it at the door: it has executed nothing."""
        self.end(0, "")
        self.run(lambda _: None, Pace())

    def _tell(self, line: bytes) -> None:
        try:
            # A few bytes: they go as one, or the keeper is gone and reading will tell.
            self._control.send(line)
        except OSError:
            return

    def run(self, on_output: Callable[[bytes], None], pace: Pace) -> Ended:
        """Read output until the command has ended; end it when it exceeds its pace. Call once."""
        started = heard = time.monotonic()
        poll = select.poll()
        for file in (self._output, self._control.fileno()):
            poll.register(file, select.POLLIN)
        open_files = 2
        asked = drain_until = None
        while open_files and (drain_until is None or time.monotonic() < drain_until):
            for file, _ in poll.poll(200):
                data = _read(file)
                if not data:
                    poll.unregister(file)
                    open_files -= 1
                if file == self._output:
                    heard = time.monotonic()
                    on_output(data)
                else:
                    self._reports.feed(data)
                    if not data:
                        drain_until = time.monotonic() + _LAST_OUTPUT_S
            if asked is None and (why := _exceeded(pace, started, heard)):
                asked = time.monotonic()
                self.end(GRACE_S, why)
            if self._give_up_at is not None and time.monotonic() >= self._give_up_at:
                self._give_up_at = None
                self._replace_keeper()
        return self._finish()

    def _replace_keeper(self) -> None:
        """Do the work of a keeper that does not: end all below it while orphans still come to it, then end it."""
        self._keeper.send_signal(signal.SIGSTOP)
        self._reports.left += leftovers.end_all(lambda: leftovers.descendants(self._keeper.pid))
        self._keeper.kill()

    def _finish(self) -> Ended:
        reports = self._reports
        left = list(reports.left)
        if not reports.ended:
            # Somebody killed the keeper; its parent-death signal took the command, the marker finds the others.
            left += leftovers.end_all(lambda: list(leftovers.carriers(self.marker)))
        self._close()
        self._keeper.wait()
        for callback in self._callbacks:
            callback()
        why = self._why if reports.ended else self._why or "its keeper was killed"
        return Ended(status=reports.status, left=tuple(left), why=why)

    def _close(self) -> None:
        self._control.close()
        os.close(self._output)


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except ConnectionResetError:
        # The keeper ended with a line of ours unread: as good as an end.
        return b""


def _exceeded(pace: Pace, started: float, heard: float) -> str:
    now = time.monotonic()
    if pace.total_s is not None and now - started >= pace.total_s:
        return f"timed out after {pace.total_s:g} s"
    if pace.idle_s is not None and now - heard >= pace.idle_s:
        return f"no output for {pace.idle_s:g} s"
    return ""


def signal_name(number: int) -> str:
    """SIGKILL for 9, and so on."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
