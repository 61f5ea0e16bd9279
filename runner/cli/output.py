"""Results on standard output: lines for people, JSON for machines, nothing that looks like a key in either."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO, cast

from runner.secrets import mask_patterns

# a carriage return, a bell, the begin of an escape sequence: orders to a terminal, and colours are no exception here
_ORDERS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | dict.fromkeys(
    # and what lets a text be read in another order than it stands
    (*range(127, 160), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
    0xFFFD,
)
_OUR_COLOUR = re.compile("(\x1b\\[[0-9;]*m)")


def say(*lines: str, coloured: bool = False) -> None:
    """Print lines, masked. Nothing in them can give a terminal orders; `coloured` lets colours through."""
    for line in lines:
        sys.stdout.write(harmless(mask_patterns(line), sys.stdout, coloured=coloured) + "\n")


def harmless(text: str, stream: TextIO, *, coloured: bool = False) -> str:
    """Text as it is for a file or a pipe; on a terminal, characters that steer it are shown instead of obeyed."""
    if not stream.isatty():
        return text
    if not coloured:
        return text.translate(_ORDERS)
    parts = _OUR_COLOUR.split(text)
    return "".join(part if index % 2 else part.translate(_ORDERS) for index, part in enumerate(parts))


def document(value: object) -> None:
    """Print one JSON document, every text in it masked."""
    sys.stdout.write(json.dumps(_masked(value), indent=2, ensure_ascii=False) + "\n")


def _masked(value: object) -> object:
    # each text alone: a pattern must not run on into the next field
    match value:
        case str():
            return mask_patterns(value)
        case list() | tuple():
            # whatever it holds is looked at one by one
            return [_masked(one) for one in cast("Sequence[object]", value)]
        case dict():
            # as above
            return {str(name): _masked(one) for name, one in cast("dict[object, object]", value).items()}
        case _:
            return value


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print columns as wide as their widest cell; those in `right` are set to the right."""
    body = [tuple(harmless(mask_patterns(cell), sys.stdout) for cell in row) for row in rows]
    widths = [max(len(row[index]) for row in (tuple(head), *body)) for index in range(len(head))]
    for row in (tuple(head), *body):
        cells = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def age(milliseconds: int) -> str:
    """How long ago, in the largest unit that fits: `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0, milliseconds // 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def when(at: int) -> str:
    """A moment in this machine's time zone, to the second: `2026-11-22 18:17:05 UTC`."""
    import datetime as dt

    return dt.datetime.fromtimestamp(at / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
