"""What a spec comes to under the limits in force: for `spec check`, `loop --dry-run` and before every first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.app.clock import SystemClock
from runner.app.firstcall import input_bound
from runner.app.plan import Asked, Chosen, Draft, Plan, chosen, limits_of, read
from runner.config.limits import FLAGS
from runner.errors import ConfigError
from runner.pricing.book import hold_percent
from runner.pricing.cost import dearest
from runner.spec.binding import Rates
from runner.spec.check import InForce, Price, Understood, understood
from runner.values import Limits

NO_MODEL = "no model can be chosen: set OPENAI_API_KEY, or name one with --model"


def in_force(plan: Plan, asked: Asked) -> InForce:
    """The limits and the price a planned run is held to."""
    price = _dearest(plan, plan.models, plan.limits)
    return _in_force(plan.limits, plan.limit_sources, price, require_verified=asked.require_verified)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was understood of a spec, without any key.

    `no_price` says why there is no price, `cannot` why a loop could not use the model; "" where all is well.
    """

    told: Understood
    no_price: str
    cannot: str


def check(asked: Asked) -> Checked:
    """Understand a spec, price it, and say whether a loop could use its model.

    Raises ConfigError for a spec that cannot be read, and for a model that is named but has no price.
    """
    draft = read(asked)
    spec, sources = draft.spec, draft.sources
    limits, limit_sources = limits_of(draft, asked)
    price, why = None, ""
    try:
        price = _dearest(draft, chosen(sources, spec, asked.cwd, without_key=True), limits)
    except ConfigError as error:
        if sources.settings.model.value is not None:
            raise
        why = error.message
    world = _in_force(limits, limit_sources, price, require_verified=asked.require_verified)
    return Checked(told=understood(spec, world), no_price=why, cannot=_cannot(draft, asked))


def _cannot(draft: Draft, asked: Asked) -> str:
    try:
        chosen(draft.sources, draft.spec, asked.cwd)
    except ConfigError as error:
        named = draft.sources.settings.model.value is not None
        return error.message if named else NO_MODEL
    return ""


def _dearest(draft: Draft, models: Sequence[Chosen], limits: Limits) -> Price:
    """The price of the model whose first call is dearest: a cap has to pay for that of any."""
    return max((_price(draft, one, limits) for one in models), key=lambda price: price.least_call(draft.spec))


def _price(draft: Draft, one: Chosen, limits: Limits) -> Price:
    settings, entry = draft.sources.settings, one.entry
    most = min(entry.max_output, settings.max_output.value)
    bound = input_bound(draft, one, limits)
    first, largest = (
        dearest(entry.price, one.asks(settings), tokens, entry.hold_multiplier)
        for tokens in (bound, max(bound, entry.context))
    )
    return Price(
        model=entry.name,
        input=largest.input,
        output=largest.output,
        first=Rates(input=first.input, output=first.output, more=first.slack + first.fees),
        context=entry.context,
        max_output=most,
        min_output=min(settings.min_output.value, most),
        overhead=bound - len(draft.spec.text.encode()),
        hold_percent=hold_percent(entry, SystemClock().now()),
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
