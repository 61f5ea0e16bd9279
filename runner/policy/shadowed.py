"""Rules that can never decide anything, because another speaks of every call they speak of and is as strict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import cast

from runner.policy.book import Command, Conditions, Rule

_NARROWS = frozenset({"all_flags", "no_flag", "args"})
"""Of these all must hold: the more are named, the fewer calls are meant. Of the others one does."""


def shadowed(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Each rule with the first that shadows it. Cautious: what is not plainly covered is not named."""
    for at, rule in enumerate(rules):
        if rule.mode != "enforce":
            continue
        for other_at, other in enumerate(rules):
            if other_at != at and _shadows(other, rule, before=other_at < at):
                yield rule, other
                break


def _shadows(other: Rule, rule: Rule, *, before: bool) -> bool:
    if other.mode != "enforce" or other.unless or other.ruling.rank < rule.ruling.rank:
        return False
    if other.ruling is rule.ruling and (other.gate != rule.gate or not before):
        return False  # of two that say the same, the later one is superfluous
    return all(any(fnmatchcase(tool, glob) for glob in other.tools) for tool in rule.tools) and _covers(
        other.conditions, rule.conditions
    )


def _covers(wide: Conditions, narrow: Conditions) -> bool:
    """Whether every call that `narrow` means is meant by `wide`."""
    for field in fields(Conditions):
        ours: object = getattr(wide, field.name)
        theirs: object = getattr(narrow, field.name)
        if isinstance(ours, Command):
            if not isinstance(theirs, Command) or not _covers_command(ours, theirs):
                return False
        elif ours not in ("", (), None) and ours != theirs and not _one_of(theirs, ours):
            return False
    return True


def _one_of(narrow: object, wide: object) -> bool:
    """Whether two lists of alternatives are one within the other; a list of none says nothing, and is not within."""
    if not isinstance(narrow, tuple) or not isinstance(wide, tuple):
        return False
    # conditions hold patterns and words
    mine, theirs = cast("tuple[object, ...]", narrow), cast("tuple[object, ...]", wide)
    return bool(mine) and set(mine) <= set(theirs)


def _covers_command(wide: Command, narrow: Command) -> bool:
    for field in fields(Command):
        ours: tuple[object, ...] = getattr(wide, field.name)
        theirs: tuple[object, ...] = getattr(narrow, field.name)
        if not ours or ours == theirs:
            continue
        if field.name in _NARROWS:
            if not set(ours) <= set(theirs):
                return False
        elif field.name == "words" or not _one_of(theirs, ours):
            return False
    return True
