"""Asks whoever sits at this terminal. The answer is read from the terminal itself, whatever standard input is."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass

from runner.app import identity, rendering
from runner.app.clock import SystemClock
from runner.app.signals import Terminal
from runner.events.facts import ApprovalRequested
from runner.values import Vote

_SLICE_S = 0.2
_HELP = "y yes, once · o yes, once · r yes, for this run · n no · f show facts"
_ANSWERS = {"y": "once", "yes": "once", "o": "once", "once": "once", "r": "run", "run": "run"}


@dataclass(frozen=True, slots=True)
class TerminalApprover:
    """Implements `ports.Approver`. `screen` draws on the same terminal and is asked to let go of it meanwhile."""

    screen: Terminal | None
    mask: Callable[[str], str]

    def ask(self, asked: ApprovalRequested, over: Callable[[], bool]) -> Vote | None:
        """Show the request and read a line; None where the terminal is gone, or `over` says so."""
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        if self.screen is not None:
            self.screen.pause()
        try:
            return self._answer(tty, asked, over)
        except (OSError, termios.error):
            return None  # it hung up
        finally:
            os.close(tty)
            if self.screen is not None:
                self.screen.go_on()

    def _answer(self, tty: int, asked: ApprovalRequested, over: Callable[[], bool]) -> Vote | None:
        run_too = all("run" in gate.remember for gate in asked.gates)
        keys = _HELP if run_too else _HELP.replace(" · r yes, for this run", "")
        self._write(tty, "", *rendering.page(asked, missing="", now=SystemClock().now()), f"  {keys}")
        # what was typed before the question is no answer to it
        termios.tcflush(tty, termios.TCIFLUSH)
        while True:
            os.write(tty, b"  run it? [y/n/o/r/f] " if run_too else b"  run it? [y/n/o/f] ")
            line = _line(tty, over)
            if line is None:
                self._write(tty, "")
                return None
            word = line.strip().lower()
            if word in {"f", "facts"}:
                self._write(tty, *rendering.facts(asked))
            elif word in {"n", "no"}:
                return _vote(approve=False)
            elif (scope := _ANSWERS.get(word)) is not None and (run_too or scope == "once"):
                return _vote(approve=True, scope=scope)
            else:
                self._write(tty, f"  {keys}")

    def _write(self, tty: int, *lines: str) -> None:
        left = "".join(f"{self.mask(line)}\n" for line in lines).encode("utf-8", "replace")
        while left:
            left = left[os.write(tty, left) :]


def at_terminal(screen: Terminal | None, mask: Callable[[str], str]) -> TerminalApprover | None:
    """Somebody to ask, where this process has a terminal that its messages are seen on; None elsewhere."""
    if not sys.stderr.isatty():
        return None
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
    return TerminalApprover(screen, mask)


def _line(tty: int, over: Callable[[], bool]) -> str | None:
    """The next line; None at its end or when it is too late. In the background it waits until it is in front."""
    while not over():
        if os.tcgetpgrp(tty) != os.getpgrp():
            time.sleep(_SLICE_S)
        elif select.select([tty], [], [], _SLICE_S)[0]:
            data = os.read(tty, 4096)
            return data.decode("utf-8", "replace") if data else None
    return None


def _vote(*, approve: bool, scope: str = "once") -> Vote:
    return Vote(by=identity.user(), approve=approve, identity="terminal", uid=os.getuid(), own=True, scope=scope)
