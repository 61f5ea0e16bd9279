"""Patterns of rules, compiled so that no text, however hostile, makes matching slow: globs, words, RE2."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache

# re2 ships without types: Any stays inside `regex`
from typing import Any, TypeAlias

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
        tests = [_components(one + pattern[1:]) for one in _homes(home)]
        # nothing inside the workspace is anybody's home
        return lambda text: text[:1] in {"/", "~"} and any(test(text) for test in tests)
    return _components(pattern)


def first_of(globs: Sequence[str], home: str) -> Callable[[str], str | None]:
    """The first of `globs` that a path matches, or None. The same paths come again and again: answers are kept."""
    tests = [(glob, path(glob, home)) for glob in globs]

    @lru_cache(maxsize=2048)
    def first(text: str) -> str | None:
        return next((glob for glob, test in tests if test(text)), None)

    return first


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

    # without types of its own
    library: Any = re2
    options = library.Options()
    options.log_errors = False
    try:
        compiled = library.compile(pattern, options)
    except library.error as error:
        raise ValueError(_told(error)) from None
    find: Callable[[str], object] = compiled.fullmatch if whole else compiled.search
    return lambda text: find(text) is not None


def _told(error: Exception) -> str:
    fault: object = error.args[0] if error.args else "not a regular expression"
    return fault.decode("utf-8", "replace") if isinstance(fault, bytes) else str(fault)


@lru_cache(maxsize=4096)
def may_meet(glob: str, other: str, home: str) -> bool:
    """Whether some path may match both `glob`, a rule's, and `other`, a pattern that a shell would expand.

    Asked to refuse: it may say yes too often, never no wrongly. A shell's wildcard matches no leading dot. Of a whole
    tree (`build/**`) only what a rule names from the workspace's root counts: else no directory could be removed.
    """
    pattern = nfc(glob).removeprefix("./")
    if other.endswith("/**") or other == "**":
        pattern = pattern.removeprefix("**/")
    if pattern[:1] in {"/", "~"} and other[:1] not in {"/", "~"}:
        return False
    if pattern == "~" or pattern.startswith("~/"):
        return any(_may_meet(one + pattern[1:], other) for one in _homes(home))
    return _may_meet(pattern, other)


def _homes(home: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in ("~", home.rstrip("/"), "/root", "/home/*", "/Users/*") if one))


def _may_meet(pattern: str, other: str) -> bool:
    mine, theirs = pattern.split("/"), nfc(other).removeprefix("./").split("/")
    # row by row: can the components of `mine` so far be the first n of `theirs`; `**` stands for any number of them
    row = [all(one == "**" for one in theirs[:n]) for n in range(len(theirs) + 1)]
    for part in mine:
        here = [row[0] and part == "**"]
        for n, one in enumerate(theirs):
            if part == "**" or one == "**":
                here.append((part == "**" and (row[n + 1] or here[n])) or (one == "**" and (here[n] or row[n + 1])))
            else:
                here.append(row[n] and _may_be(part, one))
        row = here
    return row[-1]


def _may_be(part: str, other: str) -> bool:
    """Whether one name may match two patterns for a name."""
    if part.startswith(".") and other[:1] in {"*", "?", "["}:
        return False
    mine, theirs = _pieces(part), _pieces(other)
    row = [all(piece == "*" for piece in theirs[:n]) for n in range(len(theirs) + 1)]
    for piece in mine:
        here = [row[0] and piece == "*"]
        for n, one in enumerate(theirs):
            if piece == "*" or one == "*":
                here.append((piece == "*" and (row[n + 1] or here[n])) or (one == "*" and (here[n] or row[n + 1])))
            else:
                here.append(row[n] and (piece == one or "?" in {piece, one}))
        row = here
    return row[-1]


def _pieces(pattern: str) -> tuple[str, ...]:
    """One piece for each character, `*` for any number of them, `?` for one; a set is taken for `?`."""
    pieces: list[str] = re.findall(r"\[!?\]?[^\]]*\]|\*+|.", pattern, re.DOTALL)
    return tuple("*" if piece[0] == "*" else "?" if len(piece) > 1 else piece for piece in pieces)
