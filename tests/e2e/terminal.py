"""A terminal for tests: a process under a pty, and a screen that obeys what the live view may send and nothing else.

The screen wraps, scrolls and, when its width changes, breaks lines anew as common terminals do. Any order it does not
know fails the test: that is how nothing unexpected ever reaches a real terminal.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

_ORDER = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Screen:
    """Rows of cells, the cursor, and all that scrolled away. A wide character is followed by an empty cell."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows: list[list[str]] = [[]]
        self.joined = [False]  # whether a row goes on with the one above
        self.top = 0
        self.row = self.column = 0
        self.visible = True
        self.updating = False
        self.colours: set[str] = set()
        self._rest = ""

    # ---- what it shows -----------------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """The rows on the screen, as text."""
        shown = ["".join(row).rstrip() for row in self.rows[self.top :]]
        return shown + [""] * (self.height - len(shown))

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    @property
    def everything(self) -> str:
        """What scrolled away, too; rows that were one line are joined."""
        out = ""
        for row, joined in zip(self.rows, self.joined, strict=True):
            out += ("" if joined or not out else "\n") + "".join(row).rstrip()
        return out

    # ---- what it obeys -----------------------------------------------------------------------------------

    def feed(self, data: str) -> None:
        data = self._rest + data
        at = 0
        while at < len(data):
            if data[at] != "\x1b":
                self._put(data[at])
                at += 1
            elif (found := _ORDER.match(data, at)) is not None:
                self._obey(*found.groups())
                at = found.end()
            elif re.fullmatch(r"\x1b(?:\[\??[0-9;]*)?", data[at:]):
                break
            else:
                raise AssertionError(f"unknown to this terminal: {data[at : at + 20]!r}")
        self._rest = data[at:]

    def _obey(self, private: str, number: str, order: str) -> None:
        count = int(number) if number.isdecimal() else 1
        match private, order, number:
            case "", "A", _:
                self.row = max(self.top, self.row - count)
            case "", "B", _:
                self.row = min(self.top + self.height - 1, self.row + count)
                self._reach()
            case "", "K", "":
                self._erase_row()
            case "", "J", "":
                self._erase_row()
                del self.rows[self.row + 1 :], self.joined[self.row + 1 :]
            case "", "m", _:
                self.colours.add(number)
            case "?", "h" | "l", "25":
                self.visible = order == "h"
            case "?", "h" | "l", "2026":
                assert self.updating == (order == "l"), "one frame inside another"
                self.updating = order == "h"
            case _:
                raise AssertionError(f"unknown to this terminal: ESC [ {private}{number}{order}")

    def _erase_row(self) -> None:
        # in a terminal that waits to wrap, the cursor is on the last cell still
        del self.rows[self.row][min(self.column, self.width - 1) :]
        if self.row + 1 < len(self.joined):
            self.joined[self.row + 1] = False

    def _put(self, one: str) -> None:
        if one == "\r":
            self.column = 0
        elif one == "\n":
            self._down(joined=False)
        else:
            assert one.isprintable() or unicodedata.combining(one), f"raw control character {one!r}"
            size = _cells(one)
            if self.column + size > self.width:
                self._down(joined=True)
                self.column = 0
            row = self.rows[self.row]
            row += [" "] * (self.column + size - len(row))
            if size == 0 and self.column:
                row[self.column - 1] += one
            elif size:
                row[self.column : self.column + size] = [one, *[""] * (size - 1)]
            self.column += size

    def _down(self, *, joined: bool) -> None:
        self.row += 1
        self._reach()
        if joined:
            self.joined[self.row] = True
        self.top = max(self.top, self.row - self.height + 1)

    def _reach(self) -> None:
        while len(self.rows) <= self.row:
            self.rows.append([])
            self.joined.append(False)

    # ---- another size ------------------------------------------------------------------------------------

    def resize(self, width: int, height: int) -> None:
        """Break every line anew; the cursor stays with the text it stands on."""
        lines: list[list[str]] = []
        place = (0, 0)
        for index, (row, joined) in enumerate(zip(self.rows, self.joined, strict=True)):
            if not joined or not lines:
                lines.append([])
            if index == self.row:
                place = (len(lines) - 1, len(lines[-1]) + self.column)
            lines[-1] += row
        rows: list[list[str]] = []
        joined_rows: list[bool] = []
        for index, line in enumerate(lines):
            first = len(rows)
            at = 0
            while at < len(line) or at == 0:
                end = at + width
                if 0 < end < len(line) and line[end] == "" and end - 1 > at:
                    end -= 1  # a wide character stays whole
                rows.append(line[at:end])
                joined_rows.append(at > 0)
                at = max(end, at + 1)
            if index == place[0]:
                down = min(place[1] // width, len(rows) - first - 1)
                self.row, self.column = first + down, min(place[1] - down * width, width)
        self.rows, self.joined = rows, joined_rows
        self.width, self.height = width, height
        self.top = min(max(0, len(rows) - height), self.row)
        if self.row >= self.top + height:
            self.top = self.row - height + 1


class Terminal:
    """A process on a pty of its own, with a screen that shows what it wrote."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: dict[str, str], width: int = 80, height: int = 24
    ) -> None:
        self.screen = Screen(width, height)
        self.raw = b""
        self.frames: list[str] = []
        self._ended: int | None = None
        self.pid, self.file = pty.fork()
        if self.pid == 0:  # the child: nothing of pytest may go on in it
            try:
                self._size(0, width, height)
                os.chdir(cwd)
                os.execvpe(command[0], list(command), env)
            finally:
                os._exit(127)

    def resize(self, width: int, height: int) -> None:
        """Change the size; what was written before is read first, as a terminal would have shown it."""
        self._read(0)
        self.screen.resize(width, height)
        self._size(self.file, width, height)

    @staticmethod
    def _size(file: int, width: int, height: int) -> None:
        fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def keys(self, text: str) -> None:
        os.write(self.file, text.encode())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _read(self, timeout_s: float) -> bool:
        """Read what there is; False at the end."""
        wait = timeout_s
        while select.select([self.file], [], [], wait)[0]:
            wait = 0
            try:
                data = os.read(self.file, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.raw += data
            # a frame that ends in the middle of a character waits for its rest
            text = self.raw.decode("utf-8", "ignore")
            self.screen.feed(text[self._shown :])
            self._shown = len(text)
        return True

    _shown = 0

    def until(self, condition: Callable[[Screen], object], what: str, timeout_s: float = 60) -> Screen:
        """Look on until the screen is so. Never in the middle of a frame."""
        end = time.monotonic() + timeout_s
        while True:
            if not self.screen.updating and condition(self.screen):
                return self.screen
            alive = self._read(0.05)
            if not alive and not condition(self.screen):
                raise AssertionError(f"ended without {what}:\n{self.screen.everything}")
            assert time.monotonic() < end, f"never: {what}\n{self.screen.text}"

    def sees(self, *texts: str, timeout_s: float = 60) -> Screen:
        """Wait until all of these stand on the screen."""
        return self.until(lambda screen: all(one in screen.text for one in texts), repr(texts), timeout_s)

    def ends(self, timeout_s: float = 60) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        end = time.monotonic() + timeout_s
        while self._ended is None:
            assert time.monotonic() < end, f"never ended\n{self.screen.text}"
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = os.waitstatus_to_exitcode(status)
        while self._read(0.05):
            if not select.select([self.file], [], [], 0)[0]:
                break
        return self._ended

    def close(self) -> None:
        """End the process if it still lives."""
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.file)


def runner_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "runner", *words]
