"""What calls cost, in integers: pico-USD per token, rounded up to nano-USD once per token class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.values import NanoUsd, PicoUsd, Usage

_PICO_PER_NANO = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """A tier: when a request has more than so many input tokens, all of it is billed at `price`."""

    tokens: int
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """List prices of one model, pico-USD per token (3 USD per million tokens = 3_000_000).

    `cache_write` is the shortest life's; a longer one that is None is not sold. `reasoning` None is billed as output.
    `services` are the prices of other classes of service, `geo` factors in per mille, `fees` nano-USD per use of a
    server tool.
    """

    input: PicoUsd
    output: PicoUsd
    cached: PicoUsd
    cache_write: PicoUsd
    cache_write_1h: PicoUsd | None = None
    cache_write_12h: PicoUsd | None = None
    reasoning: PicoUsd | None = None
    above: tuple[Above, ...] = ()
    # the class has no name yet while its body runs
    services: Mapping[str, Price] = field(default_factory=lambda: dict[str, Price]())  # noqa: PLW0108
    geo: Mapping[str, int] = field(default_factory=dict[str, int])
    fees: Mapping[str, NanoUsd] = field(default_factory=dict[str, NanoUsd])

    @property
    def dearest_input(self) -> PicoUsd:
        """What an input token costs at worst: nobody knows before the call which of them hit a cache."""
        return max(self.input, self.cached, self.cache_write)


def _nano(tokens: int, price: PicoUsd) -> NanoUsd:
    return -(-tokens * price // _PICO_PER_NANO)


def worst(
    input_price: PicoUsd,
    output_price: PicoUsd,
    input_bound: int,
    output: int,
    *,
    slack: NanoUsd = 2,
    fees: NanoUsd = 0,
) -> NanoUsd:
    """The most a call can cost with these bounds; `cost` of any usage inside them is not above it.

    `slack` is a nano-dollar each for the further classes its tokens may be split into: each is rounded up once.
    """
    return _nano(input_bound, input_price) + _nano(output, output_price) + (slack if input_price else 0) + fees


def affordable_output(
    input_price: PicoUsd,
    output_price: PicoUsd,
    input_bound: int,
    room: NanoUsd,
    *,
    slack: NanoUsd = 2,
    fees: NanoUsd = 0,
) -> int | None:
    """The largest output whose worst case fits `room`; None when output is free, negative when nothing fits."""
    left = room - worst(input_price, output_price, input_bound, 0, slack=slack, fees=fees)
    if left < 0:
        return -1
    return None if output_price == 0 else left * _PICO_PER_NANO // output_price


def cost(price: Price, usage: Usage) -> NanoUsd:
    """The price of a usage, each token class rounded up once."""
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    return (
        _nano(plain, price.input)
        + _nano(usage.cached_tokens, price.cached)
        + _nano(usage.cache_write_tokens, price.cache_write)
        + _nano(usage.output_tokens, price.output)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What requests ask for, "" being the provider's standard: class of service, place, life of cached prefixes."""

    service: str = ""
    geo: str = ""
    cache: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dearest:
    """The dearest classes a request may be billed in, pico-USD per token; `slack` and `fees` as `worst` takes them."""

    input: PicoUsd
    output: PicoUsd
    slack: NanoUsd
    fees: NanoUsd
