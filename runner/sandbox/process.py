"""Commands: started through a host and a keeper, watched, bounded in time, ended with everything they started."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import WorkspaceError
from runner.sandbox import leftovers

HOST = Path(__file__).with_name("host.py")
GRACE_S = 2.0
"""Seconds between SIGTERM and SIGKILL for a command that ran out of time or was stopped."""
INTERRUPT_GRACE_S = 0.5
_READY_S = 30.0
_LAST_OUTPUT_S = 1.0
_HOST_S = 2.0
"""Seconds a host gets to end by itself when its socket was closed."""
_CREDENTIALS = sys.platform == "linux"
_ROOM = socket.CMSG_SPACE(struct.calcsize("3i"))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a host is started: the program of its walls, if any, before the interpreter, and its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()


def unwalled(env: Mapping[str, str]) -> Launch:
    """A host without walls."""
    return Launch(argv=(sys.executable, "-I", "-S", str(HOST)), env=env)


class Host:
    """The process that forks commands, started when the first one is wanted. `close` ends it, and what it walls in."""

    def __init__(self, launch: Callable[[], Launch]) -> None:
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._words: list[str] = []

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return 0 if self._process is None else self._process.pid

    def spawn(self, files: Sequence[int], *, what: bytes) -> list[str]:
        """Fork a keeper that has these files, `what` they are as in the protocol.

        A host that is gone is started again; OSError when none can be. Gives where the host's last word will be.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._begin()
            try:
                self._ask(files, what)
            except OSError:  # it died since we looked
                self._begin()
                self._ask(files, what)
            return self._words

    def hear(self) -> None:
        """Take down what the host said: why it ended every command."""
        with suppress(OSError):
            if (there := self._socket) is not None and (said := there.recv(4096, socket.MSG_DONTWAIT)):
                self._words.append(said.decode("utf-8", "replace").strip())

    def _ask(self, files: Sequence[int], what: bytes) -> None:
        if self._socket is None or self._process is None:
            raise OSError("there is no process that could start a command")
        # A command may have stopped it (`kill -STOP`).
        self._process.send_signal(signal.SIGCONT)
        socket.send_fds(self._socket, [what], list(files))

    def _begin(self) -> None:
        self._end()
        ours, theirs = socket.socketpair()
        launch = self._launch()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    launch.argv,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=launch.pass_fds,
                    env=dict(launch.env),
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._words = []

    def close(self) -> None:
        """End the host. Commands that still run are ended by their keepers, or with the walls around them."""
        with self._lock:
            self._end()

    def kill(self) -> None:
        """End a host that does not answer; the next command gets another."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
            self._end()

    def _end(self) -> None:
        if self._socket is not None:
            self.hear()
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(_HOST_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Commands:
    """Starts commands in one environment. `tag` names the run, so that a later process finds what was left.

    `launch` starts the host that they are started by; it is given the environment that the host must have.
    """

    def __init__(
        self, env: Mapping[str, str], tag: str, *, launch: Callable[[Mapping[str, str]], Launch] = unwalled
    ) -> None:
        self._env = dict(env)
        self._tag = tag
        self._count = 0
        self._live: set[Command] = set()
        name, _, value = self.keeper_marker.partition("=")
        self.host = Host(lambda: launch({name: value}))

    @property
    def keeper_marker(self) -> str:
        return f"RUNNER_KEEPER={self._tag}"

    @property
    def command_marker(self) -> str:
        return f"RUNNER_TOOL={self._tag}."

    def prepare(
        self, argv: Sequence[str], directory: Path, *, stdin: str | None = None, split: bool = False
    ) -> Command:
        """Fork a command that waits at the door; `split` keeps its standard error apart from its output.

        Raises WorkspaceError when no process can be started.
        """
        self._count += 1
        marker = f"{self.command_marker}{self._count}-{secrets.token_hex(4)}"
        name, _, value = marker.partition("=")
        items = [str(directory), *argv, *(f"{key}={text}" for key, text in {**self._env, name: value}.items())]
        body = b"".join(os.fsencode(item) + b"\0" for item in items)
        header = f"{len(argv)} {len(self._env) + 1} {len(body)}\n".encode()
        try:
            try:
                command = Command(self.host, header + body, marker, stdin, split=split)
            except ConnectionError:  # a command before it killed the host, which was not yet gone
                command = Command(self.host, header + body, marker, stdin, split=split)
        except OSError as error:
            raise WorkspaceError(
                f"no process can be started: {error}", hint="see the limits on processes, memory and open files"
            ) from error
        command.on_end(lambda: self._live.discard(command))
        self._live.add(command)
        return command

    def end_leftovers(self) -> tuple[str, ...]:
        """End what an earlier process of this run left; command lines of what had to be killed."""
        own = {self.host.pid, *(command.keeper_pid for command in self._live)}
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
    keeper: int = 0
    pid: int = 0
    left: list[str] = field(default_factory=list[str])
    status: int | None = None
    ended: bool = False

    def feed(self, data: bytes, sender: int = 0) -> None:
        """Take what came; `sender` is the process it came from, as the kernel names it here."""
        self.buffer += data
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "keeper":
                self.keeper = sender or int(rest)
            elif word == "pid":
                self.pid = sender or int(rest)
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

    def __init__(self, host: Host, request: bytes, marker: str, stdin: str | None, *, split: bool) -> None:
        self.marker = marker
        self._host = host
        self._words: list[str] = []
        self._reports = _Reports()
        self._why = ""
        self._give_up_at: float | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._keeper = -1
        self._control, theirs = socket.socketpair()
        self._output, write_end = os.pipe()
        self._errors, errors_end = os.pipe() if split else (-1, -1)
        try:
            with theirs, _typed(stdin) as given:
                if _CREDENTIALS:
                    self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                wanted = (theirs.fileno(), write_end, given, errors_end if split else None)
                files = [file for file in wanted if file is not None]
                self._words = host.spawn(files, what=b"%d" % ((given is not None) + 2 * split))
        except BaseException:
            self._close()
            raise
        finally:
            os.close(write_end)
            if split:
                os.close(errors_end)
        self._meet(host, request)

    def _meet(self, host: Host, request: bytes) -> None:
        """Hand the request over and learn who keeps it, and who waits at the door."""
        self._control.settimeout(_READY_S)
        try:
            self._control.sendall(request)
            while not self._reports.pid:
                data, beside, _, _ = self._control.recvmsg(4096, _ROOM)
                if not data:
                    raise ConnectionResetError("the process that keeps a command ended before it began")
                self._reports.feed(data, _sender(beside))
        except OSError:
            host.kill()
            self._close()
            raise
        self._control.settimeout(None)
        if sys.platform == "linux":
            # Its number may be another's once it has ended: nobody here waits for it.
            with suppress(OSError):
                self._keeper = os.pidfd_open(self.keeper_pid)

    @property
    def pid(self) -> int:
        return self._reports.pid

    @property
    def keeper_pid(self) -> int:
        return self._reports.keeper

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
        self._signal_keeper(signal.SIGCONT)

    def abandon(self) -> None:
        """End it at the door: it has executed nothing."""
        self.end(0, "")
        self.run(lambda _: None, Pace())

    def _signal_keeper(self, number: signal.Signals) -> None:
        with suppress(OSError):
            if self._keeper >= 0 and sys.platform == "linux":
                signal.pidfd_send_signal(self._keeper, number)
            else:
                os.kill(self.keeper_pid, number)

    def _tell(self, line: bytes) -> None:
        try:
            # A few bytes: they go as one, or the keeper is gone and reading will tell.
            self._control.send(line)
        except OSError:
            return

    def run(
        self, on_output: Callable[[bytes], None], pace: Pace, on_errors: Callable[[bytes], None] | None = None
    ) -> Ended:
        """Read output until the command has ended; end it when it exceeds its pace. Call once.

        `on_errors` hears standard error where that is apart.
        """
        started = heard = time.monotonic()
        poll = select.poll()
        hears = {self._output: on_output, self._errors: on_errors or on_output}
        files = [file for file in (*hears, self._control.fileno()) if file >= 0]
        for file in files:
            poll.register(file, select.POLLIN)
        open_files = len(files)
        asked = drain_until = None
        while open_files and (drain_until is None or time.monotonic() < drain_until):
            for file, _ in poll.poll(200):
                data = _read(file)
                if not data:
                    poll.unregister(file)
                    open_files -= 1
                if file in hears:
                    heard = time.monotonic()
                    hears[file](data)
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
        self._signal_keeper(signal.SIGSTOP)
        self._reports.left += leftovers.end_all(lambda: leftovers.descendants(self.keeper_pid))
        self._signal_keeper(signal.SIGKILL)

    def _finish(self) -> Ended:
        reports = self._reports
        left = list(reports.left)
        if not reports.ended:
            # Somebody killed the keeper; its parent-death signal took the command, the marker finds the others.
            left += leftovers.end_all(lambda: list(leftovers.carriers(self.marker)))
        self._close()
        for callback in self._callbacks:
            callback()
            self._host.hear()
        why = self._why if reports.ended else self._why or next(iter(self._words), "its keeper was killed")
        return Ended(status=reports.status, left=tuple(left), why=why)

    def _close(self) -> None:
        self._control.close()
        os.close(self._output)
        if self._errors >= 0:
            os.close(self._errors)
        if self._keeper >= 0:
            os.close(self._keeper)
            self._keeper = -1


def _sender(beside: Sequence[tuple[int, int, bytes]]) -> int:
    """The process a message came from; 0 where the kernel does not say."""
    for level, kind, data in beside:
        if _CREDENTIALS and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(struct.unpack("3i", data)[0])
    return 0


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
