"""Starts commands, and keeps each: the processes between runner and what the model asked to run.

Run as a script by `runner.sandbox.process`, never imported by it. The host is started once for an iteration, behind the
walls of its sandbox; for every command it forks a keeper. So runner itself forks once, and whatever the commands of an
iteration start shares loopback, /tmp and processes.

A keeper holds one end of a socket to runner. When that end closes, for whatever reason (`kill -9` included), it kills
the command and all it started, and ends. It can do so because it is the subreaper of the command: a descendant whose
parent is gone becomes the keeper's child, whatever session, process group or environment it chose. Its own death kills
the command (parent-death signal).

The command waits at the door: it is forked and has its identity, and executes nothing before `go`.

Its arguments are what its commands may use together, `NAME=NUMBER` (see `runner.sandbox.plan.Limits`), `place=PATH` for
each directory whose file system is watched, `set=NAME=VALUE` for what every command finds in its environment, and
`filter=HEXADECIMAL` for a seccomp filter that holds from the start.

Protocol of the host, on its standard input, a Unix socket: one byte for every command, a digit, with descriptors beside
it: the keeper's socket, the command's output, what it reads on standard input (digits 1 and 3), and its standard error
where that is apart from the output (2 and 3). It ends with the socket.

Protocol of a keeper, lines of text on its socket:
    runner -> keeper   header `<arguments> <variables> <bytes>`, then that many bytes, each item ended by NUL:
                       directory, arguments, variables; later `go`, `end SECONDS` (grace between SIGTERM and SIGKILL)
    keeper -> runner   `keeper N`, and from the waiting command itself `pid N` (numbers as they are in here: the kernel
                       says beside each line who sent it, as runner sees it); after the end `left COMMAND LINE` for each
                       process left behind, then `exit STATUS` (negative: the signal)
"""

# Every command waits for it: pathlib and contextlib would be a third of its start. It exists to execute programs.
# ruff: noqa: PTH110, PTH123, PTH208, SIM105, S606

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
from array import array

CONTROL = 0
SETTLE_S = 0.2
LEFT_GRACE_S = 1.0
WATCH_S = 0.25
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
ALWAYS: dict[bytes, bytes] = {}
"""What every command finds in its environment, whatever runner says: the walls know where HOME is."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LINUX = sys.platform == "linux"
_prctl = ctypes.CDLL(None).prctl if _LINUX else None
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Request:
    """What to run."""

    def __init__(self) -> None:
        self.buffer = b""
        while b"\n" not in self.buffer:
            self._read()
        header, _, self.buffer = self.buffer.partition(b"\n")
        arguments, variables, size = (int(number) for number in header.split())
        while len(self.buffer) < size:
            self._read()
        items = self.buffer[:size].split(b"\0")[:-1]
        self.buffer = self.buffer[size:]
        self.directory = items[0]
        self.argv = items[1 : 1 + arguments]
        self.env = dict(item.split(b"=", 1) for item in items[1 + arguments : 1 + arguments + variables])

    def _read(self) -> None:
        data = os.read(CONTROL, 65536)
        if not data:
            os._exit(0)
        self.buffer += data


def children_of(ancestor: int) -> dict[int, str]:
    """Every living descendant, with its command line. Falls back to nothing where there is no /proc."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in os.listdir("/proc") if _LINUX else []:
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            parents[int(entry)] = (int(parent), state.decode())
    found: dict[int, str] = {}
    wanted = {ancestor}
    while wanted:
        wanted = {pid for pid, (parent, _) in parents.items() if parent in wanted and pid not in found}
        found.update((pid, parents[pid][1]) for pid in wanted)
    return {pid: command_line(pid) for pid, state in found.items() if state not in "ZX"}


