"""The models that have a price: what each costs, how old that is, who says so, and which one would be used."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from runner.app.clock import SystemClock
from runner.app.plan import Asked, Sources, choose, gather
from runner.app.pricefile import text_of
from runner.errors import ConfigError, RunnerError, closest
from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS
from runner.models.server import Server
from runner.pricing.book import UPDATE, Age, Book, Entry, builtin, places, staleness, stanza
from runner.values import PicoUsd

BUILT_IN = "built-in"

_PICO_PER_USD_A_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A model of the book. `key` is its provider's key ("" = it has none), `place` who gave the price.

    `api` is how it is called: `chat`, `responses`, `messages` or `litellm`. `served` says that runner has an adapter
    for it; without, litellm does.
    """

    entry: Entry
    age: Age
    provider: str
    key: str
    has_key: bool
    served: bool
    api: str
    place: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a run that says nothing more would use; `model` None: it would be refused, `why` says the reason."""

    model: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models asked for, by provider and price, and the choice of now; `others` counts what is not listed."""

    models: tuple[Priced, ...]
    others: Mapping[str, int]
    choice: Choice
    base_url: str | None
    book: Book
    prices: Path | None
    notes: tuple[str, ...]


def listing(asked: Asked, wanted: str | None, *, every: bool = False) -> Listing:
    """List the book in force, or what of it `wanted` means: a name, a part of one, or a pattern with `*`.

    Nothing wanted, and not `every`: what can be called as things stand, and the user's own. Raises ConfigError where
    `wanted` means nothing, with what was meant and the price to add.
    """
    sources = gather(asked, workspace=asked.cwd.resolve(), spec_model=None)
    choice = _choice(sources, asked.cwd)
    names = _matching(wanted, sources, asked.cwd)
    stated = _stated(sources)
    rows = [_row(sources.book.entries[name], sources, stated, choice) for name in names]
    shown = [one for one in rows if wanted is not None or every or _near(one)]
    return Listing(
        models=tuple(sorted(shown, key=_order)),
        others=Counter(one.provider for one in sorted(rows, key=_order) if one not in shown),
        choice=choice,
        base_url=sources.settings.openai_base_url.value,
        book=sources.book,
        prices=sources.settings.prices.value,
        notes=sources.notes,
    )


def one_of(asked: Asked, name: str) -> tuple[Listing, Priced]:
    """The one model of that name. Raises ConfigError where there is none."""
    found = listing(asked, name)
    for one in found.models:
        if one.entry.name == name or len(found.models) == 1:
            return found, one
    raise ConfigError(
        f"{name!r} means {len(found.models)} models", hint=", ".join(one.entry.name for one in found.models[:9])
    )


def _near(one: Priced) -> bool:
    return one.has_key or one.chosen or one.place != BUILT_IN


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
        f"no model with a price is called {wanted!r}",
        hint=f"{meant}{add}".strip() or "runner models --all lists every model",
    )


def _stated(sources: Sources) -> Mapping[str, str]:
    """Where prices that are not built in stand, by model."""
    settings, before = sources.settings, builtin()
    found = {name: UPDATE for name, entry in sources.book.entries.items() if _plain(entry) != before.get(name)}
    found |= {
        f"{server}/{model}": f"config, providers.{server}"
        for server, models in settings.served.items()
        for model in models
    }
    if (path := settings.prices.value) is not None:
        text = text_of(path)
        found |= {name: f"{path}:{line}" if line else str(path) for name, line in places(text, path).items()}
    return found


def _plain(entry: Entry) -> Entry:
    """An entry without the user's contract."""
    return replace(entry, multiplier=1_000_000, multiplier_on_holds=False)


def _row(entry: Entry, sources: Sources, stated: Mapping[str, str], choice: Choice) -> Priced:
    provider = entry.name.partition("/")[0]
    server = sources.settings.providers.value.get(provider)
    key = {**SUPPORTED_KEYS, **FOREIGN_KEYS}.get(provider, "") if server is None else server.key
    return Priced(
        entry=entry,
        age=staleness(entry, SystemClock().now()),
        provider=provider,
        key=key,
        has_key=key in sources.keys,
        served=server is not None or provider in SUPPORTED_KEYS,
        api=_api(entry, provider, server, sources.settings.openai_base_url.value),
        place=stated.get(entry.name, BUILT_IN),
        chosen=entry.name == choice.model,
    )


def _api(entry: Entry, provider: str, server: Server | None, base_url: str | None) -> str:
    if server is not None:
        return server.api
    if provider == "openai":
        return "chat" if base_url else entry.api
    return "messages" if provider == "anthropic" else "litellm"


def _order(one: Priced) -> tuple[int, str, int, int, str]:
    providers = [*SUPPORTED_KEYS, *FOREIGN_KEYS]
    rank = providers.index(one.provider) if one.provider in providers else len(providers)
    return rank, one.provider, one.entry.price.output, one.entry.price.input, one.entry.name
