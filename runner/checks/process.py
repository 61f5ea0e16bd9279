"""Programs of a spec as processes that end: time-out, bounded output, and all that they started."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from runner.checks.results import Outcome
from runner.ports import Interrupt
from runner.sandbox.process import INTERRUPT_GRACE_S, Commands, Ended, Pace

KEPT_OUTPUT = 4 * 1024 * 1024
INTERRUPTED = "interrupted"
# Asked from where the service is: behind walls a port is not the machine's.
_KNOCK = """
import socket, sys, time
port, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while True:
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port), 0.5).close()
        except OSError:
            continue
        sys.exit(0)
    if time.monotonic() >= end:
        sys.exit(1)
    time.sleep(0.03)
"""


class _Tail:
    """The last KEPT_OUTPUT bytes of what was written."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self.cut = False

    def add(self, piece: bytes) -> None:
        with self._lock:
            self._pieces.append(piece)
            self._size += len(piece)
            while self._size - len(self._pieces[0]) > KEPT_OUTPUT:
                self._size -= len(self._pieces.popleft())
                self.cut = True

    def text(self) -> str:
        with self._lock:
            return b"".join(self._pieces).decode("utf-8", "replace")


class Program:
    """One command and everything it started: waited for with `run`, or kept running between `begin` and `stop`.

    With `split`, standard error is kept apart from the output.
    """

    def __init__(self, commands: Commands, argv: Sequence[str], *, cwd: Path, split: bool = False) -> None:
        self._command = commands.prepare(argv, cwd, split=split)
        self._output, self._errors = _Tail(), _Tail()
        self._thread: threading.Thread | None = None
        self.status: int | None = None

    @property
    def ended(self) -> bool:
        """Whether a program that was begun is over."""
        return self._thread is not None and not self._thread.is_alive()

    def run(self, *, timeout_s: float, interrupt: Interrupt) -> Outcome:
        """Wait for the end, at most `timeout_s` seconds or until `interrupt` fires; then end all that is left of it."""
        started = time.monotonic()
        with interrupt.calling(lambda: self._command.end(INTERRUPT_GRACE_S, INTERRUPTED)):
            self._command.go()
            ended = self._watch(Pace(total_s=timeout_s))
        left = len(ended.left)
        behind = f"left {left} process{'es' if left > 1 else ''} behind, ended" if left else ""
        return Outcome(
            exit_code=None if ended.why else ended.status,
            output=self._output.text(),
            errors=self._errors.text(),
            cut=self._output.cut,
            seconds=time.monotonic() - started,
            trouble=ended.why or behind,
        )

    def begin(self) -> None:
        """Let it run while other things are done."""
        self._command.go()
        self._thread = threading.Thread(target=self._watch, args=(Pace(),), daemon=True)
        self._thread.start()

    def _watch(self, pace: Pace) -> Ended:
        ended = self._command.run(self._output.add, pace, self._errors.add)
        self.status = ended.status
        return ended

    def stop(self, *, grace_s: float) -> None:
        """End a program that was begun, and all it started."""
        self._command.end(grace_s, "stopped")
        if self._thread is not None:
            self._thread.join()

    def printed(self) -> str:
        """What it has printed so far."""
        return self._output.text()


def knocking(port: int, seconds: float) -> tuple[str, ...]:
    """The command that ends with 0 as soon as something listens on this TCP port of loopback, else with 1."""
    return (sys.executable, "-I", "-S", "-c", _KNOCK, str(port), str(seconds))
