"""One entry of the book from what two lists say: of two prices, the higher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from prices.listed import FIELDS, Dimension, Listed, dearer
from runner.pricing.cost import Above, Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A disagreement: what each list says (None: nothing), what the book has, and why. Prices in pico-USD a token."""

    model: str
    dimension: str
    genai: int | None
    litellm: int | None
    taken: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A price, sizes, and every row where the lists disagree."""

    price: Price
    context: int
    max_output: int
    rows: tuple[Row, ...]


HIGHER = "the higher"
FLAT_GENAI = "the higher: genai-prices has no such tier"
FLAT_LITELLM = "the higher: litellm has no such tier"
STANDARD = "neither list has this tier: not below the standard's"
WINDOW = "the window of genai-prices"
INPUT = "genai-prices' window is larger than input and output"


def merged(name: str, genai: Listed | None, litellm: Listed) -> Merged | None:
    """The entry of a model, or None where what it costs or how large it is is not known."""
    lists = [one for one in (genai, litellm) if one is not None]
    rows: list[Row] = []
    flat = _flat(name, genai, litellm, rows)
    services = {service for one in lists for service in one.services}
    tiers = {
        service: {above for one in lists for above in {*one.tiers(""), *one.tiers(service)}} for service in services
    }
    prices: dict[str, Price] = {}
    for service in sorted(services):
        base = prices.get("")
        levels = [(above, flat(service, above, base)) for above in sorted({0, *tiers[service]})]
        known = [(above, price) for above, price in levels if price is not None]
        if known and known[0][0] == 0:
            prices[service] = replace(known[0][1], above=tuple(_tiers(known)))
    sizes = _sizes(name, genai, litellm, rows)
    if "" not in prices or sizes is None:
        return None
    # one list may be both the first and the last
    fees, geo = dearer(lists[0].fees, lists[-1].fees), dearer(lists[0].geo, lists[-1].geo)
    price = replace(prices.pop(""), services=prices, geo=geo, fees=fees)
    return Merged(price=price, context=sizes[0], max_output=sizes[1], rows=tuple(rows))


def _flat(
    name: str, genai: Listed | None, litellm: Listed, rows: list[Row]
) -> Callable[[str, int, Price | None], Price | None]:
    """A function that gives the prices of a service at a tier, and notes where the lists disagree."""
    lists = [one for one in (genai, litellm) if one is not None]

    def one(service: str, above: int, base: Price | None) -> Price | None:
        found = {kind: _taken(name, Dimension(service, above, kind), genai, litellm, rows) for kind in FIELDS}
        if base is not None and above and not any(above in one.tiers(service) for one in lists):
            rows.extend(_raised(name, Dimension(service, above, ""), found, base))
        price_in, price_out = found["input"], found["output"]
        if not price_in or not price_out:
            return None
        written = found["cache_write"]
        if written is None and base is not None:
            # neither says what the class adds for writing: as much as the standard does
            written = -(-base.cache_write * price_in // base.input)
        return Price(
            input=price_in,
            output=price_out,
            cached=found["cached"] or price_in,
            cache_write=max(price_in, written or 0),
            cache_write_1h=max(found["cache_write_1h"], price_in, written or 0) if found["cache_write_1h"] else None,
            reasoning=found["reasoning"] if (found["reasoning"] or 0) > price_out else None,
        )

    return one


def _taken(name: str, where: Dimension, genai: Listed | None, litellm: Listed, rows: list[Row]) -> int | None:
    said = [None if one is None else one.at(where.service, where.above, where.kind) for one in (genai, litellm)]
    known = [one for one in said if one is not None]
    taken = max(known, default=None)
    if taken is not None and said[0] is not None and said[1] is not None and said[0] != said[1]:
        short = litellm if said[1] < said[0] else genai
        tier = where.above and short is not None and where.above not in short.tiers(where.service)
        why = HIGHER if not tier else FLAT_LITELLM if short is litellm else FLAT_GENAI
        rows.append(Row(model=name, dimension=str(where), genai=said[0], litellm=said[1], taken=taken, why=why))
    return taken


def _raised(name: str, where: Dimension, found: dict[str, int | None], base: Price) -> Iterator[Row]:
    """Let a class that has no price for a size cost what the standard does there, at least."""
    for tier in base.above:
        for kind in FIELDS if tier.tokens == where.above else ():
            own: int | None = found[kind]
            standard: int | None = getattr(tier.price, kind)
            if own is not None and standard is not None and own < standard:
                found[kind] = standard
                what = str(replace(where, kind=kind))
                yield Row(model=name, dimension=what, genai=None, litellm=None, taken=standard, why=STANDARD)


def _tiers(levels: list[tuple[int, Price]]) -> Iterator[Above]:
    before = levels[0][1]
    for above, price in levels[1:]:
        if price != before:
            yield Above(tokens=above, price=price)
        before = price


def _sizes(name: str, genai: Listed | None, litellm: Listed, rows: list[Row]) -> tuple[int, int] | None:
    """The context and the longest output: a window that both know counts at its smaller size."""
    if litellm.max_input is None or litellm.max_output is None:
        return None
    whole = litellm.max_input + litellm.max_output
    said = None if genai is None else genai.context
    # a window larger than what is read and written together belongs to another model of that name
    context = litellm.max_input if said is None or said > whole else said
    if said is not None and said not in {litellm.max_input, whole}:
        why = WINDOW if context == said else INPUT
        rows.append(Row(model=name, dimension="context", genai=said, litellm=litellm.max_input, taken=context, why=why))
    return (max(context, litellm.max_output), litellm.max_output)
