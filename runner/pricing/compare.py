"""What differs between two entries of a model, dimension by dimension, and whether it makes calls cheaper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from runner.pricing.cost import Price
from runner.pricing.entry import Entry
from runner.values import PicoUsd

KINDS = ("input", "cached", "cache_write", "cache_write_1h", "cache_write_12h", "output", "reasoning")
"""The prices of a tier, in the order in which they are shown."""

_ALLOWANCES = ("allowance", "tools_allowance", "thinking_allowance")
# By how much a bound is raised.
_CARE = {"bytes": 0, "normalises": 1, "all": 0, "fresh": 1, "untrusted": 2}


@dataclass(frozen=True, slots=True)
class Tier:
    """The prices of a class of service (`""` standard) for requests of more than `above` input tokens."""

    service: str
    above: int
    price: Price


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs; None where there is none. `lowers`: some call may cost, or be held with, less."""

    what: str
    before: int | str | None
    after: int | str | None
    lowers: bool


def tiers(price: Price) -> list[Tier]:
    """Every price of a model, the standard class first, each class from small to large."""
    found: list[Tier] = []
    for service, one in [("", price), *sorted(price.services.items())]:
        found.append(Tier(service, 0, one))
        found += [Tier(service, tier.tokens, tier.price) for tier in one.above]
    return found


def changes(old: Entry, new: Entry) -> list[Change]:
    """What differs between two entries of a model; names of sources aside."""
    return [*_prices(old.price, new.price), *_factors(old.price, new.price), *_marks(old, new)]


def _prices(old: Price, new: Price) -> Iterator[Change]:
    places = {(one.service, one.above) for price in (old, new) for one in tiers(price)}
    for service, above in sorted(places):
        before, after = _at(old, service, above), _at(new, service, above)
        for kind in KINDS:
            was, now = _one(before, kind), _one(after, kind)
            if was != now:
                tier = f" above {above:,}" if above else ""
                yield Change(f"{f'{service} ' if service else ''}{kind}{tier}", was, now, _less(was, now))


def _factors(old: Price, new: Price) -> Iterator[Change]:
    for what, before, after in (("geo", old.geo, new.geo), ("fee", old.fees, new.fees)):
        for name in sorted({*before, *after}):
            was, now = before.get(name), after.get(name)
            if was != now:
                yield Change(f"{what} {name}", was, now, _less(was, now))


def _marks(old: Entry, new: Entry) -> Iterator[Change]:
    for name in ("context", "max_output"):
        yield from _differs(name, getattr(old, name), getattr(new, name), lowers=False)
    for name in _ALLOWANCES:
        yield from _differs(
            name, getattr(old, name), getattr(new, name), lowers=getattr(new, name) < getattr(old, name)
        )
    for name in ("tokenizer", "count"):
        was, now = getattr(old, name), getattr(new, name)
        yield from _differs(name, was, now, lowers=_CARE[now] < _CARE[was])
    for name in ("api", "thinking", "as_of"):
        yield from _differs(name, str(getattr(old, name)), str(getattr(new, name)), lowers=False)


def _differs(what: str, was: int | str, now: int | str, *, lowers: bool) -> Iterator[Change]:
    if was != now:
        yield Change(what, was, now, lowers)


def _less(was: int | None, now: int | None) -> bool:
    # what has no price any more is refused, not free
    return was is not None and now is not None and now < was


def _at(price: Price, service: str, above: int) -> Price | None:
    """What requests above that size are billed at."""
    found: Price | None = None
    for one in tiers(price):
        if one.service == service and one.above <= above:
            found = one.price
    return found


def _one(price: Price | None, kind: str) -> PicoUsd | None:
    if price is None:
        return None
    found = cast("PicoUsd | None", getattr(price, kind))
    # reasoning without a price of its own is billed as output
    return price.output if kind == "reasoning" and found is None else found
