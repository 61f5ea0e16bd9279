"""The terminal itself: whether there is one fit for a live view, its size, its keys, and writing to it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from runner.cli.live.frame import Size

_OFF = frozenset({"", "0", "false", "no"})


def fit(environ: Mapping[str, str]) -> bool:
    """Whether standard output takes a live view: a terminal that can, and nobody who said otherwise."""
    return (
        sys.stdout.isatty()
        and environ.get("TERM", "") not in {"", "dumb"}
        and environ.get("CI", "").lower() in _OFF
        and environ.get("RUNNER_PLAIN", "").lower() in _OFF
        and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    )


def coloured(environ: Mapping[str, str]) -> bool:
    """FORCE_COLOR decides where it is set, else NO_COLOR (https://no-color.org)."""
    if forced := environ.get("FORCE_COLOR"):
        return forced.lower() not in _OFF
    return not environ.get("NO_COLOR")


@contextmanager
def ignored(number: signal.Signals) -> Generator[None]:
    """Pay a signal no heed while the block runs; in another thread than the main one, where none is heard, as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


class Terminal:
    """Standard output as a terminal, with the keys of standard input where that is the same terminal."""

    def __init__(self) -> None:
        self._keys: list[object] | None = None
        # between reading the modes and changing them nobody else may put them back: they would stay changed
        self._modes = threading.RLock()

    def size(self) -> Size:
        """How big it is now; 80 × 24 where it does not say."""
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(1)
            if found.columns and found.lines:
                return Size(found.columns, found.lines)
        return Size(80, 24)

    def ours(self) -> bool:
        """Whether it is this process's turn: not one in the background of a shell."""
        try:
            return os.tcgetpgrp(1) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal: nobody takes turns

    def write(self, text: str) -> None:
        """Write it whole. Raises OSError when the terminal is gone."""
        data = text.encode("utf-8", "replace")
        while data:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:  # another program on this terminal made it so
                select.select([], [1], [])

    def hush(self, *, keys: bool = False) -> None:
        """Typing no longer shows, which would tear the region; with `keys`, keys come as they are pressed."""
        with self._modes, contextlib.suppress(termios.error, OSError):
            if self._keys is not None or not sys.stdin.isatty() or not self.ours():
                return
            modes = termios.tcgetattr(0)
            self._keys = list(modes)
            modes[3] &= ~(termios.ECHO | (termios.ICANON if keys else 0))
            # else a Ctrl-C takes away what was written and not yet shown, perhaps the word that shows the cursor again
            modes[3] |= termios.NOFLSH
            termios.tcsetattr(0, termios.TCSANOW, modes)

    def key(self, timeout_s: float) -> str:
        """Wait so long for a key, after `hush(keys=True)`; "" when none came."""
        if self._keys is None or not self.ours():
            time.sleep(timeout_s)
            return ""
        ready, _, _ = select.select([0], [], [], timeout_s)
        if not ready:
            return ""
        pressed = os.read(0, 64)
        if not pressed:
            self.unhush()  # the terminal is gone: nobody will press a key any more
        return pressed.decode("utf-8", "replace")

    def unhush(self) -> None:
        """Typing shows again, as before."""
        with self._modes, contextlib.suppress(termios.error, OSError):
            keys, self._keys = self._keys, None
            if keys is not None and self.ours():
                # what tcgetattr gave
                termios.tcsetattr(0, termios.TCSANOW, keys)  # type: ignore[arg-type]
