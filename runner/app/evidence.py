"""A provider's usage report, as CSV: what single requests cost, or what a model cost in a span of time."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from pathlib import Path
from typing import TypeAlias

from runner.errors import ConfigError, closest
from runner.values import Ms, NanoUsd

_REQUEST = ("request_id", "cost_usd")
_MODEL = (*_REQUEST, "model")
_WINDOW = ("start", "end", "model", "cost_usd")
_HEADERS = f"The first line is {','.join(_REQUEST)} (and model, if you like) or {','.join(_WINDOW)}."
_NANO = 1_000_000_000
_MOST_USD = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request's own cost. `model` "" says that its id is enough to know it by."""

    request_id: str
    cost: NanoUsd
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What all calls of a model cost from `start` until before `end`."""

    start: Ms
    end: Ms
    model: str
    cost: NanoUsd

    def overlaps(self, other: Window) -> bool:
        return self.model == other.model and self.start < other.end and other.start < self.end


Evidence: TypeAlias = "Request | Window"


def read(path: Path) -> list[Evidence]:
    """The rows of a report. Raises ConfigError with the line for anything that cannot be meant, or is said twice."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the report: {error.strerror}", path=path, hint="name a CSV file") from None
    except UnicodeDecodeError:
        raise ConfigError("cannot read the report: not UTF-8", path=path, hint="name a CSV file") from None
    rows = csv.DictReader(text.splitlines(), strict=True)
    try:
        columns = _columns(rows.fieldnames or (), path)
        found: list[Evidence] = []
        for row in rows:
            one = _row(row, columns, path, rows.line_num)
            if any(_same(one, other) for other in found):
                raise ConfigError("this is said before", path=path, line=rows.line_num, hint="one row for one thing")
            found.append(one)
    except csv.Error as error:
        raise ConfigError(f"not CSV: {error}", path=path, line=rows.line_num, hint=_HEADERS) from None
    return found


def _columns(names: Sequence[str], path: Path) -> tuple[str, ...]:
    for known in (_REQUEST, _MODEL, _WINDOW):
        if sorted(names) == sorted(known):
            return known
    every = (*_WINDOW, "request_id")
    for name in names:
        if name not in every:
            near = closest(name, every)
            hint = f"Did you mean {near!r}? {_HEADERS}" if near else _HEADERS
            raise ConfigError(f"unknown column {name!r}", path=path, line=1, hint=hint)
    raise ConfigError("columns are missing, or of two kinds", path=path, line=1, hint=_HEADERS)


def _row(row: Mapping[str | None, object], columns: tuple[str, ...], path: Path, line: int) -> Evidence:
    said = {name: str(row[name] or "").strip() for name in columns}
    if None in row or not all(said.values()):
        raise ConfigError("this row has too many or too few values", path=path, line=line, hint=_HEADERS)
    cost = _cost(said["cost_usd"], path, line)
    if columns != _WINDOW:
        return Request(request_id=said["request_id"], cost=cost, model=said.get("model", ""))
    start, end = _time(said["start"], path, line), _time(said["end"], path, line)
    if start >= end:
        raise ConfigError("this span of time ends before it begins", path=path, line=line, hint=_HEADERS)
    return Window(start=start, end=end, model=said["model"], cost=cost)


def _same(one: Evidence, other: Evidence) -> bool:
    if isinstance(one, Window) and isinstance(other, Window):
        return one.overlaps(other)
    if isinstance(one, Window) or isinstance(other, Window):
        return False
    return (one.request_id, one.model) == (other.request_id, other.model)


def _cost(text: str, path: Path, line: int) -> NanoUsd:
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or not 0 <= usd <= _MOST_USD:
        raise ConfigError(f"not an amount of US dollars: {text!r}", path=path, line=line, hint="e.g. 0.0123")
    return int((usd * _NANO).to_integral_value(ROUND_CEILING))


def _time(text: str, path: Path, line: int) -> Ms:
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.utcoffset() != dt.timedelta(0):
        raise ConfigError(f"not a time in UTC: {text!r}", path=path, line=line, hint="e.g. 2026-11-21T00:00:00Z")
    return int(when.timestamp() * 1000)
