"""Prices as people write them: TOML in US dollars per million tokens (`docs/reference/prices.md`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from runner.errors import ConfigError
from runner.pricing import kept
from runner.pricing.cost import Above, Price
from runner.pricing.entry import Entry, stanza
from runner.pricing.table import Place, Table

_TOP = ("as_of", "source", "contract", "models")
_PRICES = ("input", "output", "cached", "cache_write", "cache_write_1h", "cache_write_12h", "reasoning")
_SIZES = ("context", "max_output", "allowance", "tools_allowance", "thinking_allowance")
_APIS = ("chat", "responses")
_COUNTS = ("all", "fresh", "untrusted")
_TOKENIZERS = ("bytes", "normalises")
_THINKING = ("", "budget", "adaptive", "always")
_MARKS = ("api", "count", "tokenizer", "thinking", "multiplier", "multiplier_on_holds", "local")
_MODEL = (*_PRICES, *_SIZES, *_MARKS, "as_of", "source", "above", "services", "geo", "fees")
_LIST_PRICE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a provider charges the user for all of its models, in millionths of the list price."""

    multiplier: int
    on_holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a file says: models by name, where each begins (None: it has no header), contracts by provider.

    `own` are the models with a multiplier of their own, which stands before their provider's contract.
    """

    entries: Mapping[str, Entry]
    places: Mapping[str, int | None]
    contracts: Mapping[str, Contract]
    own: frozenset[str]

    def over(self, before: Mapping[str, Entry]) -> dict[str, Entry]:
        """A book with this put over it."""
        return {name: self._at(entry) for name, entry in {**before, **self.entries}.items()}

    def _at(self, entry: Entry) -> Entry:
        contract = self.contracts.get(entry.name.partition("/")[0])
        if contract is None or entry.name in self.own:
            return entry
        return replace(entry, multiplier=contract.multiplier, multiplier_on_holds=contract.on_holds)


def read(text: str, path: Path | str, known: Mapping[str, Entry]) -> Read:
    """Read a file of prices. Sizes and marks that a table leaves out are those of the entry of that name in `known`.

    Its tiers, classes of service, places and fees stay as well, as `runner.pricing.kept` says.

    Raises ConfigError with file and line for anything that cannot be meant.
    """
    try:
        # Decimal from the literal's own digits: a price never passes through a float
        found: dict[str, object] = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise _broken(str(error), path) from None
    top = Table(found, Place(path, text))
    top.only(_TOP)
    models = top.table("models", hint=f"Write:\n\n{stanza('openai/NAME')}")
    contracts = top.table("contract")
    return Read(
        entries={name: _entry(name, models, top, known) for name in models.keys},
        places={name: top.place.line(("models", name)) for name in models.keys},
        contracts={name: _contract(contracts.table(name)) for name in contracts.keys},
        own=frozenset(name for name in models.keys if "multiplier" in models.table(name).keys),
    )


def served(server: str, tables: Mapping[str, object], known: Mapping[str, Entry]) -> dict[str, Entry]:
    """The models of a server of the user's: the tables `providers.SERVER.models` of the user's config.

    Its counts of tokens are not trusted unless a table says so. Raises ConfigError.
    """
    place = Place(f"config: providers.{server}.models")
    models = Table({f"{server}/{name}": value for name, value in tables.items()}, place)
    return {name: _entry(name, models, Table({}, place), known) for name in models.keys}


def _entry(name: str, models: Table, top: Table, known: Mapping[str, Entry]) -> Entry:
    if not isinstance(models.values[name], dict) or "/" not in name.strip("/"):
        Table({}, models.place, (*models.names, name)).refuse(
            f"{name!r} is no model", None, hint=f"A model is PROVIDER/NAME, in quotes:\n\n{stanza('openai/NAME')}"
        )
    table = models.table(name)
    table.only(_MODEL)
    before = known.get(name)
    # a provider adds to requests and counts tokens in one way for all of its models
    like = before or next((one for one in known.values() if one.name.startswith(name.partition("/")[0] + "/")), None)
    price = _whole(table, name, before.price if before else None)
    return Entry(
        name=name,
        price=price,
        max_output=table.tokens("max_output", least=1, usual=before.max_output if before else None),
        context=table.tokens("context", least=1, usual=before.context if before else None),
        as_of=table.date("as_of", top),
        source=table.text("source", top.text("source", str(top.place.path))),
        allowance=table.tokens("allowance", least=0, usual=like.allowance if like else 0),
        tools_allowance=table.tokens("tools_allowance", least=0, usual=like.tools_allowance if like else 0),
        thinking_allowance=table.tokens("thinking_allowance", least=0, usual=like.thinking_allowance if like else 0),
        api=table.word("api", _APIS, usual=before.api if before else "chat"),
        count=table.word("count", _COUNTS, usual=like.count if like else "untrusted"),
        tokenizer=table.word("tokenizer", _TOKENIZERS, usual=like.tokenizer if like else "bytes"),
        thinking=table.word("thinking", _THINKING, usual=before.thinking if before else ""),
        multiplier=table.millionths("multiplier") if "multiplier" in table.keys else _LIST_PRICE,
        multiplier_on_holds=table.flag("multiplier_on_holds", usual=False),
        local=_local(table, price, name),
    )


def _local(table: Table, price: Price, name: str) -> bool:
    """Whether a model is one of the user's own server, which nothing but their own word makes it."""
    local = table.flag("local", usual=False)
    if local and kept.costs(price):
        table.refuse(f"{name!r} is local, and has a price", "local", hint='Write "0" for every price, or leave it out.')
    if not local and price.input == price.output == 0:
        table.refuse(
            f"{name!r} costs nothing, and is not local",
            "local",
            hint="Write `local = true` if this is a server of your own; else give its price.",
        )
    return local


