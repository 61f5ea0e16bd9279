"""What genai-prices and litellm themselves compute for a usage, in exact nano-USD.

Run as a program, it reads cases as JSON and writes what litellm computes: its import takes seconds, and a process of
its own keeps it out of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price

from prices.drawn import Case

_CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "ultrafast": {"service_tier": "ultrafast"},
}
_TOOLS = {"web_search": "web_searches", "file_search": "storage_searches"}
_NANO = 1_000_000_000


def genai(case: Case, provider: str, as_of: date) -> Fraction:
    """What genai-prices computes."""
    usage, name = case.usage, case.model.partition("/")[2]
    fast = {"speed": "fast"} if provider == "anthropic" else {"service_tier": "fast"}
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        **{_TOOLS[kind]: uses for kind, uses in usage.fees if kind in _TOOLS},
    }
    found = calc_price(
        GenaiUsage(**counts),
        name,
        provider_id=provider,
        genai_request_timestamp=datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC),
        price_context={"fast": fast, **_CONTEXTS}.get(usage.service),
    )
    return Fraction(found.total_price) * _NANO


def litellm(cases: Sequence[Case]) -> list[Fraction]:
    """What litellm computes for the tokens, to the nearest nano-dollar: it computes with binary fractions.

    The cases are of whole thousands of tokens, so that their costs are whole. Tools are priced elsewhere in it.
    """
    done = subprocess.run(
        [sys.executable, "-m", "prices.theirs"],
        input=json.dumps([asdict(one) for one in cases]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    costs: list[str] = json.loads(done.stdout.splitlines()[-1])
    return [Fraction(round(Decimal(one) * _NANO)) for one in costs]


def _main() -> None:
    # an extra, without types of its own
    import litellm as library  # pyright: ignore[reportMissingImports]
    from litellm.types.utils import CacheCreationTokenDetails, PromptTokensDetailsWrapper, Usage

    costs: list[str] = []
    for case in json.load(sys.stdin):
        said = case["usage"]
        written, longer = said["cache_write_tokens"], said["cache_write_1h_tokens"]
        details = PromptTokensDetailsWrapper(
            cached_tokens=said["cached_tokens"],
            cache_creation_tokens=written,
            cache_creation_token_details=CacheCreationTokenDetails(
                ephemeral_5m_input_tokens=written - longer, ephemeral_1h_input_tokens=longer
            ),
        )
        provider, _, name = case["model"].partition("/")
        usage = Usage(
            prompt_tokens=said["input_tokens"],
            completion_tokens=said["output_tokens"],
            total_tokens=said["input_tokens"] + said["output_tokens"],
            prompt_tokens_details=details,
            cache_creation_input_tokens=written,
            cache_read_input_tokens=said["cached_tokens"],
            **({"speed": "fast"} if (provider, said["service"]) == ("anthropic", "fast") else {}),
            **({"inference_geo": said["geo"]} if provider == "anthropic" and said["geo"] else {}),
        )
        found = library.cost_per_token(
            model=name,
            custom_llm_provider=provider,
            usage_object=usage,
            service_tier=said["service"] or None,
            data_residency=said["geo"] or None,
        )
        costs.append(repr(sum(found)))
    sys.stdout.write(json.dumps(costs) + "\n")


if __name__ == "__main__":
    _main()
