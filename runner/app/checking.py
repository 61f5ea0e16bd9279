"""What a spec comes to under the limits in force: for `spec check`, `loop --dry-run` and before every first call."""

from __future__ import annotations

from collections.abc import Mapping

from runner import config
from runner.app.clock import SystemClock
from runner.app.plan import Asked, Plan, chosen, read
from runner.config import Settings
from runner.config.limits import FLAGS
from runner.errors import ConfigError
from runner.pricing.book import Entry
from runner.spec.check import InForce, Price, Understood, understood
from runner.values import Limits


def in_force(plan: Plan, asked: Asked) -> InForce:
    """The limits and the price a planned run is held to."""
    price = _price(plan.entry, plan.sources.settings)
    return _in_force(plan.limits, plan.limit_sources, price, require_verified=asked.require_verified)


def check(asked: Asked) -> tuple[Understood, str]:
    """What was understood of a spec, without any key, and why there is no price ("" = there is one).

    Raises ConfigError for a spec that cannot be read, and for a model that is named but has no price.
    """
    draft = read(asked)
    spec, sources = draft.spec, draft.sources
    limits, limit_sources = config.resolve_limits(spec, asked.limits, no_budget=asked.no_budget)
    price, why = None, ""
    try:
        _, entry = chosen(sources, spec, asked.cwd, without_key=True)
        price = _price(entry, sources.settings)
    except ConfigError as error:
        if sources.settings.model.value is not None:
            raise
        why = error.message
    world = _in_force(limits, limit_sources, price, require_verified=asked.require_verified)
    return understood(spec, world), why


def _price(entry: Entry, settings: Settings) -> Price:
    return Price(
        model=entry.name,
        input=entry.price.dearest_input,
        output=entry.price.output,
        context=entry.context,
        max_output=min(entry.max_output, settings.max_output.value),
        min_output=settings.min_output.value,
    )


def _in_force(
    limits: Limits, limit_sources: Mapping[str, str], price: Price | None, *, require_verified: bool
) -> InForce:
    sources = {
        name: "built-in" if source == "built-in" else FLAGS.get(name, source) if "flag" in source else source
        for name, source in limit_sources.items()
    }
    return InForce(
        limits=limits, now=SystemClock().now(), price=price, sources=sources, require_verified=require_verified
    )
