"""What calls cost, in integers: pico-USD per token, rounded up to nano-USD once per token class."""

from __future__ import annotations

from dataclasses import dataclass

from runner.values import NanoUsd, PicoUsd, Usage

_PICO_PER_NANO = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """List prices of one model, pico-USD per token (3 USD per million tokens = 3_000_000)."""

    input: PicoUsd
    output: PicoUsd
    cached: PicoUsd
    cache_write: PicoUsd

    @property
    def dearest_input(self) -> PicoUsd:
        """What an input token costs at worst: nobody knows before the call which of them hit a cache."""
        return max(self.input, self.cached, self.cache_write)


def _nano(tokens: int, price: PicoUsd) -> NanoUsd:
    return -(-tokens * price // _PICO_PER_NANO)


def worst(input_price: PicoUsd, output_price: PicoUsd, input_bound: int, output: int) -> NanoUsd:
    """The most a call can cost with these bounds; `cost` of any usage inside them is not above it."""
    # one more nano-dollar each for the classes the input may be split into: each is rounded up once
    return _nano(input_bound, input_price) + _nano(output, output_price) + (2 if input_price else 0)


def affordable_output(input_price: PicoUsd, output_price: PicoUsd, input_bound: int, room: NanoUsd) -> int | None:
    """The largest output whose worst case fits `room`; None when output is free, negative when nothing fits."""
    left = room - worst(input_price, output_price, input_bound, 0)
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
