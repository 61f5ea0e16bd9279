"""What a scripted provider charges, by an arithmetic of its own: exact fractions of US dollars over its list prices.

Nothing here uses `runner.pricing.cost`: what it is compared with must not be where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Literal

from runner.pricing.cost import Price
from runner.values import NanoUsd, Usage

_MILLION = 1_000_000
_NANO = 1_000_000_000
_PICO = 1_000_000_000_000

Class = Literal["input", "output", "cached", "write", "write_1h", "write_12h", "reasoning"]


class NotSoldError(ValueError):
    """A class of service or of tokens that has no list price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of list prices: US dollars per million tokens of each class. What is left out is not sold apart.

    `above` are whole pages for requests with more input tokens than their key; `services` pages of other classes of
    service; `geo` factors by place; `fees` US dollars per use of a server tool.
    """

    usd: Mapping[Class, Fraction]
    above: Mapping[int, Listed] = field(default_factory=lambda: dict[int, "Listed"]())  # noqa: PLW0108  # named below
    services: Mapping[str, Listed] = field(default_factory=lambda: dict[str, "Listed"]())  # noqa: PLW0108  # as above
    geo: Mapping[str, Fraction] = field(default_factory=dict[str, Fraction])
    fees: Mapping[str, Fraction] = field(default_factory=dict[str, Fraction])

    @classmethod
    def of(cls, **usd: str) -> Listed:
        """A page written in decimals, as providers print it: `Listed.of(input="3", output="15", write_1h="6")`."""
        # the keywords are the classes
        return cls(usd={name: Fraction(price) for name, price in usd.items()})  # type: ignore[misc]

    @classmethod
    def read(cls, price: Price) -> Listed:
        """The page a price book's entry was made from."""
        known: dict[Class, int | None] = {
            "input": price.input,
            "output": price.output,
            "cached": price.cached,
            "write": price.cache_write,
            "write_1h": price.cache_write_1h,
            "write_12h": price.cache_write_12h,
            "reasoning": price.reasoning,
        }
        return cls(
            usd={name: Fraction(pico * _MILLION, _PICO) for name, pico in known.items() if pico is not None},
            above={tier.tokens: cls.read(tier.price) for tier in price.above},
            services={name: cls.read(other) for name, other in price.services.items()},
            geo={name: Fraction(per_mille, 1000) for name, per_mille in price.geo.items()},
            fees={name: Fraction(nano, _NANO) for name, nano in price.fees.items()},
        )


def charge(listed: Listed, usage: Usage) -> Fraction:
    """US dollars for one reply, exactly; raises NotSoldError for a class without a price."""
    page = listed
    if usage.service:
        if usage.service not in listed.services:
            msg = f"service {usage.service!r} is not sold"
            raise NotSoldError(msg)
        page = listed.services[usage.service]
    if crossed := [tokens for tokens in page.above if usage.input_tokens > tokens]:
        page = page.above[max(crossed)]
    short = usage.cache_write_tokens - usage.cache_write_1h_tokens - usage.cache_write_12h_tokens
    counts: dict[Class, int] = {
        "input": usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cached": usage.cached_tokens,
        "write": short,
        "write_1h": usage.cache_write_1h_tokens,
        "write_12h": usage.cache_write_12h_tokens,
    }
    if "reasoning" in page.usd:
        counts |= {"output": usage.output_tokens - usage.reasoning_tokens, "reasoning": usage.reasoning_tokens}
    else:
        counts["output"] = usage.output_tokens
    if missing := [name for name, count in counts.items() if count and name not in page.usd]:
        msg = f"{missing[0]} is not sold"
        raise NotSoldError(msg)
    tokens = sum((count * page.usd[name] / _MILLION for name, count in counts.items() if count), Fraction(0))
    if usage.geo:
        if usage.geo not in listed.geo:
            msg = f"place {usage.geo!r} is not sold"
            raise NotSoldError(msg)
        tokens *= listed.geo[usage.geo]
    return tokens + sum((count * listed.fees[name] for name, count in usage.fees), Fraction(0))


def in_nano(usd: Fraction) -> NanoUsd:
    """A charge in whole nano-USD, rounded up once."""
    return ceil(usd * _NANO)
