"""The log as a stream beside the file: the same JSON lines for a machine, columns for a person at a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TextIO

import msgspec

_SHOWN = 80


class _Line(msgspec.Struct):
    at: str
    kind: str
    body: dict[str, object]


def stream(to: TextIO) -> Callable[[str], object]:
    """Give what takes each line of a log. Colours respect NO_COLOR; a closed stream raises OSError from the call."""
    # structlog takes 40 ms to import: only who wants the stream pays
    import structlog

    logger = structlog.WriteLogger(to)
    if not to.isatty():

        def write(line: str) -> None:
            logger.msg(line.removesuffix("\n"))

        return write
    console = structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"), sort_keys=False)

    def show(line: str) -> None:
        told = msgspec.json.decode(line, type=_Line)
        cells = {name: _short(value) for name, value in told.body.items()}
        logger.msg(console(None, "", {"timestamp": told.at, "event": told.kind, **cells}))

    return show


def _short(value: object) -> str:
    """One cell: no line breaks, no control characters, not the whole of a long text."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    flat = "".join(letter if letter.isprintable() else " " for letter in text)
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…"