def _whole(table: Table, name: str, before: Price | None) -> Price:
    """Every price of a model's table, with what it does not name kept from `before`."""
    flat = _price(table, name, before)
    services, geo, fees = table.table("services"), table.table("geo"), table.table("fees")
    stated = replace(
        flat,
        above=_tiers(table, flat, name),
        services={
            key: _service(services.table(key), name, before.services.get(key) if before else None)
            for key in services.keys
        },
        geo={key: -(-geo.millionths(key) // 1000) for key in geo.keys},
        fees={key: fees.fee(key) for key in fees.keys},
    )
    return stated if before is None else kept.over(stated, before, frozenset(table.keys))


def _price(table: Table, name: str, before: Price | None) -> Price:
    """The flat prices of a table; those it leaves out are never too little, by `before` and by what is usual."""
    said = {key: table.price(key) for key in _PRICES}
    price_in, price_out = said["input"], said["output"]
    if price_in is None or price_out is None:
        missing = "input" if price_in is None else "output"
        table.refuse(f"{name!r} has no `{missing}` price", None, hint=f"Add:\n\n{stanza(name)}")
    cached, write = said["cached"], said["cache_write"]
    flat = Price(
        input=price_in,
        output=price_out,
        cached=price_in if cached is None else cached,
        cache_write=kept.usual_write(price_in, before) if write is None else write,
        cache_write_1h=said["cache_write_1h"],
        cache_write_12h=said["cache_write_12h"],
        reasoning=said["reasoning"],
    )
    return flat if before is None else kept.longer(flat, before)


def _tiers(table: Table, flat: Price, name: str) -> tuple[Above, ...]:
    tiers: list[Above] = []
    for one in table.tables("above"):
        one.only(("tokens", *_PRICES))
        tokens = one.tokens("tokens", least=1, usual=None)
        if tiers and tokens <= tiers[-1].tokens:
            one.refuse(f"tiers of {name!r} are out of order", "tokens", hint="Write them from small to large.")
        said = {key: price for key in _PRICES if (price := one.price(key)) is not None}
        tiers.append(Above(tokens=tokens, price=kept.tier(said, tiers[-1].price if tiers else flat)))
    return tuple(tiers)


def _service(table: Table, name: str, before: Price | None) -> Price:
    table.only((*_PRICES, "above"))
    flat = _price(table, name, before)
    stated = replace(flat, above=_tiers(table, flat, name))
    return stated if before is None else kept.over(stated, before, frozenset(table.keys))


def _contract(table: Table) -> Contract:
    table.only(("multiplier", "on_holds"))
    if "multiplier" not in table.keys:
        table.refuse("a contract has no `multiplier`", None, hint='Write: multiplier = "0.85"')
    return Contract(multiplier=table.millionths("multiplier"), on_holds=table.flag("on_holds", usual=False))


def _broken(message: str, path: Path | str) -> ConfigError:
    place = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
    what = message[: place.start()] if place else message
    line, column = (int(place[1]), int(place[2])) if place else (None, None)
    return ConfigError(
        f"not TOML: {what}", path=path, line=line, column=column, hint="See the reference's page prices."
    )
