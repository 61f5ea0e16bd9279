"""What one published list says of one model, in the dimensions of the price book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

FIELDS = ("input", "output", "cached", "cache_write", "cache_write_1h", "reasoning")


class UnknownDimensionError(Exception):
    """A list has a price that the generator does not know the meaning of."""


@dataclass(frozen=True, slots=True, order=True)
class Dimension:
    """Where a price stands: a class of service ("" standard), a tier (0: the base) and the kind of token."""

    service: str
    above: int
    kind: str

    def __str__(self) -> str:
        tier = f" above {self.above:,}" if self.above else ""
        return f"{self.service + ' ' if self.service else ''}{self.kind}{tier}"


@dataclass(slots=True, kw_only=True)
class Listed:
    """Prices in pico-USD per token, `fees` in nano-USD per use, `geo` in per mille, sizes in tokens (None: unsaid)."""

    prices: dict[Dimension, int] = field(default_factory=dict[Dimension, int])
    fees: dict[str, int] = field(default_factory=dict[str, int])
    geo: dict[str, int] = field(default_factory=dict[str, int])
    context: int | None = None
    max_input: int | None = None
    max_output: int | None = None
    api: str = "chat"
    thinking: str = ""

    @property
    def services(self) -> set[str]:
        return {one.service for one in self.prices}

    def tiers(self, service: str) -> set[int]:
        return {one.above for one in self.prices if one.service == service}

    def at(self, service: str, above: int, kind: str) -> int | None:
        """What this list says of a dimension: the price of the highest tier it has, up to this one."""
        below = [one.above for one in self.prices if (one.service, one.kind) == (service, kind) and one.above <= above]
        return self.prices[Dimension(service, max(below), kind)] if below else None


def whole(value: Decimal | int) -> int:
    """An amount in whole units, rounded up."""
    return int(Decimal(value).to_integral_value(ROUND_CEILING))


def per_million(usd: Decimal) -> int:
    """Pico-USD per token of a price per million tokens."""
    return whole(usd * 1_000_000)


def per_token(usd: Decimal | int) -> int:
    """Pico-USD per token of a price per token."""
    return whole(Decimal(usd) * 10**12)


def per_use(usd: Decimal | int) -> int:
    """Nano-USD per use of a price per use."""
    return whole(Decimal(usd) * 10**9)


def dearer(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The higher of two prices, by name."""
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}
