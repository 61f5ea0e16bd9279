"""Asks whoever sits at this terminal whether a run may go without a sandbox."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Callable

_WORDS = frozenset({"y", "yes"})


def at_terminal(*, unattended: bool) -> Callable[[str], bool] | None:
    """What asks a question and hears yes or no; None where nobody is there to be asked."""
    return None if unattended or not (sys.stdin.isatty() and sys.stderr.isatty()) else _ask


def _ask(question: str) -> bool:
    """True for an explicit yes; everything else, the end of input and a terminal that hung up included, is a no."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(terminal, "r", encoding="utf-8", errors="replace", closefd=True) as answers:
        try:
            # what was typed before the question is no answer to it
            termios.tcflush(terminal, termios.TCIFLUSH)
            os.write(terminal, f"{question}\nGo on without one, for this run? [y/N] ".encode())
            return answers.readline(100).strip().lower() in _WORDS
        except (OSError, termios.error):
            return False
