"""Rows of coloured text: fitted to a width, then painted, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.cli.lines import Tone
from runner.cli.live.cells import cells, clean, cut
from runner.cli.live.frame import Painted


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one tone. It is cleaned where it is made a row of."""

    text: str
    tone: Tone = Tone.PLAIN


def row(*spans: Span | str) -> tuple[Span, ...]:
    """A row of cleaned spans."""
    made = (Span(one) if isinstance(one, str) else one for one in spans)
    return tuple(Span(clean(one.text), one.tone) for one in made if one.text)


Row = tuple[Span, ...]


def width_of(spans: Row) -> int:
    """The cells a row takes."""
    return sum(cells(one.text) for one in spans)


def joined(parts: Sequence[Row], between: str = " · ") -> Row:
    """Parts with a faint mark between them; empty parts are left out."""
    out: list[Span] = []
    for part in parts:
        if part and out:
            out.append(Span(between, Tone.FAINT))
        out += part
    return tuple(out)


def fitting(variants: Sequence[Row], width: int) -> Row:
    """The first variant that fits; the last one, cut, when none does."""
    for one in variants:
        if width_of(one) <= width:
            return one
    return shortened(variants[-1], width)


def shortened(spans: Row, width: int) -> Row:
    """As many cells of a row as fit."""
    out: list[Span] = []
    left = width
    for one in spans:
        if left <= 0:
            break
        out.append(Span(cut(one.text, left), one.tone))
        left -= cells(out[-1].text)
        if out[-1].text != one.text:
            break
    return tuple(out)


def painted(spans: Row, *, colour: bool) -> Painted:
    """The row as a terminal takes it. Its text is cleaned: the only orders in it are ours."""
    count = width_of(spans)
    if not colour:
        return Painted("".join(one.text for one in spans).rstrip(), count)
    return Painted("".join(f"\x1b[{one.tone}m{one.text}\x1b[0m" if one.tone else one.text for one in spans), count)
