"""What a server's usage means: which of its numbers hold which others, and when they cannot be true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias, cast

from runner.models.fields import GarbledError
from runner.pricing.book import Entry
from runner.values import Usage

Counts: TypeAlias = Literal["all", "fresh", "untrusted"]
"""What a server's count of input holds, as a price book's entry says: everything, what no cache had, or who knows."""

_STANDARD = frozenset({"", "auto", "default", "standard", "on_demand"})


def counts_of(entry: Entry | None, provider: str) -> Counts:
    """How far to believe a server's count of input; without an entry, only OpenAI's own is known to hold all."""
    if entry is None:
        return "all" if provider == "openai" else "untrusted"
    # the book's reader admits no other word
    return cast("Counts", entry.count)


def read_service(name: str) -> str:
    """The class of service a reply names, "" for the standard one."""
    name = name.lower()
    return "" if name in _STANDARD else name


def true_usage(found: Usage, total: int, *, counts: Counts, empty: bool, stand_in: Callable[[], Usage] | None) -> Usage:
    """A usage as runner counts it: input with all that was cached, output with all reasoning.

    `total` is the server's own sum (0: none), `empty` says that the reply held nothing. Raises GarbledError for what
    cannot be true; a usage of nothing becomes what `stand_in` gives, where there is one.
    """
    cached = found.cached_tokens + found.cache_write_tokens
    if counts == "fresh" or (counts == "untrusted" and cached > found.input_tokens):
        found = replace(found, input_tokens=found.input_tokens + cached)
    if cached > found.input_tokens:
        raise GarbledError("the usage counts more cached input than input", cause="usage")
    # some servers count reasoning beside the output, and only their sum holds it
    if found.reasoning_tokens and total > found.total:
        found = replace(found, output_tokens=total - found.input_tokens)
    if found.reasoning_tokens > found.output_tokens:
        found = replace(found, output_tokens=found.output_tokens + found.reasoning_tokens)
    if found.input_tokens == 0 or (found.output_tokens == 0 and not empty):
        if stand_in is not None:
            return stand_in()
        raise GarbledError("the usage counts nothing for a reply that was made", cause="usage")
    return found
