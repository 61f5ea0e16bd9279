"""Rows that fit the terminal: what is too wide goes to a line of its own, or leaves its least column out."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

NARROW = 80
_LEAST = 40
_COMMON = 28


def width(stream: TextIO | None = None) -> int:
    """How wide the screen is; 80 where there is none, so that a file is the same everywhere."""
    if not (stream or sys.stdout).isatty():
        return NARROW
    return max(_LEAST, shutil.get_terminal_size((NARROW, 24)).columns)


def triples(rows: Sequence[tuple[str, str, str]], *, wide: int) -> list[str]:
    """Name, value and where it comes from, in columns; a value that is too long sends the rest to the next line."""
    first = max((len(name) for name, _, _ in rows), default=0)
    # one long path must not push everybody's values together
    last = max((len(place) for _, _, place in rows if len(place) <= _COMMON), default=0)
    room = max(12, min(max((len(value) for _, value, _ in rows), default=0), wide - first - last - 4))
    lines: list[str] = []
    for name, value, place in rows:
        begin = f"{name:<{first}}  "
        whole = f"{begin}{value:<{room}}  {place}".rstrip()
        if len(value) <= room and len(whole) <= wide:
            lines.append(whole)
        else:
            lines += [f"{begin}{value}".rstrip(), *([" " * len(begin) + place] if place else [])]
    return lines


def narrowed(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, wide: int, least: Iterable[str]
) -> tuple[list[str], list[list[str]]]:
    """Leave columns out, those named in `least` in turn, until what is left fits."""
    kept = list(range(len(head)))
    for name in (*least, None):
        widths = [max(len(row[index]) for row in (head, *rows)) for index in kept]
        if sum(widths) + 2 * (len(widths) - 1) <= wide or name is None:
            break
        kept = [index for index in kept if head[index] != name]
    return [head[index] for index in kept], [[row[index] for index in kept] for row in rows]


def wrapped(text: str, *, wide: int, indent: int) -> list[str]:
    """The text in lines of at most `wide`, those after the first set in by `indent`; a long word stays whole."""
    room = max(20, wide - indent)
    found = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [found[0], *(" " * indent + line for line in found[1:])]


def near(path: str, cwd: str | None = None) -> str:
    """A path as one writes it here: from the current directory, or from home, where it lies below one."""
    for base, sign in ((cwd if cwd is not None else _cwd(), ""), (os.environ.get("HOME", ""), "~/")):
        if base not in {"", "/"} and Path(path).is_relative_to(base) and path != base:
            return sign + str(Path(path).relative_to(base))
    return path


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""
