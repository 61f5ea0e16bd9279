"""Attempts on other processes, and on what all processes share."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.sandbox.scene import Scene, attempt

_X86 = os.uname().machine == "x86_64"
_PTRACE, _READV, _KEYCTL, _PIDFD_GETFD = (101, 310, 250, 438) if _X86 else (117, 270, 219, 438)
_PTRACE_ATTACH, _KEYCTL_READ = 16, 11
SETTING = Path("/proc/sys/kernel/core_pattern")
"""Names the program that the kernel starts, as root and outside of every wall, when a process crashes."""
BOMB, BYTES = 400, 32 << 20
HOLD_S = 1.5
"""How long what was taken is kept: whoever watches looks four times a second, on a machine that is busy."""


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X", "T", "t"}
    except OSError:
        return False


def _hurt(name: str) -> Callable[[Scene, str], bool]:
    def look(scene: Scene, _: str) -> bool:
        end = time.monotonic() + 0.2
        while alive(scene.others[name]) and time.monotonic() < end:
            time.sleep(0.01)
        return not alive(scene.others[name])

    return look


def _mark(scene: Scene) -> str:
    """How many seconds processes of these attempts sleep, by which they are known: each scene's are its own."""
    return f"7353.{int(scene.name, 16)}"


def survivors(scene: Scene) -> list[int]:
    """Processes that an attempt left running."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and _mark(scene).encode() in (entry / "cmdline").read_bytes()
                and alive(int(entry.name))
            ):
                found.append(int(entry.name))
    return found


@attempt("kills another process", _hurt("kill"))
def kill_process(scene: Scene) -> None:
    os.kill(scene.others["kill"], signal.SIGKILL)


@attempt("stops another process", _hurt("stop"))
def stop_process(scene: Scene) -> None:
    os.kill(scene.others["stop"], signal.SIGSTOP)


@attempt("kills another process through a descriptor of it", _hurt("descriptor"))
def kill_by_descriptor(scene: Scene) -> None:
    signal.pidfd_send_signal(os.pidfd_open(scene.others["descriptor"]), signal.SIGKILL)


@attempt("has the kernel signal another process when a pipe is written to", _hurt("owner"))
def kill_by_owner_of_pipe(scene: Scene) -> None:
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, scene.others["owner"])
    fcntl.fcntl(read, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC)
    os.write(write, b"x")


@attempt("lowers another process's limits", _hurt("limits"))
def limit_process(scene: Scene) -> None:
    # it wakes up now and then, and so much CPU it has used already
    resource.prlimit(scene.others["limits"], resource.RLIMIT_CPU, (0, 0))


@attempt("slows another process down", lambda scene, _: os.getpriority(os.PRIO_PROCESS, scene.others["priority"]) > 10)
def slow_process(scene: Scene) -> None:
    os.setpriority(os.PRIO_PROCESS, scene.others["priority"], 19)


@attempt("takes hold of another process as a debugger", lambda _, printed: "attached" in printed)
def trace_process(scene: Scene) -> str:
    libc = ctypes.CDLL(None)
    return "attached" if libc.syscall(_PTRACE, _PTRACE_ATTACH, scene.others["traced"], 0, 0) == 0 else ""


@attempt("reads another process's memory by system call")
def read_memory(scene: Scene) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    for start, end in _maps(scene.victim):
        room = ctypes.create_string_buffer(end - start)
        ours = struct.pack("QQ", ctypes.addressof(room), end - start)
        theirs = struct.pack("QQ", start, end - start)
        if libc.syscall(_READV, scene.victim, ours, 1, theirs, 1, 0) > 0 and scene.secret.encode() in room.raw:
            return scene.secret
    return ""


def _maps(pid: int) -> list[tuple[int, int]]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "[heap]" in line or "[stack]" in line]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]


@attempt("reads another process's memory by /proc")
def read_memory_file(scene: Scene) -> str:
    with Path(f"/proc/{scene.victim}/mem").open("rb") as file:
        for start, end in _maps(scene.victim):
            file.seek(start)
            if scene.secret.encode() in file.read(end - start):
                return scene.secret
    return ""


@attempt("reads another process's environment")
def read_environment(scene: Scene) -> str:
    return Path(f"/proc/{scene.victim}/environ").read_text()


@attempt("reads another process's command line")
def read_command_line(scene: Scene) -> str:
    return Path(f"/proc/{scene.victim}/cmdline").read_text()


@attempt("reads a file that another process has open")
def read_open_file(scene: Scene) -> str:
    found = ""
    for number in range(3, 8):
        with contextlib.suppress(OSError):
            found += Path(f"/proc/{scene.victim}/fd/{number}").read_text()
    return found


@attempt("takes over a file that another process has open")
def take_descriptor(scene: Scene) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(scene.victim)
    for number in range(3, 8):
        taken = libc.syscall(_PIDFD_GETFD, process, number, 0)
        if taken >= 0:
            return os.pread(taken, 100, 0).decode()
    return ""


@attempt("lists the directory that another process works in", lambda _, printed: "listed-name" in printed)
def list_working_directory(scene: Scene) -> str:
    return " ".join(entry.name for entry in Path(f"/proc/{scene.victim}/cwd").iterdir())


@attempt("reads shared memory of another process (System V)")
def read_shared_segment(scene: Scene) -> str:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    place: int | None = libc.shmat(scene.shared, None, 0o10000)
    return "" if place in {None, ctypes.c_void_p(-1).value} else ctypes.string_at(place or 0).decode()


@attempt("reads shared memory of another process (a file in /dev/shm)")
def read_shared_file(scene: Scene) -> str:
    return Path("/dev/shm", scene.name).read_text()


@attempt("reads a key that the kernel keeps for the user")
def read_kernel_key(scene: Scene) -> str:
    room = ctypes.create_string_buffer(200)
    size = ctypes.CDLL(None).syscall(_KEYCTL, _KEYCTL_READ, scene.key, room, 200)
    return room.raw[: max(0, size)].decode()


@attempt("changes a setting of the kernel", lambda _, printed: "changed" in printed)
def change_kernel(_: Scene) -> str:
    # to what it is
    SETTING.write_text(SETTING.read_text())
    return "changed"


@attempt("writes on a terminal of the user", lambda _, printed: "wrote" in printed)
def write_on_terminal(scene: Scene) -> str:
    with contextlib.closing(os.fdopen(os.open(scene.terminal, os.O_WRONLY | os.O_NOCTTY), "w")) as file:
        file.write("mine\n")
    return "wrote"


# ---- outliving, and taking all ---------------------------------------------------------------------------


def _outlived(scene: Scene, printed: str) -> bool:
    assert "begun" in printed, printed
    end = time.monotonic() + 1
    while (found := survivors(scene)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _leave(*words: str) -> None:
    """Start a program that nothing connects with what started it: no session, parent, environment or open file."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            os.execve(words[0], words, {})
        os._exit(0)
    os.wait()


