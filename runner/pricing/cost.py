"""What calls cost, in integers: pico-USD per token, rounded up to nano-USD once per token class.

A request is billed whole at one price: that of its class of service, in the tier its input tokens reach, times the
factor of its place and the contract's multiplier. `dearest` gives the most any of these can be before a call, `cost`
what they were after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.errors import UnpricedError
from runner.values import NanoUsd, PicoUsd, Usage

_PICO_PER_NANO = 1000
_PER_MILLE = 1000
_PER_MILLION = 1_000_000
_WHOLE = _PER_MILLE * _PER_MILLION  # the factor of list prices
_STANDARD = frozenset({"", "standard", "default"})
_BY_ITSELF = ("priority", "fast")
"""Dearer classes of service that a server may choose where a request names none, as its account is set up."""
_EVERYWHERE = frozenset({"", "global"})
_SHORTEST = frozenset({"", "off", "5m"})
_ADD = "Add `{}` to the model's table in a file of prices and name it with --prices."


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


def _times(amount: int, factor: int) -> int:
    """An amount by a factor of 1 : `_WHOLE`, rounded up."""
    return amount if factor == _WHOLE else -(-amount * factor // _WHOLE)


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
    return (
        _nano(input_bound, input_price)
        + _nano(output, output_price)
        + (slack if input_price or output_price else 0)
        + fees
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What requests ask for, "" being the provider's standard: class of service, place, life of cached prefixes.

    `unpinned` says that a request for the standard class names none, so that the server may choose another.
    """

    service: str = ""
    geo: str = ""
    cache: str = ""
    unpinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dearest:
    """The dearest classes a request may be billed in, pico-USD per token; `slack` and `fees` as `worst` takes them."""

    input: PicoUsd
    output: PicoUsd
    slack: NanoUsd
    fees: NanoUsd


def dearest(price: Price, asks: Asks, input_bound: int, multiplier: int = _PER_MILLION) -> Dearest:
    """The dearest classes a request of at most so many input tokens may be billed in, for `worst`.

    A class of service that is asked for may be refused and the standard one billed, and so may a place: the dearer
    of both counts. Of the tiers, every one that the bound can reach does, as prices need not rise with size. The
    provider's standard place is taken to be the whole world: an adapter says so in its request.

    `multiplier` is the contract's, in millionths. Raises UnpricedError for a class that has no price.
    """
    reached = [tier for one in _served(price, asks) for tier in _reached(one, input_bound)]
    factor = max(_PER_MILLE, _place(price, asks.geo)) * multiplier
    kinds = [_input_prices(one, asks.cache) for one in reached]
    written = [(one.output,) if one.reasoning is None else (one.output, one.reasoning) for one in reached]
    most = max(max(one) for one in kinds), max(max(one) for one in written)
    if not any(most):
        return Dearest(input=0, output=0, slack=0, fees=0)
    return Dearest(
        input=_times(most[0], factor),
        output=_times(most[1], factor),
        # one class of each side is rounded up in `worst` itself
        slack=max(len(one) - 1 for one in kinds) + max(len(one) - 1 for one in written),
        fees=0,
    )


def cost(price: Price, usage: Usage, multiplier: int = _PER_MILLION) -> NanoUsd:
    """The price of a usage, each token class rounded up once.

    `multiplier` is the contract's, in millionths. Raises UnpricedError for a class that has no price.
    """
    tier, factor = _billed(price, usage, multiplier)
    reasoning = 0 if tier.reasoning is None else usage.reasoning_tokens
    output = _charge(max(0, usage.output_tokens - reasoning), tier.output, factor)
    output += _charge(reasoning, tier.reasoning or 0, factor)
    fees = sum(_fee(price, kind, uses, multiplier) for kind, uses in usage.fees)
    return _input(tier, usage, factor) + output + fees


def input_cost(price: Price, usage: Usage, multiplier: int = _PER_MILLION) -> NanoUsd:
    """The part of `cost` that was charged for input tokens."""
    tier, factor = _billed(price, usage, multiplier)
    return _input(tier, usage, factor)


def _billed(price: Price, usage: Usage, multiplier: int) -> tuple[Price, int]:
    """The one price a request was billed at, and its factor."""
    served = price if usage.service in _STANDARD else _service(price, usage.service)
    tokens = max(usage.input_tokens, usage.cached_tokens + usage.cache_write_tokens)
    return _reached(served, tokens)[-1], _place(price, usage.geo) * multiplier


def _input(tier: Price, usage: Usage, factor: int) -> NanoUsd:
    longer = usage.cache_write_1h_tokens + usage.cache_write_12h_tokens
    return (
        _charge(max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens), tier.input, factor)
        + _charge(usage.cached_tokens, tier.cached, factor)
        + _charge(max(0, usage.cache_write_tokens - longer), tier.cache_write, factor)
        + (_charge(usage.cache_write_1h_tokens, _life(tier, "1h"), factor) if usage.cache_write_1h_tokens else 0)
        + (_charge(usage.cache_write_12h_tokens, _life(tier, "12h"), factor) if usage.cache_write_12h_tokens else 0)
    )


def _charge(tokens: int, price: PicoUsd, factor: int) -> NanoUsd:
    return -(-tokens * price * factor // (_PICO_PER_NANO * _WHOLE))


def _fee(price: Price, kind: str, uses: int, multiplier: int) -> NanoUsd:
    if not uses:
        return 0
    if kind not in price.fees:
        raise UnpricedError(f"no price is known for {kind!r}", hint=_ADD.format(f"fees.{kind}"))
    return _times(uses * price.fees[kind], multiplier * _PER_MILLE)


def _reached(price: Price, tokens: int) -> list[Price]:
    """The tiers that a request of up to so many input tokens can be billed in, in order."""
    return [price, *(one.price for one in price.above if tokens > one.tokens)]


def _served(price: Price, asks: Asks) -> list[Price]:
    """The prices of the classes of service that a request may be billed in."""
    if asks.service not in _STANDARD:
        return [price, _service(price, asks.service)]
    chosen = _BY_ITSELF if asks.unpinned else ()
    return [price, *(price.services[name] for name in chosen if name in price.services)]


def _service(price: Price, service: str) -> Price:
    if (found := price.services.get(service)) is None:
        raise UnpricedError(
            f"no price is known for the class of service {service!r}", hint=_ADD.format(f"services.{service}")
        )
    return found


def _place(price: Price, geo: str) -> int:
    if geo in _EVERYWHERE:
        return _PER_MILLE
    if (found := price.geo.get(geo)) is None:
        raise UnpricedError(f"no price is known for inference in {geo!r}", hint=_ADD.format(f"geo.{geo}"))
    return found


def _life(price: Price, life: str) -> PicoUsd:
    found = price.cache_write_1h if life == "1h" else price.cache_write_12h if life == "12h" else price.cache_write
    if found is None:
        raise UnpricedError(
            f"no price is known for prefixes cached for {life}", hint=_ADD.format(f"cache_write_{life}")
        )
    return found


def _input_prices(price: Price, cache: str) -> tuple[PicoUsd, ...]:
    """What an input token may be billed at, by class."""
    plain = (price.input, price.cached, price.cache_write)
    return plain if cache in _SHORTEST else (*plain, _life(price, cache))
