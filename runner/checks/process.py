"""Programs of a spec as processes that end: own session, parent-death signal, time-out, bounded output."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from runner.checks.results import Outcome
from runner.ports import Interrupt

MARK = "RUNNER_CHECK"
KEPT_OUTPUT = 4 * 1024 * 1024

_TICK_S = 0.02
# Runs in between so that no Python code runs after fork in a process with threads. Signal 9 reaches the program
# when the thread that started it ends; a parent that died before the request is noticed by its changed id.
_DOORMAN = """
import os, sys
parent, argv = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(137)
try:
    os.execvp(argv[0], argv)
except FileNotFoundError:
    sys.stderr.write(f"no such program: {argv[0]}\\n")
    sys.exit(127)
except OSError as error:
    sys.stderr.write(f"{argv[0]} cannot be run: {error.strerror}\\n")
    sys.exit(126)
"""


class _Drain:
    """Reads a pipe to its end in a thread and keeps only the last KEPT_OUTPUT bytes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self.cut = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            while piece := os.read(self._pipe.fileno(), 65_536):
                with self._lock:
                    self._pieces.append(piece)
                    self._size += len(piece)
                    while self._size - len(self._pieces[0]) > KEPT_OUTPUT:
                        self._size -= len(self._pieces.popleft())
                        self.cut = True

    def text(self, *, wait_s: float = 0.0) -> str:
        self._thread.join(wait_s)
        with self._lock:
            return b"".join(self._pieces).decode("utf-8", "replace")


class Program:
    """One running command and everything it started. `mark` begins the environment mark of no other running one."""

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], mark: str, split: bool = False
    ) -> None:
        self._mark = mark
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _DOORMAN, str(os.getpid()), *argv],
            cwd=cwd,
            env={**env, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if split else subprocess.STDOUT,
            start_new_session=True,
        )
        if self._process.stdout is None:  # for the type alone: the pipe was asked for
            raise RuntimeError
        self._output = _Drain(self._process.stdout)
        self._errors = _Drain(self._process.stderr) if self._process.stderr is not None else None

    @property
    def ended(self) -> bool:
        """Whether the command itself is over. It is not reaped: its group id cannot be given to anybody else yet."""
        if self._process.returncode is not None:
            return True
        if sys.platform == "darwin":  # has no waitid before Python 3.13
            return self._process.poll() is not None
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def run(self, *, timeout_s: float, interrupt: Interrupt) -> Outcome:
        """Wait for the end, at most `timeout_s` seconds or until `interrupt` fires; then end all that is left of it."""
        started = time.monotonic()
        trouble = ""
        while not self.ended:
            if interrupt.wait(_TICK_S):
                trouble = "interrupted"
                break
            if time.monotonic() - started > timeout_s:
                trouble = f"timed out after {timeout_s:g} s"
                break
        seconds = time.monotonic() - started
        left = self.stop(grace_s=0.0)
        if left and not trouble:
            trouble = f"left {left} process{'es' if left > 1 else ''} behind, ended"
        return Outcome(
            exit_code=None if trouble.startswith(("interrupted", "timed out")) else self._process.returncode,
            output=self._output.text(wait_s=2.0),
            errors=self._errors.text(wait_s=2.0) if self._errors is not None else "",
            cut=self._output.cut,
            seconds=seconds,
            trouble=trouble,
        )

    def stop(self, *, grace_s: float) -> int:
        """End the command, its group and its strays; say how many other processes than the command there were."""
        end = time.monotonic() + grace_s
        if grace_s > 0:
            self._signal(signal.SIGTERM)
        while time.monotonic() < end and not self.ended:
            time.sleep(_TICK_S)
        left = [pid for pid in marked(self._mark) if pid != self._process.pid]
        self._signal(signal.SIGKILL)
        end_marked(self._mark)
        self._process.wait()
        return len(left)

    def printed(self) -> str:
        """What it has printed so far."""
        return self._output.text()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None or sys.platform == "darwin":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def marked(mark: str) -> list[int]:
    """Live processes whose mark begins with `mark` (Linux; elsewhere nobody is found)."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                # Gone meanwhile, or somebody else's.
                with contextlib.suppress(OSError):
                    variables = Path(entry.path, "environ").read_bytes().split(b"\0")
                    if any(variable.startswith(wanted) for variable in variables) and _lives(entry.path):
                        found.append(int(entry.name))
    return found


def end_marked(mark: str) -> None:
    """Kill every process that carries `mark`, also those that were being forked meanwhile."""
    for _ in range(20):
        found = marked(mark)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def answers(port: int) -> bool:
    """Whether something listens on this TCP port of loopback."""
    for host in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
            return True
    return False


def _lives(process: str) -> bool:
    state = Path(process, "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    return bool(state) and state[0] not in {"Z", "X"}
