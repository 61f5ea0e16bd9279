"""Characters that hide what a text says, and the shell's patterns written as plain text."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSEEN = re.compile(
    r"[\xa0\xad\u034f\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    r"\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def names(text: str) -> frozenset[str]:
    """The words of a list written as one text."""
    return frozenset(text.split())


def refused(text: str) -> str:
    """Why no text may hold what this one holds: "" or the control character, named."""
    found = _CONTROL.search(text)
    return f"the control character U+{ord(found.group()):04X}" if found else ""


def unseen(text: str) -> str:
    """The invisible, direction-changing or space-like character in a text, named; "" when it has none."""
    if text.isascii():
        return ""
    if found := _UNSEEN.search(text):
        char = found.group()
        return f"the unseen character U+{ord(char):04X} ({unicodedata.name(char, 'unnamed').lower()})"
    # Whatever the table forgets: formats, separators, private and unassigned characters.
    for char in text:
        if ord(char) > 0x7F and unicodedata.category(char) in ("Cf", "Zs", "Zl", "Zp", "Co", "Cn"):
            return f"the unseen character U+{ord(char):04X}"
    return ""


def without_unseen(text: str) -> str:
    """A text as it looks: unseen characters gone, spaces of other scripts as spaces, full-width letters as letters."""
    if text.isascii():
        return text
    spaced = "".join(" " if unicodedata.category(char) in ("Zs", "Zl", "Zp") else char for char in text)
    shown = "".join(char for char in spaced if unicodedata.category(char) not in ("Cf", "Mn", "Co", "Cn"))
    return unicodedata.normalize("NFKC", shown)


def escaped_glob(text: str) -> str:
    """A text as a pattern that matches only it."""
    return re.sub(r"([*?\[\]\\])", r"[\1]", text) if re.search(r"[*?\[\]\\]", text) else text
