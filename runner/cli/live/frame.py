"""The writer of frames: rows in, the bytes that bring a terminal from the last frame to this one out.

The cursor rests, hidden, at the beginning of the region's first row. A terminal whose width changes breaks rows anew
and keeps the cursor at the beginning of the same row: everything below it is ours, however many rows it takes by now,
and everything above it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_REST_OF_ROW, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's, in cells."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Painted:
    """A line with its colours, and the cells it takes."""

    text: str
    cells: int


class Frame:
    """One region at the bottom of what was printed. Each answer is to be written at once, as one piece."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self._size: Size | None = None
        self._hidden = False

    @property
    def shown(self) -> bool:
        """Whether there is a region on the terminal now."""
        return self._hidden

    def update(self, rows: Sequence[str], size: Size, printed: Sequence[Painted] = ()) -> str:
        """Print lines for good, above, and make the region these rows; "" when nothing changed.

        Every row takes fewer cells than the terminal is wide, and there are fewer of them than it is high.
        """
        changed = size != self._size
        if printed or changed or len(rows) != len(self._rows):
            body = self._anew(rows, printed, wipe=changed or any(one.cells >= size.width for one in printed))
        else:
            body = self._differing(rows)
        self._rows, self._size = list(rows), size
        if not body:
            return ""
        hide = "" if self._hidden else _HIDE
        self._hidden = True
        return f"{_BEGIN}{hide}{body}{_END}"

    def _anew(self, rows: Sequence[str], printed: Sequence[Painted], *, wipe: bool) -> str:
        if wipe or not rows:
            # a line that fills its row would lose its last character to an erasing that follows it
            lines = "".join(f"{one.text}\r\n" for one in printed)
            erased = _REST_OF_SCREEN if self._rows or self._size is not None else ""
        else:
            lines = "".join(f"{one.text}{_REST_OF_ROW}\r\n" for one in printed)
            erased = ""
        region = f"{_REST_OF_ROW}\r\n".join(rows) + (_REST_OF_SCREEN if rows else "")
        up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        return f"\r{erased}{lines}{region}{up}\r" if erased or lines or region else ""

    def _differing(self, rows: Sequence[str]) -> str:
        out: list[str] = []
        at = 0
        for index, (old, new) in enumerate(zip(self._rows, rows, strict=True)):
            if old != new:
                down = f"\x1b[{index - at}B" if index > at else ""
                out.append(f"{down}\r{new}{_REST_OF_ROW}")
                at = index
        if out:
            out.append((f"\x1b[{at}A" if at else "") + "\r")
        return "".join(out)

    def clear(self) -> str:
        """Take the region away and give the cursor back; the next `update` begins where it was."""
        had = self._rows or self._hidden
        self._rows, self._size, self._hidden = [], None, False
        return f"{_BEGIN}\r{_REST_OF_SCREEN}{_SHOW}{_END}" if had else ""
