"""Where genai-prices and litellm compute something else than the book, on usages over every dimension, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from prices import genai, theirs
from prices.drawn import Case, drawn
from prices.merge import Row
from runner.pricing.cost import cost
from runner.pricing.entry import Entry
from runner.values import NanoUsd

TOKENS = 1_000
"""Every count of tokens is a multiple of this, so that no list's price needs rounding."""

_PLACES = "it has no factor for where a call is processed: too little"
_TOOL = "it has no price of this tool: too little"
_CLASS = "it does not know this class of the model, and charges the standard"
_BATCH = "it charges the standard for the class `batch`: half of it is right"
_LISTS = "the lists disagree, see above: the higher"


class UnexplainedError(Exception):
    """A list computes something else than the book, and nobody knows why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A case on which a list and the book differ, in nano-USD."""

    of: str
    case: Case
    theirs: Fraction
    ours: NanoUsd
    why: str


def differences(
    entries: Mapping[str, Entry], rows: Sequence[Row], ids: Mapping[str, str], as_of: date
) -> list[Difference]:
    """Every difference, each explained. `ids` are the providers' names in genai-prices. Raises UnexplainedError."""
    cases = drawn(entries, step=TOKENS)
    found = [*_genai(cases, entries, rows, ids, as_of), *_litellm(cases, entries, rows)]
    for one in found:
        if not one.why:
            raise UnexplainedError(f"{one.of}: {one.case}: {one.theirs} and {one.ours} nano-USD")
    return found


def _genai(
    cases: Sequence[Case], entries: Mapping[str, Entry], rows: Sequence[Row], ids: Mapping[str, str], as_of: date
) -> Iterator[Difference]:
    for case in cases:
        prefix, _, name = case.model.partition("/")
        other, ours = theirs.genai(case, ids[prefix], as_of), cost(entries[case.model].price, case.usage)
        if other == ours:
            continue
        listed = genai.find(ids[prefix], name, as_of)
        why = ""
        if case.usage.geo:
            why = _PLACES
        elif listed is not None and case.usage.service not in listed.services:
            why = _CLASS
        elif listed is not None and any(kind not in listed.fees for kind, _ in case.usage.fees):
            why = _TOOL
        elif any(row.model == case.model and row.genai != row.taken for row in rows):
            why = _LISTS
        yield Difference(of="genai-prices", case=case, theirs=other, ours=ours, why=why)


def _litellm(cases: Sequence[Case], entries: Mapping[str, Entry], rows: Sequence[Row]) -> Iterator[Difference]:
    for case, other in zip(cases, theirs.litellm(cases), strict=True):
        price = entries[case.model].price
        ours = cost(price, case.usage) - sum(uses * price.fees[kind] for kind, uses in case.usage.fees)
        if other == ours:
            continue
        disagree = any(row.model == case.model and row.litellm != row.taken for row in rows)
        why = _BATCH if case.usage.service == "batch" else _LISTS if disagree else ""
        yield Difference(of="litellm", case=case, theirs=other, ours=ours, why=why)


def section(found: Sequence[Difference], count: int) -> str:
    """The part of the page about arithmetic."""
    groups: dict[tuple[str, str], list[Difference]] = {}
    for one in found:
        groups.setdefault((one.of, one.why), []).append(one)
    same = {name: count - sum(one.of == name for one in found) for name in ("genai-prices", "litellm")}
    lines = [
        "## Where their arithmetic differs",
        "",
        f"{count} usages over every dimension, drawn from a seed, in whole thousands of tokens so that no price is",
        f"rounded. genai-prices computes the same as the book, to the nano-dollar, for {same['genai-prices']} of them;",
        f"litellm for {same['litellm']} (tokens alone: it prices tools elsewhere). The rest:",
        "",
        "| list | cases | why | for example | it computes | the book |",
        "|---|---|---|---|---|---|",
    ]
    for (name, why), every in groups.items():
        one = every[0]
        amounts = f"${_usd(one.theirs)} | ${_usd(Fraction(one.ours))}"
        lines.append(f"| {name} | {len(every)} | {why} | {_told(one.case)} | {amounts} |")
    return "\n".join([*lines, ""])


def _told(case: Case) -> str:
    usage = case.usage
    said = [
        f"{usage.input_tokens:,} in",
        *([f"{usage.cached_tokens:,} of them cached"] if usage.cached_tokens else []),
        *([f"{usage.cache_write_tokens:,} written"] if usage.cache_write_tokens else []),
        *([f"{usage.cache_write_1h_tokens:,} of those for 1 h"] if usage.cache_write_1h_tokens else []),
        f"{usage.output_tokens:,} out",
        *([usage.service] if usage.service else []),
        *([usage.geo] if usage.geo else []),
        *(f"{uses} {kind}" for kind, uses in usage.fees),
    ]
    return f"`{case.model}`: {', '.join(said)}"


def _usd(nano: Fraction) -> str:
    whole, rest = divmod(round(nano), 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
