"""`--help` on a terminal: usage, examples, what it does, and options by group, as wide as the terminal is."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from runner.cli.pages import Page

_NARROWEST = 40
# Longer lines are hard to read, however wide the terminal is.
_WIDEST = 100
_LEFT = 26


def rendered(page: Page) -> str:
    """The help of a command as text."""
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns - 1, _WIDEST))
    return "\n".join(_lines(page, width)).rstrip()


def _lines(page: Page, width: int) -> Iterator[str]:
    yield from _wrapped(page.usage, width, first="Usage: ", rest=" " * 8)
    yield ""
    if page.examples:
        yield "Examples:"
        short = max(len(one.command) for one in page.examples)
        for one in page.examples:
            yield from _two(one.command, one.about, width, left=short + 4) if one.about else [f"  {one.command}"]
        yield ""
    for text in (page.line, *page.text):
        yield from _wrapped(text, width)
        yield ""
    if page.arguments:
        yield from _sections([("Arguments", [(one.shown, one.about) for one in page.arguments])], width)
    yield from _sections(page.commands, width)
    yield from _sections([(name, [(one.shown, one.about) for one in every]) for name, every in page.panels], width)
    if page.codes:
        yield from _sections([("Exit codes", page.codes)], width)


def _sections(sections: Sequence[tuple[str, Sequence[tuple[str, str]]]], width: int) -> Iterator[str]:
    """Lists under their names, the second column of all beginning at one place."""
    lengths = [len(term) + 4 for _, rows in sections for term, _ in rows]
    left = max((one for one in lengths if one <= _LEFT), default=_LEFT)
    for name, rows in sections:
        yield f"{name}:"
        for term, about in rows:
            yield from _two(term, about, width, left=left)
        yield ""


def _two(one: str, about: str, width: int, *, left: int) -> Iterator[str]:
    """A term and what it means beside it, below it where the term or the terminal leaves too little room."""
    left = left if left <= width - 20 else 6
    lead = f"  {one}"
    if len(lead) + 2 > left:
        yield lead
        lead = ""
    yield from _wrapped(about, width, first=lead.ljust(left), rest=" " * left)


def _wrapped(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]
