"""A table of a TOML file about prices: typed values, and complaints that name file and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn, TypeGuard, cast

from runner.errors import ConfigError, closest
from runner.values import NanoUsd, PicoUsd

_PICO_PER_USD_A_MILLION = 1_000_000  # 1 USD per million tokens = 10^12 / 10^6 pico-USD a token
_NANO_PER_USD = 1_000_000_000
_MILLION = 1_000_000
_DEAREST = 1_000_000  # USD per million tokens; above this somebody mistook the unit
_DEAREST_USE = 1_000  # USD per use of a server tool
_MOST_TOKENS = 100_000_000
_MOST_TIMES = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where tables were read from. Without the file's text no line is known."""

    path: Path | str
    text: str = ""

    def line(self, names: tuple[str, ...], key: str | None = None, *, nth: int = 0) -> int | None:
        """The line of a key of the `nth` table of that name (key None: of its header); tomllib does not keep them."""
        inside, seen = not names, -1
        for number, line in enumerate(self.text.splitlines(), start=1):
            bare = line.strip()
            if bare.startswith("["):
                seen += (same := _header(bare) == names)
                inside = same and seen == nth
                if inside and key is None:
                    return number
            elif inside and key is not None and re.match(rf"""["']?{re.escape(key)}["']?\s*[=.]""", bare):
                return number
        return None


def _header(line: str) -> tuple[str, ...]:
    """The names in a header, dotted and quoted as they may be."""
    try:
        found: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    names: list[str] = []
    while found := _inner(found):
        # a header is a table of one key, again and again
        ((name, found),) = found.items()
        names.append(name)
    return tuple(names)


def _inner(value: object) -> dict[str, object]:
    if isinstance(value, list):
        # an array of tables, begun by its header: of one empty table
        (value,) = cast("list[object]", value)
    return value if _is_table(value) else {}


def _is_table(value: object) -> TypeGuard[dict[str, object]]:
    # tomllib makes every key a str
    return isinstance(value, dict)


@dataclass(frozen=True, slots=True)
class Table:
    """One table, by `names` from the top; `nth` of those that have them, in an array of tables."""

    values: Mapping[str, object]
    place: Place
    names: tuple[str, ...] = ()
    nth: int = 0

    @property
    def keys(self) -> list[str]:
        return [*self.values]

    def refuse(self, message: str, key: str | None, *, hint: str) -> NoReturn:
        """Raise ConfigError at a key of this table, else at the table."""
        line = self.place.line(self.names, key, nth=self.nth) if key is not None else None
        if line is None and self.names:
            line = self.place.line(self.names, nth=self.nth)
        raise ConfigError(message, path=self.place.path, line=line, hint=hint)

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse a key that means nothing here."""
        known = [*allowed]
        for key in self.values:
            if key not in known:
                near = closest(key, known)
                hint = f"Did you mean `{near}`?" if near else f"Known keys: {', '.join(known)}."
                self.refuse(f"unknown key `{key}`", key, hint=hint)

    def table(self, key: str, *, hint: str = "") -> Table:
        """The table of a key, an empty one where there is none."""
        value = self.values.get(key, {})
        if not _is_table(value):
            self.refuse(f"`{key}` is no table", key, hint=hint or "See the reference's page prices.")
        return Table(value, self.place, (*self.names, key))

    def tables(self, key: str) -> list[Table]:
        """The tables of an array, in order."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            self.refuse(f"`{key}` is no array of tables", key, hint="See the reference's page prices.")
        found: list[Table] = []
        # what it holds is looked at next
        for nth, row in enumerate(cast("list[object]", value)):
            if not _is_table(row):
                self.refuse(f"`{key}` is no array of tables", key, hint="See the reference's page prices.")
            found.append(Table(row, self.place, (*self.names, key), nth))
        return found

    def price(self, key: str) -> PicoUsd | None:
        """A price in pico-USD per token; None where there is none."""
        usd = self._number(key, _DEAREST, "is not a price", 'Write USD per million tokens, e.g. "1.25".')
        return None if usd is None else self._whole(key, usd * _PICO_PER_USD_A_MILLION, 6)

    def fee(self, key: str) -> NanoUsd:
        """A price in nano-USD per use."""
        usd = self._number(key, _DEAREST_USE, "is not a price", 'Write USD per use, e.g. "0.01".')
        return self._whole(key, (usd or Decimal(0)) * _NANO_PER_USD, 9)

    def millionths(self, key: str) -> int:
        """A factor above nothing, in millionths."""
        times = self._number(key, _MOST_TIMES, "is not a factor", 'Write what the list price is multiplied by: "0.85".')
        if not times:
            self.refuse(f"`{key}` is not a factor: {times}", key, hint='Write e.g. "0.85"; see `local` for no price.')
        return self._whole(key, times * _MILLION, 6)

    def tokens(self, key: str, *, least: int, usual: int | None) -> int:
        value = self.values.get(key, usual)
        if value is None:
            self.refuse(f"{self.names[-1]!r} has no `{key}`", None, hint=f"Add the number of tokens: {key} = 16384")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST_TOKENS:
            self.refuse(f"`{key}` is not a number of tokens: {value!r}", key, hint=f"Write: {key} = 16384")
        return value

    def flag(self, key: str, *, usual: bool) -> bool:
        value = self.values.get(key, usual)
        if not isinstance(value, bool):
            self.refuse(f"`{key}` is true or false, not {value!r}", key, hint=f"Write: {key} = true")
        return value

    def word(self, key: str, words: tuple[str, ...], *, usual: str) -> str:
        value = self.values.get(key, usual)
        if not isinstance(value, str) or value not in words:
            self.refuse(f"`{key}` is not {value!r}", key, hint=f"Write one of: {', '.join(map(repr, words))}.")
        return value

    def text(self, key: str, usual: str) -> str:
        return str(self.values.get(key, usual))

    def date(self, key: str, top: Table) -> date:
        """A day, from this table or else from the top one."""
        here = self if key in self.values else top
        value = here.values.get(key)
        hint = f"Write the day the price was true: {key} = 2026-01-31"
        if value is None:
            self.refuse(f"{self.names[-1]!r} has no `{key}`", None, hint=hint)
        if not isinstance(value, date) or isinstance(value, datetime):
            here.refuse(f"`{key}` is not a date: {value!s}", key, hint=hint)
        return value

    def _number(self, key: str, most: int, what: str, hint: str) -> Decimal | None:
        value = self.values.get(key)
        if value is None:
            return None
        try:
            # a float has lost digits already, so it is none of these
            number = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite() or not 0 <= number <= most:
            self.refuse(f"`{key}` {what}: {str(value)!r}", key, hint=hint)
        return number

    def _whole(self, key: str, value: Decimal, places: int) -> int:
        if value != value.to_integral_value():
            self.refuse(
                f"`{key}` has more than {places} decimals: {self.values[key]}", key, hint=f"Round it up to {places}."
            )
        return int(value)