def command_line(pid: int) -> str:
    """What a process was started as, in one line of at most 200 characters."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        words = b""
    return words.decode("utf-8", "replace").replace("\n", " ")[:200] or f"process {pid}"


def send_signal(pid: int, number: int) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def signal_group(pgid: int, number: int) -> None:
    """Signal a process group that may be gone already."""
    try:
        os.killpg(pgid, number)
    except OSError:
        pass


def tell(line: str) -> None:
    """Say one line to runner."""
    try:
        os.write(CONTROL, line.encode("utf-8", "replace") + b"\n")
    except OSError:
        # Runner is gone: the next look at the socket says so.
        pass


class Keeper:
    """One command and everything it started."""

    def __init__(self, request: Request, stdin: int, errors: int) -> None:
        self.request = request
        self.stdin = stdin
        self.errors = errors
        self.status: int | None = None
        self.door = -1
        self.pid = self._fork()

    def _fork(self) -> int:
        door, self.door = os.pipe()
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if _prctl is not None:
                _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            # The keeper may have died before the signal was asked for.
            if os.getppid() != keeper:
                os._exit(125)
            os.close(self.door)
            tell(f"pid {os.getpid()}")
            self._wait_at(door)
        os.close(door)
        # The output ends when the command and its descendants are gone: no copy of it may stay here.
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(null, stream)
        if self.errors:
            os.close(self.errors)
        return pid

    def _wait_at(self, door: int) -> None:
        """In the child: execute nothing until told to."""
        request = self.request
        os.dup2(self.stdin or os.open(os.devnull, os.O_RDONLY), 0)
        if self.stdin:
            os.close(self.stdin)
        if self.errors:
            os.dup2(self.errors, 2)
            os.close(self.errors)
        # Python ignores these; everything else is as exec leaves it.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if os.read(door, 1) != b"!":
            os._exit(125)
        try:
            os.chdir(request.directory)
        except OSError as error:
            _say(f"cannot enter {os.fsdecode(request.directory)}: {error.strerror}")
            os._exit(126)
        try:
            os.execvpe(request.argv[0], request.argv, request.env | ALWAYS)
        except FileNotFoundError:
            program = request.argv[0]
            where = "was not found on PATH"
            if b"/" in program:
                where = "names an interpreter that does not exist" if os.path.exists(program) else "does not exist"
            _say(f"{os.fsdecode(program)}: {where}")
            os._exit(127)
        except OSError as error:
            _say(f"{os.fsdecode(request.argv[0])}: cannot be executed: {error.strerror}")
            os._exit(126)

    def reap(self) -> bool:
        """Collect what has ended; False when no child is left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)

    def signal_all(self, number: int) -> None:
        if self.status is None:
            signal_group(self.pid, number)
        for pid in children_of(os.getpid()):
            send_signal(pid, number)

    def wait_gone(self, seconds: float) -> bool:
        """Wait until nothing is left, but not longer."""
        end = time.monotonic() + seconds
        while self.reap():
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)
        return True

    def end(self, grace: float) -> None:
        """End everything: ask, wait, then kill until nothing is left."""
        if grace > 0:
            self.signal_all(signal.SIGTERM)
            self.signal_all(signal.SIGCONT)
            if self.wait_gone(grace):
                return
        # What dies leaves its children to us, so look again until there are none.
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            self.signal_all(signal.SIGKILL)
            if self.wait_gone(0.02):
                return

    def end_left_behind(self) -> None:
        """The command has ended: end what it left behind, and name it."""
        if not _LINUX:
            # Nothing tells us of orphans here: their process group is all we know.
            signal_group(self.pid, signal.SIGKILL)
        if self.wait_gone(SETTLE_S):
            return
        for words in children_of(os.getpid()).values():
            tell(f"left {words}")
        self.end(LEFT_GRACE_S)

    def serve(self) -> None:
        """Carry out what runner says until the command has ended or runner is gone."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noticed)
        pending = self.request.buffer
        while True:
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                self._obey(line.decode())
            self.reap()
            if self.status is not None:
                self.end_left_behind()
                tell(f"exit {self.status}")
                return
            # A second at most: no lost wake-up may keep a finished command waiting.
            ready, _, _ = select.select([CONTROL, wake], [], [], 1.0)
            if wake in ready:
                os.read(wake, 4096)
            if CONTROL in ready:
                data = os.read(CONTROL, 4096)
                if not data:
                    self.end(0)
                    return
                pending += data

    def _obey(self, line: str) -> None:
        if line == "go" and self.door >= 0:
            try:
                os.write(self.door, b"!")
            except OSError:
                # It was ended at the door.
                pass
            os.close(self.door)
            self.door = -1
        elif line.startswith("end "):
            self.end(float(line[4:]))


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(code: bytes) -> None:
    """Have the kernel refuse system calls to this process and all it starts. Ends it where that cannot be."""
    program = Program(len(code) // 8, code)
    if _prctl is not None:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if _prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) != 0:
            sys.exit("the kernel refuses a filter of system calls")


class Watch:
    """Looks at what all commands use together, while any runs. What the kernel can bound, it does."""

    def __init__(self, words: list[str]) -> None:
        said = [word.partition("=")[::2] for word in words]
        for name, _, value in (text.partition("=") for word, text in said if word == "set"):
            ALWAYS[os.fsencode(name)] = os.fsencode(value)
        for code in (bytes.fromhex(value) for name, value in said if name == "filter" and value):
            refuse(code)
        self.most = {name: int(value) for name, value in said if value.isdecimal() and name != "filter"}
        self.places = [value for name, value in said if name == "place"] if "max_disk" in self.most else []
        self.free = [_free(place) for place in self.places]
        self.pause: float | None = None
        for name, number in ("file_size", 1), ("cpu_s", 0), ("tasks", 6):  # RLIMIT_FSIZE, _CPU, _NPROC of Linux
            if _LINUX and name in self.most:
                resource.prlimit(0, number, (self.most[name], self.most[name]))

    def look(self) -> str:
        """What is used beyond the limits, "" when nothing is; rests when no command runs."""
        pids = _others() if os.getpid() == 1 else list(children_of(os.getpid()))
        if not pids:
            self.pause = None
            return ""
        processes, memory = self.most.get("processes", 1 << 30), self.most.get("memory", 1 << 60)
        if len(pids) > processes:  # too many to look at each
            return f"more than {processes} processes"
        threads, used = _used(pids)
        if threads > processes:
            return f"more than {processes} processes and threads"
        if used > memory:
            return f"{used >> 20} MiB of memory in use, {memory >> 20} allowed"
        for place, free in zip(self.places, self.free, strict=True):
            if free - _free(place) > self.most["max_disk"]:
                return f"the disk of {place} lost more than {self.most['max_disk'] >> 20} MiB"
        return ""


def _others() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and entry != "1"]


def _used(pids: list[int]) -> tuple[int, int]:
    """Threads, and bytes of memory of their own: what processes share counts nowhere."""
    threads = pages = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                threads += int(file.read().rpartition(b")")[2].split()[17])
            with open(f"/proc/{pid}/statm", "rb") as file:
                _, resident, shared, *_ = file.read().split()
        except OSError:
            continue  # it has ended
        pages += int(resident) - int(shared)
    return threads, pages * os.sysconf("SC_PAGE_SIZE")


def _free(place: str) -> int:
    try:
        found = os.statvfs(place)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _say(message: str) -> None:
    os.write(2, f"{message}\n".encode("utf-8", "replace"))


def _noticed(number: int, frame: object) -> None:
    """A child has ended; the wake-up descriptor carries the news. Without a handler it would not."""


def keep(control: int, output: int, stdin: int, errors: int) -> None:
    """Be the keeper of the command whose request comes over `control`."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # A command may have stopped this process, and runner have died since: then it must wake up and end all.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(control, CONTROL)
    os.close(control)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    tell(f"keeper {os.getpid()}")
    keeper = Keeper(Request(), stdin, errors)
    # Runner decides when this ends. Only after the fork: the command must heed them from its first moment.
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    keeper.serve()


