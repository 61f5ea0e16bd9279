"""The models that have a price: what each costs, how old that is, who says so, and which one would be used."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from runner.app.clock import SystemClock
from runner.app.plan import Asked, Sources, choose, gather
from runner.app.pricefile import text_of
from runner.errors import ConfigError, RunnerError, closest
from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS
from runner.pricing.book import Age, Book, Entry, places, staleness, stanza
from runner.values import PicoUsd

_PICO_PER_USD_A_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A model of the book. `key` is its provider's key ("" = no such provider is known), `place` who gave the price."""

    entry: Entry
    age: Age
    provider: str
    key: str
    has_key: bool
    callable: bool
    place: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a run that says nothing more would use; `model` None: it would be refused, `why` says the reason."""

    model: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models asked for, by provider and price, and the choice of now."""

    models: tuple[Priced, ...]
    choice: Choice
    base_url: str | None
    book: Book
    prices: Path | None
    notes: tuple[str, ...]


def listing(asked: Asked, wanted: str | None) -> Listing:
    """List the book in force, or what of it `wanted` means: a name, a part of one, or a pattern with `*`.

    Raises ConfigError where it means nothing, with what was meant and the price to add.
    """
    sources = gather(asked, workspace=asked.cwd.resolve(), spec_model=None)
    choice = _choice(sources, asked.cwd)
    names = _matching(wanted, sources, asked.cwd)
    stated = _stated(sources)
    rows = [_row(sources.book.entries[name], sources, stated, choice) for name in names]
    return Listing(
        models=tuple(sorted(rows, key=_order)),
        choice=choice,
        base_url=sources.settings.openai_base_url.value,
        book=sources.book,
        prices=sources.settings.prices.value,
        notes=sources.notes,
    )


def dollars(price: PicoUsd) -> Decimal:
    """A price per token as US dollars per million tokens, exactly."""
    found = Decimal(price) / _PICO_PER_USD_A_MILLION
    return found.quantize(Decimal(1)) if found == found.to_integral() else found.normalize()


def _choice(sources: Sources, cwd: Path) -> Choice:
    setting = sources.settings.model
    try:
        found = choose(sources, setting.value, cwd)
    except RunnerError as error:
        return Choice(model=None, why=error.message)
    why = found.choice.why if setting.value is None else f"{found.choice.why}: {setting.place}"
    return Choice(model=found.entry.name, why=why)


def _matching(wanted: str | None, sources: Sources, cwd: Path) -> list[str]:
    names = sources.book.entries
    if wanted is None or wanted in names:
        return [*names] if wanted is None else [wanted]
    if wanted.startswith("replay:"):
        return [choose(sources, wanted, cwd).entry.name]
    pattern = wanted if any(sign in wanted for sign in "*?[") else f"*{wanted}*"
    if found := [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]:
        return found
    raise _unknown(wanted, names)


def _unknown(wanted: str, names: Iterable[str]) -> ConfigError:
    every = {part: name for name in names for part in (name, name.partition("/")[2])}
    near = closest(wanted, every)
    provider, slash, rest = wanted.partition("/")
    full = wanted if slash and provider and rest else f"openai/{wanted.strip('/') or 'NAME'}"
    plain = all(sign not in wanted for sign in '*?["\\')
    meant = f"Did you mean {every[near]!r}? " if near else ""
    add = f"To give it a price, write this to a file and name it with --prices FILE:\n\n{stanza(full)}" if plain else ""
    return ConfigError(
        f"no model with a price is called {wanted!r}", hint=f"{meant}{add}".strip() or "runner models lists them all"
    )


def _stated(sources: Sources) -> Mapping[str, str]:
    """Where the user's own prices stand, by model."""
    path = sources.settings.prices.value
    if path is None:
        return {}
    text = text_of(path)
    return {name: f"{path}:{line}" if line else str(path) for name, line in places(text, path).items()}


def _row(entry: Entry, sources: Sources, stated: Mapping[str, str], choice: Choice) -> Priced:
    provider = entry.name.partition("/")[0]
    key = {**SUPPORTED_KEYS, **FOREIGN_KEYS}.get(provider, "")
    return Priced(
        entry=entry,
        age=staleness(entry, SystemClock().now()),
        provider=provider,
        key=key,
        has_key=key in sources.keys,
        callable=provider in SUPPORTED_KEYS,
        place=stated.get(entry.name, "built-in"),
        chosen=entry.name == choice.model,
    )


def _order(one: Priced) -> tuple[int, str, int, int, str]:
    providers = [*SUPPORTED_KEYS, *FOREIGN_KEYS]
    rank = providers.index(one.provider) if one.provider in providers else len(providers)
    return rank, one.provider, one.entry.price.output, one.entry.price.input, one.entry.name
