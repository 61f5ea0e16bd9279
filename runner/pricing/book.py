"""The price book: what each known model costs at most, and how old that knowledge is.

The format is TOML (`docs/reference/prices.md`). A built-in book comes with runner; a file of the user's may
add models and replace prices. A model without a price is refused, never free.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, cast

from runner.errors import ConfigError, closest
from runner.pricing.cost import Price
from runner.values import Billing, Ms, PicoUsd

Age: TypeAlias = Literal["fresh", "old", "stale"]

OLD_DAYS = 60
STALE_DAYS = 180
STALE_HOLD_PERCENT = 125

_PICO_PER_USD_A_MILLION = 1_000_000  # 1 USD per million tokens = 10^12 / 10^6 pico-USD a token
_DEAREST = 1_000_000  # USD per million tokens; above this somebody mistook the unit
_MOST_TOKENS = 100_000_000
_DAY_MS = 86_400_000
_BUILTIN = "builtin.toml"
_TOP_KEYS = ("as_of", "source", "models")
_MODEL_KEYS = ("input", "output", "cached", "cache_write", "context", "max_output", "allowance", "as_of", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model's list price and sizes.

    `max_output` and `context` are tokens. `allowance` is how many input tokens the provider may add to a request by
    itself, `tools_allowance` and `thinking_allowance` how many more with tools and with thinking. `as_of` is the day
    the price was true, `source` where it was read. `api` is `chat` or `responses`. `count` says what the server's own
    count of input holds: `all`, `fresh` (without what was cached) or `untrusted`. `tokenizer` is `bytes`, or
    `normalises` where a byte may become several tokens. `image` is the most tokens an image costs (None: not bounded,
    so refused). `thinking` is "", `budget`, `adaptive` or `always`. `multiplier` is the contract's, in millionths; it
    lowers holds as well only with `multiplier_on_holds`. `local` is a server of one's own, priced at nothing on
    purpose.
    """

    name: str
    price: Price
    max_output: int
    context: int
    as_of: date
    source: str
    allowance: int = 0
    tools_allowance: int = 0
    thinking_allowance: int = 0
    api: str = "chat"
    count: str = "all"
    tokenizer: str = "bytes"
    image: int | None = None
    thinking: str = ""
    multiplier: int = 1_000_000
    multiplier_on_holds: bool = False
    local: bool = False

    @property
    def billing(self) -> Billing:
        return Billing.LOCAL if self.local else Billing.METERED


def staleness(entry: Entry, now: Ms) -> Age:
    """How far to trust a price: `old` (over 60 days) deserves a warning, `stale` (over 180) a larger hold."""
    since = datetime(entry.as_of.year, entry.as_of.month, entry.as_of.day, tzinfo=UTC)
    days = (now - int(since.timestamp()) * 1000) // _DAY_MS
    if days > STALE_DAYS:
        return "stale"
    return "old" if days > OLD_DAYS else "fresh"


def hold_percent(entry: Entry, now: Ms) -> int:
    """What share of the price to hold, in percent: 100, or 125 when the price is stale."""
    return STALE_HOLD_PERCENT if staleness(entry, now) == "stale" else 100


@dataclass(frozen=True, slots=True)
class Book:
    """Prices by `provider/model`. Immutable; `digest` names its whole content."""

    entries: Mapping[str, Entry]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest(self.entries))

    @classmethod
    def load(cls, user_text: str | None = None, *, path: Path | str | None = None) -> Book:
        """The built-in book, with the entries of a user's file (`path` names it in errors) put over it.

        Raises ConfigError with file and line for anything in the file that cannot be meant.
        """
        text = resources.files(__package__ or "runner.pricing").joinpath(_BUILTIN).read_text("utf-8")
        entries = _Reader(text, _BUILTIN, {}).entries()
        if user_text is not None:
            entries |= _Reader(user_text, path or "prices", entries).entries()
        return cls(dict(sorted(entries.items())))

    def lookup(self, name: str) -> Entry:
        """The entry of `provider/model`; raises ConfigError with the stanza to add when there is none."""
        if (entry := self.entries.get(name)) is not None:
            return entry
        near = closest(name, self.entries, cutoff=0.85)
        meant = f"Did you mean {near!r}? If not, write" if near else "Write"
        raise ConfigError(
            f"no price is known for model {name!r}, so no cap on it can bind",
            hint=f"{meant} this, with the provider's own numbers, to a file and name it with --prices FILE "
            f"or RUNNER_PRICES:\n\n{stanza(name)}",
        )


def places(text: str, path: Path | str) -> dict[str, int | None]:
    """The models that a sound price file names, each with the line its table begins on (None: it has no header)."""
    return _Reader(text, path, Book.load().entries).places()


def stanza(name: str) -> str:
    """The TOML a user completes to give a model a price."""
    return "\n".join(
        (
            f"[models.{json.dumps(name)}]",
            'input = "…"          # USD per million input tokens ("0" only for a server of your own)',
            'output = "…"         # USD per million output tokens',
            "context = 200000     # tokens",
            "max_output = 16384   # tokens",
            "as_of = 2026-01-31   # the day you looked the price up",
        )
    )


