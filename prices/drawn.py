"""Usages over every dimension of the book, drawn from a seed: what arithmetic is compared on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from runner.pricing.entry import Entry
from runner.values import Usage

MODELS = (
    "openai/gpt-6.1-sol",
    "openai/gpt-5-mini",
    "anthropic/claude-opus-5",
    "anthropic/claude-haiku-5-5",
    "anthropic/claude-haiku-4-5",
    "anthropic/claude-sonnet-4-5",
    "gemini/gemini-2.5-pro",
    "xai/grok-4.7",
    "zai/glm-5.2",
)
"""One or more for every dimension: tiers, lives of cached prefixes, services, places, tools."""

COUNT = 200


@dataclass(frozen=True, slots=True)
class Case:
    """A usage of a model."""

    model: str
    usage: Usage


def drawn(entries: Mapping[str, Entry], *, seed: int = 2026, step: int = 1) -> list[Case]:
    """`COUNT` usages, every count of tokens a multiple of `step`: with 1,000, no price is rounded."""
    dice = random.Random(seed)
    return [_case(entries[MODELS[number % len(MODELS)]], dice, step) for number in range(COUNT)]


def _case(entry: Entry, dice: random.Random, step: int) -> Case:
    price = entry.price

    def some(least: int, most: int) -> int:
        return dice.randint(-(-least // step), most // step) * step if most >= step else 0

    tiers = [one.tokens for one in price.above]
    bounds = [0, *tiers, max(entry.context, *(tokens + 100_000 for tokens in tiers), 0)]
    place = dice.randrange(len(bounds) - 1)
    total = some(bounds[place] + 1, bounds[place + 1])
    # on the very edge of a tier now and then
    total = bounds[place] if place and dice.random() < 0.1 and bounds[place] % step == 0 else total
    cached = some(0, total) if dice.random() < 0.6 else 0
    sold = price.cache_write > price.input
    written = some(0, total - cached) if sold and dice.random() < 0.6 else 0
    longer = some(0, written) if price.cache_write_1h is not None and dice.random() < 0.5 else 0
    output = some(0, entry.max_output)
    services = sorted(price.services)
    fees = [(kind, dice.randint(1, 5)) for kind in sorted(price.fees) if dice.random() < 0.15]
    return Case(
        entry.name,
        Usage(
            total,
            output,
            cached,
            written,
            longer,
            0,
            some(0, output) if dice.random() < 0.3 else 0,
            service=dice.choice(services) if services and dice.random() < 0.4 else "",
            geo=dice.choice(sorted(price.geo)) if price.geo and dice.random() < 0.2 else "",
            fees=tuple(fees),
        ),
    )
