"""Patterns of rules, compiled so that no text, however hostile, makes matching slow: globs, words, RE2."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache
from typing import TypeAlias

Test: TypeAlias = Callable[[str], bool]

_SPECIAL = re.compile(r"[*?\[]")


def nfc(text: str) -> str:
    """`text` in the form in which paths are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_literal(pattern: str) -> bool:
    """Whether a pattern matches itself and nothing else."""
    return _SPECIAL.search(pattern) is None


# one policy says the same word in many rules
@lru_cache(maxsize=4096)
def word(pattern: str) -> Test:
    """Whether a word matches: `*` and `?` stand for anything, `/` included, `[…]` for a set."""
    if is_literal(pattern):
        return pattern.__eq__
    if pattern == "*":
        return lambda _: True
    # fnmatch's translation backtracks nowhere: each star takes the first place that fits
    compiled = re.compile(translate(pattern))
    return lambda text: compiled.match(text) is not None


@lru_cache(maxsize=4096)
def path(glob: str, home: str) -> Test:
    """Whether a path matches: `*` within one component, `**` any number of them, a leading `~` the home directory.

    Paths inside the workspace are compared as relative ones, others as absolute ones. A home directory is `home`, and
    wherever else people have theirs.
    """
    pattern = nfc(glob).removeprefix("./")
    if pattern == "~" or pattern.startswith("~/"):
        homes = ("~", home.rstrip("/"), "/root", "/home/*", "/Users/*")
        tests = [_components(one + pattern[1:]) for one in dict.fromkeys(homes) if one]
        return lambda text: any(test(text) for test in tests)
    return _components(pattern)


def _components(pattern: str) -> Test:
    parts = pattern.split("/")
    if is_literal(pattern):
        return pattern.__eq__
    if parts[-1] == "**" and is_literal(base := "/".join(parts[:-1])):
        return lambda text: text == base or text.startswith(f"{base}/")
    if parts[0] == "**" and "**" not in parts[1:]:
        last = [word(part) for part in parts[1:]]
        return lambda text: _ends(text.split("/"), last)
    runs: list[list[Test]] = [[]]
    for part in parts:
        if part == "**":
            runs.append([])
        else:
            runs[-1].append(word(part))
    return lambda text: _fits(text.split("/"), runs)


def _ends(found: list[str], tests: list[Test]) -> bool:
    return len(found) >= len(tests) and all(map(_passes, tests, found[len(found) - len(tests) :]))


def _fits(found: list[str], runs: list[list[Test]]) -> bool:
    """Whether components are these runs of components with any number of others between them."""
    first, *between = runs
    if not between:
        return len(found) == len(first) and _ends(found, first)
    if not _ends(found[: len(first)], first):
        return False
    rest = found[len(first) :]
    for run in between[:-1]:
        # the first place that fits leaves the most to what follows
        at = next((n for n in range(len(rest) - len(run) + 1) if _ends(rest[n : n + len(run)], run)), None)
        if at is None:
            return False
        rest = rest[at + len(run) :]
    return _ends(rest, between[-1])


def _passes(test: Test, text: str) -> bool:
    return test(text)


def regex(pattern: str, *, whole: bool) -> Test:
    """Whether RE2 finds `pattern` in a text, or matches the `whole` of it. Raises ValueError for what is none."""
    # 3 ms, and few policies have one
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        fault = error.args[0] if error.args else "not a regular expression"
        raise ValueError(fault.decode("utf-8", "replace") if isinstance(fault, bytes) else str(fault)) from None
    find = compiled.fullmatch if whole else compiled.search
    return lambda text: find(text) is not None


@lru_cache(maxsize=4096)
def may_meet(glob: str, other: str, home: str) -> bool:
    """Whether some path may match both `glob`, a rule's, and `other`, a pattern that a shell would expand.

    Asked to refuse: it may say yes too often, never no wrongly.
    """
    pattern = nfc(glob).removeprefix("./")
    if pattern.startswith("~/") and home:
        pattern = home.rstrip("/") + pattern[1:]
    return _meet(_pieces(pattern), _pieces(nfc(other).removeprefix("./")))


def _pieces(pattern: str) -> tuple[str, ...]:
    """Characters, and `*` for whatever may stand for any number of them; a set is one character of any kind: `?`."""
    pieces: list[str] = re.findall(r"\[!?\]?[^\]]*\]|\*\*/|\*+|.", pattern, re.DOTALL)
    return tuple("*" if piece[0] == "*" else "?" if piece[0] == "[" and len(piece) > 1 else piece for piece in pieces)


def _meet(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    # row by row: which beginnings of `theirs` can be the same text as this much of `mine`
    row = [True] + [False] * len(theirs)
    for at, piece in enumerate(theirs):
        row[at + 1] = row[at] and piece == "*"
    for piece in mine:
        following = [row[0] and piece == "*"] + [False] * len(theirs)
        for at, other in enumerate(theirs):
            if piece == "*" or other == "*":
                following[at + 1] = (
                    row[at]
                    or (piece == "*" and row[at + 1])
                    or (other == "*" and following[at])
                    or (piece == "*" and following[at])
                    or (other == "*" and row[at + 1])
                )
            else:
                following[at + 1] = row[at] and (piece == other or "?" in {piece, other})
        row = following
    return row[-1]