def _digest(entries: Mapping[str, Entry]) -> str:
    content = {
        name: [
            entry.price.input,
            entry.price.output,
            entry.price.cached,
            entry.price.cache_write,
            entry.max_output,
            entry.context,
            entry.allowance,
            entry.as_of.isoformat(),
            entry.source,
        ]
        for name, entry in entries.items()
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class _Reader:
    """Reads one price file; every complaint names the file and, where it can be found, the line."""

    def __init__(self, text: str, path: Path | str, known: Mapping[str, Entry]) -> None:
        self._text, self._path, self._known = text, path, known

    def entries(self) -> dict[str, Entry]:
        try:
            # Decimal from the literal's own digits: a price never passes through a float
            top: dict[str, object] = tomllib.loads(self._text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise self._broken(str(error)) from None
        self._only(top, _TOP_KEYS, None)
        models = top.get("models", {})
        if not isinstance(models, dict):
            raise self._error(
                "`models` is a table of tables", None, "models", hint=f"Write:\n\n{stanza('openai/NAME')}"
            )
        # tomllib makes every key a str
        tables = cast("dict[str, object]", models)
        return {name: self._entry(name, table, top) for name, table in tables.items()}

    def places(self) -> dict[str, int | None]:
        return {name: self._line(name, None) for name in self.entries()}

    def _entry(self, name: str, value: object, top: Mapping[str, object]) -> Entry:
        if not isinstance(value, dict) or "/" not in name.strip("/"):
            raise self._error(
                f"{name!r} is no model",
                name,
                None,
                hint=f"A model is PROVIDER/NAME, in quotes:\n\n{stanza('openai/NAME')}",
            )
        # tomllib makes every key a str
        table = cast("dict[str, object]", value)
        self._only(table, _MODEL_KEYS, name)
        before = self._known.get(name)
        price_in = self._price(table, name, "input", None)
        return Entry(
            name=name,
            price=Price(
                input=price_in,
                output=self._price(table, name, "output", None),
                # without a price of their own, cache tokens are charged like any input: never too little
                cached=self._price(table, name, "cached", price_in),
                cache_write=self._price(table, name, "cache_write", price_in),
            ),
            max_output=self._tokens(table, name, "max_output", before.max_output if before else None),
            context=self._tokens(table, name, "context", before.context if before else None),
            allowance=self._tokens(table, name, "allowance", before.allowance if before else 0),
            as_of=self._date(table, name, top),
            source=str(table.get("source", top.get("source", self._path))),
        )

    def _price(self, table: Mapping[str, object], name: str, key: str, default: PicoUsd | None) -> PicoUsd:
        value = table.get(key)
        if value is None:
            if default is not None:
                return default
            raise self._error(f"{name!r} has no `{key}` price", name, None, hint=f"Add:\n\n{stanza(name)}")
        try:
            usd = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
        except InvalidOperation:
            usd = None
        if usd is None or not usd.is_finite() or not 0 <= usd <= _DEAREST:
            raise self._error(
                f"`{key}` is not a price: {str(value)!r}", name, key, hint='Write USD per million tokens, e.g. "1.25".'
            )
        pico = usd * _PICO_PER_USD_A_MILLION
        if pico != pico.to_integral_value():
            raise self._error(f"`{key}` has more than 6 decimals: {value}", name, key, hint="Round it up to 6.")
        return int(pico)

    def _tokens(self, table: Mapping[str, object], name: str, key: str, default: int | None) -> int:
        value = table.get(key, default)
        if value is None:
            raise self._error(f"{name!r} has no `{key}`", name, None, hint=f"Add the number of tokens: {key} = 16384")
        least = 0 if key == "allowance" else 1
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST_TOKENS:
            raise self._error(f"`{key}` is not a number of tokens: {value!r}", name, key, hint=f"Write: {key} = 16384")
        return value

    def _date(self, table: Mapping[str, object], name: str, top: Mapping[str, object]) -> date:
        value = table.get("as_of", top.get("as_of"))
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        what = f"{name!r} has no `as_of`" if value is None else f"`as_of` is not a date: {value!s}"
        raise self._error(
            what,
            name if "as_of" in table else None,
            "as_of",
            hint="Write the day the price was true: as_of = 2026-01-31",
        )

    def _only(self, table: Mapping[str, object], allowed: tuple[str, ...], name: str | None) -> None:
        for key in table:
            if key not in allowed:
                near = closest(key, allowed)
                hint = f"Did you mean `{near}`?" if near else f"Known keys: {', '.join(allowed)}."
                raise self._error(f"unknown key `{key}`", name, key, hint=hint)

    def _error(self, message: str, name: str | None, key: str | None, *, hint: str) -> ConfigError:
        return ConfigError(message, path=self._path, line=self._line(name, key), hint=hint)

    def _line(self, name: str | None, key: str | None) -> int | None:
        """The line of a key, or of a model's table; tomllib does not keep them."""
        inside = name is None
        for number, line in enumerate(self._text.splitlines(), start=1):
            bare = line.strip()
            if bare.startswith("[") and name is not None:
                inside = f'"{name}"' in bare or f"'{name}'" in bare
                if inside and key is None:
                    return number
            elif inside and key is not None and re.match(rf"""["']?{re.escape(key)}["']?\s*[=.]""", bare):
                return number
        return None

    def _broken(self, message: str) -> ConfigError:
        place = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
        what = message[: place.start()] if place else message
        line, column = (int(place[1]), int(place[2])) if place else (None, None)
        return ConfigError(
            f"not TOML: {what}", path=self._path, line=line, column=column, hint="See the reference's page prices."
        )
