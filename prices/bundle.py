"""The list of prices that litellm carries, read as data: litellm is never imported for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from prices.listed import Dimension, Listed, UnknownDimensionError, dearer, per_token, per_use, whole

VERSION = "1.106.2"

_FILE = "model_prices_and_context_window_backup.json"
_KINDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "input_cost_per_token_cache_hit": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
}
_SERVICES = {"": "", "batches": "batch", "flex": "flex", "priority": "priority", "ultrafast": "ultrafast"}
_PRICE = re.compile(
    rf"({'|'.join(sorted(_KINDS, key=len, reverse=True))})(?:_above_(\d+)k_tokens)?(?:_(\w+))?"
)  # fmt: skip
_FEES = {
    "google_maps_grounding_cost_per_query": "maps",
    "code_interpreter_cost_per_session": "code_interpreter",
}
# Of what runner never sends or asks for: other media, and an endpoint of its own.
_OTHER = re.compile(r".*(audio|image|video|character|_decisions\b).*")


@cache
def _entries() -> Mapping[str, Mapping[str, object]]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("litellm is not installed", name="litellm")
    # json makes every key a str; a price's digits stay as they are written
    return cast(
        "dict[str, dict[str, object]]",
        json.loads(Path(spec.origin).with_name(_FILE).read_text("utf-8"), parse_float=Decimal),
    )


def installed() -> bool:
    """Whether the list of the pinned version is the one that is here."""
    return version("litellm") == VERSION


def names(provider: str, plain: str) -> dict[str, list[str]]:
    """The models of a provider that write text, each with the keys of its entries.

    `plain` is what names may begin with and need not.
    """
    found: dict[str, list[str]] = {}
    for key, entry in _entries().items():
        if entry.get("litellm_provider") == provider and entry.get("mode") in {"chat", "responses"}:
            found.setdefault(key.removeprefix(f"{provider}/").removeprefix(plain), []).append(key)
    return found


def find(keys: list[str]) -> Listed:
    """What the list says of a model under all of its keys, the higher of each price."""
    first, *rest = [_listed(key, _entries()[key]) for key in keys]
    for other in rest:
        first.prices = {
            one: max(first.prices.get(one, 0), other.prices.get(one, 0)) for one in {**first.prices, **other.prices}
        }
        first.fees, first.geo = dearer(first.fees, other.fees), dearer(first.geo, other.geo)
    return first


def _listed(name: str, entry: Mapping[str, object]) -> Listed:
    found = Listed(max_input=_size(entry, "max_input_tokens"), max_output=_size(entry, "max_output_tokens"))
    found.api = "responses" if entry.get("supports_reasoning") or entry.get("mode") == "responses" else "chat"
    found.thinking = _thinking(entry)
    for key, value in entry.items():
        if not ("cost" in key or "multiplier" in key or "specific" in key) or not value or _OTHER.fullmatch(key):
            continue
        if (price := _PRICE.fullmatch(key)) and (price[3] or "") in _SERVICES and isinstance(value, Decimal | int):
            _put(found, Dimension(_SERVICES[price[3] or ""], 1000 * int(price[2] or 0), _KINDS[price[1]]), value)
        elif key in _FEES and isinstance(value, Decimal | int):
            found.fees[_FEES[key]] = per_use(value)
        elif key == "search_context_cost_per_query":
            # by how much of a page is read: the dearest
            found.fees["web_search"] = per_use(max(cast("dict[str, Decimal]", value).values()))
        elif place := re.fullmatch(r"regional_processing_uplift_multiplier_(\w+)", key):
            found.geo[place[1]] = whole(1000 * cast("Decimal", value))
        elif key != "provider_specific_entry":
            raise UnknownDimensionError(f"litellm: {name}: {key}")
    # factors of other prices, so last
    _multiply(found, cast("Mapping[str, Decimal]", entry.get("provider_specific_entry", {})), name)
    return found


def _put(found: Listed, where: Dimension, value: Decimal | int) -> None:
    found.prices[where] = max(per_token(value), found.prices.get(where, 0))


def _multiply(found: Listed, factors: Mapping[str, Decimal], name: str) -> None:
    for factor, times in factors.items():
        if factor == "us":
            found.geo["us"] = whole(1000 * times)
        elif factor == "fast":
            standard = {one: price for one, price in found.prices.items() if not one.service}
            for one, price in standard.items():
                found.prices[Dimension("fast", one.above, one.kind)] = whole(price * times)
        else:
            raise UnknownDimensionError(f"litellm: {name}: provider_specific_entry: {factor}")


def _thinking(entry: Mapping[str, object]) -> str:
    if not entry.get("supports_reasoning"):
        return ""
    if entry.get("supports_adaptive_thinking"):
        return "always" if entry.get("thinking_always_on") else "adaptive"
    return "budget"


def _size(entry: Mapping[str, object], key: str) -> int | None:
    value = entry.get(key)
    return value if isinstance(value, int) and value > 0 else None
