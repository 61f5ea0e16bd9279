"""The price book as bytes: JSON with prices in integer pico-USD, one model a line, read back as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import cast

import msgspec

from runner.errors import ConfigError
from runner.pricing.cost import Price
from runner.pricing.entry import Entry

VERSION = 2
"""Of the format. A book of another version is refused."""

_MOST = 10**12
AGAIN = "Make it again: runner prices update --from FILE"
_ABSENT: tuple[object, ...] = (None, (), {})
_ENCODER = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a file of the book holds. `sources` are the lists it was made from, with their versions."""

    version: int
    as_of: date
    sources: Mapping[str, str]
    models: tuple[Entry, ...]


def read(data: bytes, place: str) -> dict[str, Entry]:
    """The entries of a written book. Raises ConfigError that names `place` for what is no such book."""
    try:
        found = msgspec.json.decode(data, type=Written)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"not a price book: {error}", path=place, hint=AGAIN) from None
    if found.version != VERSION:
        raise ConfigError(f"a price book of version {found.version}; this is {VERSION}", path=place, hint=AGAIN)
    return {entry.name: entry for entry in found.models}


def write(entries: Iterable[Entry], *, as_of: date, sources: Mapping[str, str]) -> bytes:
    """The bytes of a book, the same for the same content: what is as a rule is left out."""
    head = json.dumps({"version": VERSION, "as_of": as_of.isoformat(), "sources": dict(sources)}, indent=1)
    lines = [
        json.dumps(_plain(entry), separators=(",", ":"), ensure_ascii=False)
        for entry in sorted(entries, key=lambda one: one.name)
    ]
    return (head.removesuffix("\n}") + ',\n "models": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def digest(entries: Mapping[str, Entry]) -> str:
    """The name of a whole content: SHA-256 over every field of every entry."""
    return hashlib.sha256(_ENCODER.encode(entries)).hexdigest()


def unsound(entry: Entry) -> str:
    """What of an entry that is not the user's own word cannot be meant; "" when nothing."""
    prices = [entry.price, *entry.price.services.values()]
    every = [*prices, *(tier.price for one in prices for tier in one.above)]
    if not all(0 < one.input < _MOST and 0 < one.output < _MOST and min(_known(one)) >= 0 for one in every):
        return "a price that is nothing, or above a dollar a token"
    if any([tier.tokens for tier in one.above] != sorted({tier.tokens for tier in one.above}) for one in prices):
        return "tiers out of order"
    if not 0 < entry.max_output <= entry.context or min(entry.price.geo.values(), default=1) < 1:
        return "sizes or factors that cannot be"
    if entry.local or entry.multiplier_on_holds or entry.multiplier != 1_000_000:
        return "a contract, or a server of one's own: only the user's prices may say so"
    return ""


def _known(price: Price) -> list[int]:
    more = (price.cache_write_1h, price.cache_write_12h, price.reasoning)
    return [price.cached, price.cache_write, *(one for one in more if one is not None)]


def _plain(entry: Entry) -> dict[str, object]:
    usual = {one.name: one.default for one in fields(Entry)}
    said: dict[str, object] = msgspec.to_builtins(entry)
    return {name: _bare(value) for name, value in said.items() if value != usual[name]}


def _bare(value: object) -> object:
    """A value without what means nothing: absent prices, and empty tables."""
    if isinstance(value, tuple):
        # what msgspec makes of tuples
        return [_bare(one) for one in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        # and of dataclasses and mappings
        table = cast("dict[str, object]", value)
        return {name: _bare(one) for name, one in table.items() if one not in _ABSENT}
    return value
