"""A stream of server-sent events, as far as model providers use it: each event's data is one JSON value.

Source: the HTML standard, "server-sent events". Read here, and not by an SDK, because an SDK's reader costs more than
all else between two tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from runner.models.fields import GarbledError

_END = b"[DONE]"


def values(pieces: Iterable[bytes]) -> Iterator[object]:
    """The JSON value of each event in order, up to `[DONE]` or the end. Raises GarbledError when one is no JSON.

    `pieces` are the bytes of the body as they come, cut anywhere.
    """
    for data in data_of(pieces):
        if data.startswith(_END):
            return
        try:
            yield msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield _leniently(data)


def _leniently(data: bytes) -> object:
    """What only Python's own reader takes: half of a character, whose other half comes with the next event."""
    try:
        found: object = json.loads(data.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise GarbledError("a piece of the stream is not JSON") from error
    return found


def _no_number(name: str) -> object:
    """NaN and its like are not JSON, whatever Python's reader takes."""
    raise ValueError(name)


def data_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each event that has some: its `data` lines joined by line ends. One the stream breaks off is none."""
    parts: list[bytes] = []
    for line in _lines(pieces):
        if not line:
            if parts:
                yield b"\n".join(parts)
                parts = []
        elif line.startswith(b"data:"):
            parts.append(line[6:] if line.startswith(b" ", 5) else line[5:])


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    r"""Whole lines, which end in `\n`, `\r\n` or `\r`; a byte order mark before the first is no part of it."""
    rest, first = b"", True
    more: list[bytes] = []
    for piece in pieces:
        if not first and not rest.endswith(b"\r") and b"\n" not in piece and b"\r" not in piece:
            more.append(piece)  # a long line is put together once, not with every piece of it
            continue
        text = b"".join((rest, *more, piece))
        more.clear()
        if first and len(text) >= 3:
            text, first = text.removeprefix(b"\xef\xbb\xbf"), False
        # a `\r` at the very end may be half of a `\r\n`
        held = text.endswith(b"\r")
        lines = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop() + (b"\r" if held else b"")
        yield from lines
    if rest.endswith(b"\r"):
        yield rest[:-1]
