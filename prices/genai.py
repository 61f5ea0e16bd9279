"""genai-prices, by the provider's id always: without it, a model's name may find another seller's price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from importlib.metadata import version

from genai_prices import data
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from prices.listed import Dimension, Listed, UnknownDimensionError, per_million, per_use

VERSION = "0.2.3"

_KINDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
}
_FEES = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search"}
# Of what runner never sends or asks for.
_OTHER = ("_audio_", "audio_hours", "_image_", "_video_", "_document_", "mchars", "_text_messages_")
_SERVICES = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
    ("service_tier", "default"): "",
}


def installed() -> bool:
    """Whether the list of the pinned version is the one that is here."""
    return version("genai-prices") == VERSION


def find(provider_id: str, name: str, as_of: date) -> Listed | None:
    """What the list says of a provider's model; None when it does not know it, or not what its tokens cost."""
    provider = next(one for one in data.providers if one.id == provider_id)
    model = provider.find_model(name)
    return None if model is None else _listed(model, as_of)


def _listed(model: ModelInfo, as_of: date) -> Listed | None:
    base: dict[str, dict[int, int]] = {}
    found = Listed(context=model.context_window)
    for prices in _in_force(model, as_of):
        _raise(base, _prices(prices, found))
    if "input" not in base or "output" not in base:
        return None
    services = {"": base}
    for variant in model.price_variants or []:
        ((condition, value),) = variant.when.items()
        if (condition, value) not in _SERVICES:
            raise UnknownDimensionError(f"genai-prices: {model.id}: {variant.when}")
        if own := _prices(variant.prices, found):
            # what a variant leaves out is the standard's
            _raise(services.setdefault(_SERVICES[condition, value], {}), {**base, **own})
    for service, kinds in services.items():
        for kind, tiers in kinds.items():
            for above, price in tiers.items():
                found.prices[Dimension(service, above, kind)] = price
    return found


def _in_force(model: ModelInfo, as_of: date) -> Sequence[ModelPrice]:
    """Every price that is, or will be, in force: what depends on the time of day counts at its dearest."""
    if not isinstance(model.prices, list):
        return [model.prices]
    found: list[ModelPrice] = []
    for one in model.prices:
        if _replaces(one, as_of):
            found = []
        found.append(one.prices)
    return found


def _replaces(one: ConditionalPrice, as_of: date) -> bool:
    begins = one.constraint
    return begins is None or (isinstance(begins, StartDateConstraint) and begins.start_date <= as_of)


def _prices(price: ModelPrice, into: Listed) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for key, value in vars(price).items():
        if value is None or any(part in f"_{key}_" for part in _OTHER):
            continue
        if key in _FEES:
            fee = per_use(Decimal(value) / 1000)
            into.fees[_FEES[key]] = max(fee, into.fees.get(_FEES[key], 0))
        elif key in _KINDS and isinstance(value, TieredPrices):
            tiers = {tier.start: per_million(tier.price) for tier in value.tiers}
            found[_KINDS[key]] = {0: per_million(value.base), **tiers}
        elif key in _KINDS:
            found[_KINDS[key]] = {0: per_million(value)}
        else:
            raise UnknownDimensionError(f"genai-prices: {key}")
    return found


def _raise(into: dict[str, dict[int, int]], other: dict[str, dict[int, int]]) -> None:
    """Let the higher price of each kind and tier stand."""
    for kind, tiers in other.items():
        known = into.setdefault(kind, {})
        both = {above: [_at(one, above) for one in (known, tiers) if one] for above in {*known, *tiers}}
        known.update({above: max(prices) for above, prices in both.items()})


def _at(tiers: dict[int, int], above: int) -> int:
    return tiers[max(start for start in tiers if start <= above)]
