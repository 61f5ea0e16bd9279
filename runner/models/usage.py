"""What a server's usage means: which of its numbers hold which others, and when they cannot be true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias, cast

from runner.errors import UnpricedError
from runner.models.fields import GarbledError
from runner.pricing.book import Entry
from runner.pricing.cost import Asks, cost
from runner.values import Usage

Counts: TypeAlias = Literal["all", "fresh", "untrusted"]
"""What a server's count of input holds, as a price book's entry says: everything, what no cache had, or who knows."""

Classed: TypeAlias = Callable[[Usage, str], Usage]
"""Puts a usage into the class that it is billed in, from the class of service that the reply names ("": none)."""

_STANDARD = frozenset({"", "auto", "default", "standard", "on_demand"})
_UNSAID = frozenset({"", "auto"})
_EVERYWHERE = frozenset({"", "global"})


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


def in_class(found: Usage, said: str, *, asks: Asks, entry: Entry | None) -> Usage:
    """A usage in the class of service and at the place it is billed in.

    Replies say nothing of a place: it is the one asked for. A service that was asked for and is not named may have been
    granted or not: the dearer of it and the standard counts.
    """
    standard = replace(found, service=read_service(said), geo="" if asks.geo in _EVERYWHERE else asks.geo)
    asked = read_service(asks.service)
    if not asked or said.lower() not in _UNSAID:
        return standard
    granted = replace(standard, service=asked)
    try:
        dearer = entry is None or cost(entry.price, granted) >= cost(entry.price, standard)
    except UnpricedError:
        dearer = True  # whoever books it finds no price, and keeps the hold
    return granted if dearer else standard


def true_usage(found: Usage, total: int, *, counts: Counts, empty: bool, stand_in: Callable[[], Usage] | None) -> Usage:
    """A usage as runner counts it: input with all that was cached, output with all reasoning.

    `total` is the server's own sum (0: none), `empty` says that the reply held nothing. Raises GarbledError for what
    cannot be true; a usage of nothing becomes what `stand_in` gives, where there is one.
    """
    cached = found.cached_tokens + found.cache_write_tokens
    beside = _beside(found, total - found.total, cached, counts)
    if counts != "all":
        # nothing proves that an untrusted count holds them: the sum of one that leaves them out may do so, too
        found = replace(found, input_tokens=found.input_tokens + cached)
    if cached > found.input_tokens:
        raise GarbledError("the usage counts more cached input than input", cause="usage")
    if beside > 0:
        found = replace(found, output_tokens=found.output_tokens + beside)
    if found.reasoning_tokens > found.output_tokens:
        found = replace(found, output_tokens=found.output_tokens + found.reasoning_tokens)
    if found.input_tokens == 0 or (found.output_tokens == 0 and not empty):
        if stand_in is not None:
            return stand_in()
        raise GarbledError("the usage counts nothing for a reply that was made", cause="usage")
    return found


def _beside(found: Usage, more: int, cached: int, counts: Counts) -> int:
    """Output tokens that only the server's sum holds, as some count reasoning, where that is so much more than parts.

    What the sum may hold of a cache is no output where it is exactly that, or where input is known to be without it.
    """
    if counts == "all" or more < cached or not cached:
        return more
    rest = more - cached
    return rest if counts == "fresh" or rest in {0, found.reasoning_tokens} else more
