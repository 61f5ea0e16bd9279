"""Errors and notices as text: what, where with the line there, what next. Imported once there is something to say."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from runner.errors import ConfigError, RunnerError
from runner.secrets import mask_patterns

_LARGEST = 2_000_000
_WIDTH = 96
_BEFORE = 48
_TAB = "    "
_MOST = 5
_BREAK = re.compile(r"\r\n|\n|\r")
_WORD = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,\[\]{}\"']+")
_INVISIBLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
_CODES = {"error": "1;31", "warning": "1;33", "note": "1;36", "bold": "1", "gutter": "1;34", "help": "36"}

Mask = Callable[[str], str]


def wants_colour(stream: int = 2) -> bool:
    """Whether a stream (1 or 2) shall be coloured: NO_COLOR says no, FORCE_COLOR yes, else a terminal that can."""
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return os.isatty(stream) and os.environ.get("TERM") != "dumb"


def error_text(error: RunnerError, *, mask: Mask = mask_patterns, coloured: bool = False) -> str:
    """The whole report of an error, without a line break at its end. Nothing in it can steer a terminal."""
    ink = _Ink(coloured)
    if not isinstance(error, ConfigError):
        return "\n".join(_plain("error", error.message, error.hint, mask, ink))
    every = (error, *error.more)
    parts = ["\n".join(_config(one, mask, ink)) for one in every[:_MOST]]
    if len(every) > _MOST:
        parts.append(ink("error", "error") + ink("bold", f": and {len(every) - _MOST} more like these"))
    return "\n\n".join(parts)


def notice_text(kind: str, text: str, hint: str = "", *, mask: Mask = mask_patterns, coloured: bool = False) -> str:
    """A `warning` or a `note` in the style of errors."""
    return "\n".join(_plain(kind, text, hint, mask, _Ink(coloured)))


def error_data(error: RunnerError, *, mask: Mask = mask_patterns) -> dict[str, object]:
    """An error as documented fields, for `--json`."""
    more: tuple[ConfigError, ...] = error.more if isinstance(error, ConfigError) else ()
    return {**_fields(error, mask), "exit_code": error.exit_code, "more": [_fields(one, mask) for one in more]}


def _fields(error: RunnerError, mask: Mask) -> dict[str, object]:
    place = (error.path, error.line, error.column) if isinstance(error, ConfigError) else (None, None, None)
    path, line, column = place
    return {
        "message": mask(error.message),
        "path": None if path is None else str(path),
        "line": line,
        "column": column,
        "hint": mask(error.hint),
    }


class _Ink:
    """Paints, or leaves as it is."""

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, kind: str, text: str) -> str:
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self._coloured else text


def _plain(kind: str, message: str, hint: str, mask: Mask, ink: _Ink) -> Iterator[str]:
    first, *rest = visible(mask(message)).split("\n")
    yield ink(kind, kind) + ink("bold", f": {first}")
    yield from (f"  {line}" for line in rest)
    for number, line in enumerate(visible(mask(hint)).splitlines()):
        yield f"  {ink('help', 'help')}: {line}" if number == 0 else f"        {line}".rstrip()


def _config(error: ConfigError, mask: Mask, ink: _Ink) -> Iterator[str]:
    if error.path is None:
        yield from _plain("error", error.message, error.hint, mask, ink)
        return
    quoted = list(_excerpt(error, mask, ink))
    gutter = " " * len(str(error.line or ""))
    place = ":".join(str(part) for part in (_near(error.path), error.line, error.column) if part is not None)
    yield from _plain("error", error.message, "", mask, ink)
    yield f" {gutter}{ink('gutter', '-->')} {visible(mask(place))}"
    yield from quoted
    for number, line in enumerate(visible(mask(error.hint)).splitlines()):
        mark = f"{gutter}  {ink('gutter', '=')} " if quoted else "  "
        room = f"{gutter}    " if quoted else "  "
        yield f"{mark}{ink('help', 'help')}: {line}" if number == 0 else f"{room}      {line}".rstrip()


def _excerpt(error: ConfigError, mask: Mask, ink: _Ink) -> Iterator[str]:
    """The line an error is at, and a mark under what is meant; nothing where it cannot be shown."""
    if error.path is None or error.line is None or not error.quotable:
        return
    if (found := _line(Path(error.path), error.line, mask)) is None or not found[0].strip():
        return
    raw, shown = found
    number = str(error.line)
    bar = ink("gutter", "|")
    begin = None if error.column is None else error.column - 1
    # where a key before the place was masked, its columns are others now
    if begin is not None and (begin > len(raw) or raw[:begin] != shown[:begin]):
        begin = None
    length = 1 if begin is None else _length(error.length, shown, begin)
    text, mark = _window(shown, begin, length)
    yield f" {' ' * len(number)} {bar}"
    yield f" {ink('gutter', number)} {bar} {text}".rstrip()
    if begin is not None:
        yield f" {' ' * len(number)} {bar} {mark[0]}{ink('error', mark[1])}"


def _length(known: int, line: str, begin: int) -> int:
    if known <= 0:
        found = _WORD.match(line, begin)
        known = len(found[0]) if found else 1
    return max(1, min(known, len(line.rstrip()) - begin))


def _window(line: str, begin: int | None, length: int) -> tuple[str, tuple[str, str]]:
    """The part of a line around its mark, and the mark (room before it, carets); long lines are cut with `…`."""
    start = 0
    if begin is not None and begin + min(length, _BEFORE) > _WIDTH:
        start = begin - _BEFORE
    end = start + _WIDTH
    lead = "…" if start else ""
    text = lead + _cells(line[start:end]) + ("…" if len(line) > end else "")
    if begin is None:
        return text, ("", "")
    room = _width(lead + _cells(line[start:begin]))
    return text, (" " * room, "^" * max(1, _width(_cells(line[begin : min(begin + length, end)]))))


def _cells(text: str) -> str:
    return visible(text.replace("\t", _TAB))


def _width(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def visible(text: str) -> str:
    """Text in which every character that steers a terminal, or hides, is shown as an escape; line breaks stay."""
    return _INVISIBLE.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _line(path: Path, number: int, mask: Mask) -> tuple[str, str] | None:
    """A line of a file as it is, and as it may be shown. None: gone, changed, binary, huge, or no file at all."""
    try:
        # a pipe must be refused, not waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError):
        return None
    if len(data) > _LARGEST or b"\0" in data:
        return None
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines, masked = _BREAK.split(text), _BREAK.split(mask(text))
    # a key of several lines that was masked moves the lines below it
    if len(lines) != len(masked) or not 0 < number <= len(lines):
        return None
    return lines[number - 1], masked[number - 1]


def _near(path: Path | str) -> str:
    """A path as short as it can be written from here, still one that a terminal can open."""
    text = str(path)
    try:
        return os.path.relpath(text) if Path(text).is_relative_to(Path.cwd()) else text
    except OSError:
        return text
