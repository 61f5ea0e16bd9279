"""Glob patterns over `/`-separated relative paths."""

from __future__ import annotations

import re
from collections.abc import Callable


def matcher(glob: str) -> Callable[[str], bool]:
    """Whether a path matches: `*` and `?` within one component, `**` across them, `[…]` a set.

    A pattern without `/` is matched against the last component, as in .gitignore.
    """
    pattern = glob.removeprefix("./").lstrip("/")
    try:
        compiled = re.compile(_translate(pattern), re.DOTALL)
    except re.error:
        # An unclosed or empty set stands for itself.
        compiled = re.compile(re.escape(pattern))
    if "/" in pattern or pattern == "**":
        return lambda path: compiled.fullmatch(path) is not None
    return lambda path: compiled.fullmatch(path.rpartition("/")[2]) is not None


def _translate(pattern: str) -> str:
    result, rest = "", pattern
    while rest:
        if rest.startswith("**/"):
            result, rest = result + "(?:[^/]+/)*", rest.lstrip("*").removeprefix("/")
        elif rest.startswith("**"):
            result, rest = result + ".*", rest.lstrip("*")
        elif rest[0] == "*":
            result, rest = result + "[^/]*", rest[1:]
        elif rest[0] == "?":
            result, rest = result + "[^/]", rest[1:]
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            chosen = rest[1:end].replace("\\", r"\\").replace("[", r"\[")
            result += "[" + ("^" + chosen[1:] if chosen.startswith("!") else chosen) + "]"
            rest = rest[end + 1 :]
        else:
            result, rest = result + re.escape(rest[0]), rest[1:]
    return result
