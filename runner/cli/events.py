"""One event as one line for a person: when, its number, its kind, and what it says in short."""

from __future__ import annotations

import datetime as dt
from typing import TypeAlias

import msgspec

from runner.store.journal import Row
from runner.values import format_usd

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

_WIDTH = 70
_MONEY = frozenset({"cost", "hold", "held", "billed", "usd"})
# What a person looks up elsewhere: long texts, names of objects, and what repeats the run's first line.
_LEFT_OUT = frozenset({
    "spec_text", "spec_key", "system", "prompt", "prices_digest", "scopes", "limit_sources", "boot_id", "started_ticks",
    "before", "after", "commit", "tree", "digest", "request_id", "sources", "tail", "run", "origin",
})  # fmt: skip


def line(row: Row) -> str:
    """Show a stored event; a kind this version does not know is shown like any other."""
    at = dt.datetime.fromtimestamp(row.at / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    try:
        body: Value = msgspec.json.decode(row.body)
    except msgspec.DecodeError:
        body = {"damaged": row.body}
    said = _fields(body) if isinstance(body, dict) else _short(body)
    return f"{at} {row.seq:>5}  {row.kind:<17} {said}".rstrip()


def _fields(body: dict[str, Value]) -> str:
    shown = (
        f"{name.replace('_', ' ')} {text}"
        for name, value in body.items()
        if name not in _LEFT_OUT and (text := _shown(name, value))
    )
    return ", ".join(shown)


def _shown(name: str, value: Value) -> str:
    match value:
        case None | False | "":
            return ""
        case True:
            return "yes"
        case int() if name in _MONEY:
            return format_usd(value)
        case dict():
            return _object(value)
        case list():
            return _short("; ".join(text for one in value if (text := _shown(name, one))))
        case _:
            return _short(value)


def _object(value: dict[str, Value]) -> str:
    match value:
        case {"iteration": iteration, "step": step, "attempt": attempt}:
            return f"{iteration}.{step}.{attempt}"
        case {"name": name, "arguments": arguments}:
            return f"{name} {_short(arguments)}"
        case {"input_tokens": read, "output_tokens": written}:
            return f"{read} in {written} out"
        case _:
            return f"({_fields(value)})" if _fields(value) else ""


def _short(value: Value) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
