"""Text as a terminal shows it: nothing in it steers the terminal, and its width is counted in cells."""

from __future__ import annotations

_TAB = "    "
_ELLIPSIS = "…"


def clean(text: str) -> str:
    """One line without anything a terminal obeys: control characters are shown, invisible ones are left out.

    What joins or turns characters (zero-width joiners, marks of direction) goes too: terminals disagree on its width.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(one) for one in text)


def _shown(one: str) -> str:
    if one.isprintable():
        # a variation selector is printable, and makes a character wider in some terminals only
        return "" if "\ufe00" <= one <= "\ufe0f" else one
    code = ord(one)
    match one:
        case "\t":
            return _TAB
        case "\n" | "\u2028" | "\u2029" | "\u00a0" | "\u202f" | "\u3000":
            return " "
        case _ if code < 32:
            return chr(0x2400 + code)
        case _ if code == 127:
            return "\u2421"
        case _ if code < 160 or 0xD800 <= code <= 0xDFFF:
            return "\ufffd"
        case _ if one.isspace():
            return " "
        case _:
            return ""


def cells(text: str) -> int:
    """How many cells a cleaned text takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(letter: str) -> int:
    if letter.isascii():
        return 1
    # only who shows more than ASCII needs the table
    from rich.cells import get_character_cell_size

    return get_character_cell_size(letter)


def cut(text: str, width: int) -> str:
    """A cleaned text in at most `width` cells; a cut one ends in an ellipsis."""
    if cells(text) <= width:
        return text
    if width <= 0:
        return ""
    return _head(text, width - 1).rstrip() + _ELLIPSIS


def cut_left(text: str, width: int) -> str:
    """As `cut`, but it is the beginning that goes."""
    if cells(text) <= width:
        return text
    if width <= 0:
        return ""
    return _ELLIPSIS + _head(text[::-1], width - 1)[::-1]


def _head(text: str, width: int) -> str:
    taken = 0
    for index, one in enumerate(text):
        taken += _cells_of(one)
        if taken > width:
            return text[:index]
    return text


def folded(text: str, width: int, rows: int) -> list[str]:
    """The last `rows` rows of a cleaned line that is broken at spaces where it can be, each at most `width` cells."""
    found: list[str] = []
    row = ""
    for word in text.split():
        part = word
        if row and cells(row) + 1 + cells(part) <= width:
            row = f"{row} {part}"
            continue
        if row:
            found.append(row)
        while cells(part) > width > 1:
            head = _head(part, width)
            found.append(head)
            part = part[len(head) :]
        row = part
    return [*found, row][-rows:] if row else found[-rows:]
