"""What stays of the prices that were known when somebody states some of them anew: never less than may be billed.

A price that is not stated moves with the one it goes by (a token written to the cache with `input`, a thought with
`output`), in the ratio it had to it, and is no lower than that one. So an override that names two prices of a model
with tiers and classes of service bounds what is billed in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runner.pricing.cost import Above, Price
from runner.values import PicoUsd

# what providers that charge for writing to the cache ask for the shortest time, of the price of input
_WRITE = (5, 4)


def usual_write(price_in: PicoUsd, before: Price | None) -> PicoUsd:
    """What a token written to the cache costs at most, where only the price of input is stated."""
    known = price_in if before is None else _with(before.cache_write, price_in, before.input)
    return max(price_in, known, _with(_WRITE[0], price_in, _WRITE[1]))


def longer(flat: Price, before: Price) -> Price:
    """Prices with the longer lives of cached prefixes, and with thoughts, as they were known."""
    if not costs(flat):
        return flat
    return replace(
        flat,
        cache_write_1h=_life(flat.cache_write_1h, before.cache_write_1h, flat, before),
        cache_write_12h=_life(flat.cache_write_12h, before.cache_write_12h, flat, before),
        reasoning=flat.reasoning
        if flat.reasoning is not None or before.reasoning is None
        else max(flat.output, _with(before.reasoning, flat.output, before.output)),
    )


def tier(said: Mapping[str, PicoUsd], below: Price) -> Price:
    """The prices of a tier of which some are stated; the rest is that of the tier `below`, or moves up with these."""
    price_in, price_out = said.get("input", below.input), said.get("output", below.output)
    hour, half_day, thought = below.cache_write_1h, below.cache_write_12h, below.reasoning
    return Price(
        input=price_in,
        output=price_out,
        cached=said.get("cached", _up(below.cached, price_in, below.input)),
        cache_write=said.get("cache_write", _up(below.cache_write, price_in, below.input)),
        cache_write_1h=said.get("cache_write_1h", None if hour is None else _up(hour, price_in, below.input)),
        cache_write_12h=said.get("cache_write_12h", None if half_day is None else _up(half_day, price_in, below.input)),
        reasoning=said.get("reasoning", None if thought is None else _up(thought, price_out, below.output)),
    )


def over(stated: Price, before: Price, keys: frozenset[str]) -> Price:
    """Stated prices with the tiers, classes, places and fees of `before` whose keys were not stated."""
    if not costs(stated):
        return stated
    above = _above(before.above, stated, before, stated)
    services = {key: _class(one, stated, before) for key, one in before.services.items()}
    return replace(
        stated,
        above=stated.above if "above" in keys else above,
        services=stated.services if "services" in keys else services,
        geo=stated.geo if "geo" in keys else before.geo,
        fees=stated.fees if "fees" in keys else before.fees,
    )


def costs(price: Price) -> bool:
    """Whether anything at all costs something."""
    flat = (price.input, price.output, price.cached, price.cache_write)
    more = (price.cache_write_1h, price.cache_write_12h, price.reasoning)
    inner = (*(one.price for one in price.above), *price.services.values())
    return any(flat) or any(more) or any(price.fees.values()) or any(costs(one) for one in inner)


def _class(one: Price, stated: Price, before: Price) -> Price:
    flat = _raised(one, stated, before, stated)
    return replace(flat, above=_above(one.above, stated, before, flat))


def _above(tiers: tuple[Above, ...], stated: Price, before: Price, least: Price) -> tuple[Above, ...]:
    return tuple(Above(tokens=one.tokens, price=_raised(one.price, stated, before, least)) for one in tiers)


def _raised(one: Price, stated: Price, before: Price, least: Price) -> Price:
    """A price of before by how far the flat ones moved, kind by kind no lower than `least`."""
    return Price(
        input=max(least.input, _with(one.input, stated.input, before.input)),
        output=max(least.output, _with(one.output, stated.output, before.output)),
        cached=max(least.cached, _with(one.cached, stated.cached, before.cached)),
        cache_write=max(least.cache_write, _with(one.cache_write, stated.cache_write, before.cache_write)),
        cache_write_1h=_longest(one.cache_write_1h, stated.cache_write_1h, before.cache_write_1h, least.cache_write_1h),
        cache_write_12h=_longest(
            one.cache_write_12h, stated.cache_write_12h, before.cache_write_12h, least.cache_write_12h
        ),
        reasoning=_longest(one.reasoning, stated.reasoning, before.reasoning, least.reasoning),
    )


def _longest(
    one: PicoUsd | None, stated: PicoUsd | None, before: PicoUsd | None, least: PicoUsd | None
) -> PicoUsd | None:
    if one is None:
        return None
    return max(least or 0, one if stated is None or before is None else _with(one, stated, before))


def _life(stated: PicoUsd | None, known: PicoUsd | None, flat: Price, before: Price) -> PicoUsd | None:
    """What a prefix cached for longer costs: as stated, else as known, and no less than one for the shortest time."""
    if stated is not None or known is None:
        return stated
    return max(
        flat.cache_write,
        _with(known, flat.input, before.input),
        _with(known, flat.cache_write, before.cache_write),
    )


def _up(price: PicoUsd, now: PicoUsd, was: PicoUsd) -> PicoUsd:
    return max(price, _with(price, now, was))


def _with(price: PicoUsd, now: PicoUsd, was: PicoUsd) -> PicoUsd:
    """A price by how far another one moved, rounded up; where that one was nothing, as it is."""
    return -(-price * now // was) if was else price