def main() -> None:
    """Fork a keeper for every command that is asked for, until runner closes the socket."""
    if _prctl is not None:
        # What a killed keeper leaves must not look like a stranger's.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # the first process of a namespace takes everything in it along
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if os.getpid() == 1 else signal.SIGCONT, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers: their sockets say how it went
    requests = socket.socket(fileno=CONTROL)
    watch = Watch(sys.argv[1:])
    room = socket.CMSG_SPACE(4 * array("i").itemsize)
    while True:
        if watch.pause is not None and not select.select([CONTROL], [], [], watch.pause)[0]:
            if why := watch.look():
                tell(why)
                end_all()
                return
            continue
        asked, beside, _, _ = requests.recvmsg(1, room, _CLOEXEC)
        if not asked:
            return
        handles = array("i")
        for _, _, data in beside:
            handles.frombytes(data[: len(data) - len(data) % handles.itemsize])
        if os.fork() == 0:
            try:
                control, output, *rest = handles
                keep(control, output, rest[0] if asked in b"13" else 0, rest[-1] if asked in b"23" else 0)
            finally:
                os._exit(0)
        for handle in handles:
            os.close(handle)
        watch.pause = WATCH_S if watch.most else None


def end_all() -> None:
    """End every command at once; the first process of a namespace does it by its own end."""
    give_up = time.monotonic() + LEFT_GRACE_S
    while os.getpid() != 1 and (found := children_of(os.getpid())) and time.monotonic() < give_up:
        for pid in found:
            send_signal(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