@attempt("outlives its command in a session of its own", _outlived)
def outlive_command(scene: Scene) -> None:
    _leave("/bin/sleep", _mark(scene))
    print("begun", flush=True)


@attempt("outlives everything by killing what watches it", _outlived)
def outlive_keepers(scene: Scene) -> None:
    _leave("/bin/sleep", _mark(scene))
    watching: list[str] = []
    pid = os.getppid()
    # upwards, and never further than what was started for these attempts
    while pid > 1 and b"/sandbox/" in Path(f"/proc/{pid}/cmdline").read_bytes():
        watching.append(str(pid))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    print("begun", flush=True)
    _leave("/bin/sh", "-c", f"sleep 0.5; kill -9 {' '.join(reversed(watching))}")
    time.sleep(5)


@attempt("starts more processes than it may", lambda _, printed: f"started {BOMB}" in printed)
def bomb(_: Scene) -> str:
    started = 0
    try:
        for _number in range(BOMB):
            if os.fork() == 0:
                time.sleep(HOLD_S + 1)
                os._exit(0)
            started += 1
    except OSError as error:
        assert error.errno == errno.EAGAIN  # noqa: PT017 - no test of its own
    time.sleep(HOLD_S)
    return f"started {started}"


@attempt("writes a file larger than it may", lambda _, printed: "wrote all" in printed)
def huge_file(scene: Scene) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with (scene.workspace / "huge").open("wb") as file:
            for _ in range(BYTES >> 20):
                file.write(bytes(1 << 20))
    finally:
        (scene.workspace / "huge").unlink()
    return "wrote all"


@attempt("fills the disk", lambda _, printed: "wrote all" in printed)
def fill_disk(scene: Scene) -> str:
    files = [scene.workspace / f"part-{number}" for number in range(BYTES >> 22)]
    for file in files:
        file.write_bytes(os.urandom(1 << 22))
        time.sleep(0.06)
    time.sleep(HOLD_S)
    for file in files:
        file.unlink()
    return "wrote all"


@attempt("takes more memory than it may", lambda _, printed: "took all" in printed)
def take_memory(_: Scene) -> str:
    # in several processes: together is what counts
    parts = [
        subprocess.Popen([sys.executable, "-ISc", f"import time; x = b'1' * {BYTES}; time.sleep({HOLD_S})"])
        for _ in range(2)
    ]
    return "took all" if all(part.wait() == 0 for part in parts) else ""
