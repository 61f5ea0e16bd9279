"""Reads what a provider's JSON holds, without believing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

_MOST_TOKENS = 10**12
"""More than any reply has: beyond it a count is nonsense, and no database holds what it would cost."""


class GarbledError(ValueError):
    """A reply that is no whole one: what is missing or wrong, in words, and its `cause` as ModelError names it."""

    def __init__(self, message: str, *, cause: str = "garbled") -> None:
        super().__init__(message)
        self.cause = cause


def as_map(value: object) -> Mapping[str, object]:
    """A JSON object, or an empty one for anything else."""
    # JSON makes every key a str
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    """A JSON list, or an empty one for anything else."""
    # each element of a JSON list is looked at
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def as_text(value: object) -> str:
    """A JSON text, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def count(table: Mapping[str, object], key: str, absent: int | None = None) -> int:
    """A number of tokens in a usage. Raises GarbledError when it is none, or is not there and has no `absent`."""
    value = table.get(key)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_TOKENS:
        raise GarbledError(f"the reply came without a usable `{key}` in its usage", cause="usage")
    return value
