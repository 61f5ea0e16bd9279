"""The whole book, and the page about it, as bytes: the same for the same two lists."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from prices import bundle, differences, drawn, genai, page
from prices.merge import Row, merged
from runner.pricing import written
from runner.pricing.entry import Entry

BOOK = "runner/pricing/builtin.json"
PAGE = "docs/reference/price-differences.md"
OUTPUTS = (BOOK, PAGE)

SOURCES: Mapping[str, str] = {"genai-prices": genai.VERSION, "litellm": bundle.VERSION}


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the overlay says of a provider; its own comments say what each is."""

    genai: str
    litellm: str
    tokenizer: str
    allowance: int
    skip: tuple[str, ...]
    tools_allowance: int = 0
    thinking_allowance: int = 0
    count: str = "all"
    both: bool = False
    plain: str = ""


class Overlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What no price list says, kept by hand."""

    as_of: date
    providers: dict[str, Provider]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made of the lists: entries, disagreements, and models that only one of them knows."""

    entries: Sequence[Entry]
    rows: Sequence[Row]
    alone: Sequence[str]


def overlay() -> Overlay:
    """Read the hand-kept file beside this module."""
    text = Path(__file__).with_name("overlay.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Overlay)


def made() -> dict[str, bytes]:
    """Every file that is made, by its path from the project's root."""
    kept = overlay()
    found = gathered(kept)
    entries = {entry.name: entry for entry in found.entries}
    ids = {prefix: provider.genai for prefix, provider in kept.providers.items()}
    other = differences.differences(entries, found.rows, ids, kept.as_of)
    first = page.page(found.rows, found.alone, len(entries), as_of=kept.as_of, sources=SOURCES)
    return {
        BOOK: written.write(found.entries, as_of=kept.as_of, sources=SOURCES),
        PAGE: f"{first}\n{differences.section(other, drawn.COUNT)}".encode(),
    }


def gathered(kept: Overlay) -> Made:
    """Every model of every provider, from both lists."""
    entries: list[Entry] = []
    rows: list[Row] = []
    alone: list[str] = []
    for prefix, provider in kept.providers.items():
        for name, keys in sorted(bundle.names(provider.litellm, provider.plain).items()):
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in provider.skip):
                continue
            ours, theirs = genai.find(provider.genai, provider.plain + name, kept.as_of), bundle.find(keys)
            if provider.both and ours is None:
                continue
            if (model := merged(f"{prefix}/{name}", ours, theirs)) is None:
                continue
            entries.append(
                Entry(
                    name=f"{prefix}/{name}",
                    price=model.price,
                    max_output=model.max_output,
                    context=model.context,
                    as_of=kept.as_of,
                    source=f"{'litellm' if ours is None else 'genai-prices, litellm'}",
                    allowance=provider.allowance,
                    tools_allowance=provider.tools_allowance,
                    thinking_allowance=provider.thinking_allowance,
                    api=theirs.api if prefix == "openai" else "chat",
                    count=provider.count,
                    tokenizer=provider.tokenizer,
                    thinking=theirs.thinking if prefix == "anthropic" else "",
                )
            )
            rows.extend(model.rows)
            alone.extend([f"{prefix}/{name}"] if ours is None else [])
    return Made(entries=entries, rows=rows, alone=alone)
