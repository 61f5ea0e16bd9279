"""A run's own limits: who states one, and where nobody does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import tzinfo

from runner.errors import ConfigError
from runner.spec.deadline import deadline_at
from runner.spec.fields import MOST_SECONDS, MOST_WHOLE
from runner.spec.model import Spec
from runner.values import NANO, Limits, Ms, parse_duration, parse_usd

BUILT_IN = Limits(usd=5 * NANO, iterations=25, steps=100, duration_s=8 * 3600)
"""What applies where nobody states a limit: 5.00 USD, 25 iterations, 100 steps each, 8 h of active time."""

FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Limits))

FLAGS: Mapping[str, str] = {
    "usd": "--max-cost",
    "tokens": "--max-tokens",
    "calls": "--max-calls",
    "iterations": "--max-iterations",
    "steps": "--max-steps",
    "duration_s": "--max-duration",
    "deadline": "--deadline",
    "idle_s": "--max-idle",
}


EXAMPLES: Mapping[str, str] = {
    "usd": "2.50",
    "tokens": "500000",
    "calls": "100",
    "iterations": "10",
    "steps": "50",
    "duration_s": "1h30m",
    "deadline": "07:00",
    "idle_s": "15m",
}


def limit_flag(name: str, text: str, *, now: Ms, zone: tzinfo | None = None) -> int | None:
    """Read a limit as written on the command line; `none` is unlimited. Raises ConfigError naming the flag."""
    if text.strip().lower() == "none":
        return None
    try:
        match name:
            case "usd":
                return parse_usd(text)
            case "duration_s" | "idle_s":
                return _at_most(parse_duration(text), MOST_SECONDS, "ten years", text)
            case "deadline":
                return deadline_at(text, now=now, zone=zone)
            case _:
                return _at_most(_whole(text), MOST_WHOLE, f"{MOST_WHOLE:,}", text)
    except ValueError as error:
        hint = f"e.g. {FLAGS[name]} {EXAMPLES[name]}; write none for no limit"
        raise ConfigError(f"{FLAGS[name]}: {error}", hint=hint) from None


def resolve_limits(
    spec: Spec,
    flags: Mapping[str, int | None],
    base: Limits | None = None,
    *,
    base_sources: Mapping[str, str] | None = None,
    no_budget: bool = False,
) -> tuple[Limits, dict[str, str]]:
    """Decide each limit by itself, and say whose it is.

    `flags` holds the limits given as flags (None = unlimited); a flag replaces the spec's value, the spec's
    replaces the built-in one. With `base` (a resume) the earlier limits stay where no flag replaces them, whatever
    spec and built-in say now. `no_budget` lifts a money cap of the built-in or the spec. Raises ConfigError where flags
    contradict.
    """
    given: dict[str, int | None] = {}
    sources: dict[str, str] = {}
    for name in FIELDS:
        if name in flags:
            given[name], sources[name] = flags[name], "flag" if base is None else "resume flag"
        elif base is not None:
            given[name], sources[name] = _limit(base, name), (base_sources or {}).get(name, "earlier")
        elif name in spec.stated:
            given[name], sources[name] = _limit(spec.limits, name), "spec"
        else:
            given[name], sources[name] = _limit(BUILT_IN, name), "built-in"
    if no_budget:
        if sources["usd"] in {"flag", "resume flag"}:
            at_once = "--no-budget and --max-cost were both given"
            if "usd" in flags:
                raise ConfigError(at_once, hint="keep one: --no-budget means no money cap of this run's own")
            raise ConfigError(
                "--no-budget does not lift a cap that was set by --max-cost", hint="lift it by name: --max-cost none"
            )
        given["usd"], sources["usd"] = None, "--no-budget"
    return replace(Limits(), **given), sources


def _limit(limits: Limits, name: str) -> int | None:
    value: int | None = getattr(limits, name)
    return value


def _whole(text: str) -> int:
    plain = text.strip().replace("_", "").replace(",", "")
    if not plain.isascii() or not plain.isdecimal():
        msg = f"not a whole number: {text[:40]!r}"
        raise ValueError(msg)
    return int(plain)


def _at_most(value: int, most: int, shown: str, text: str) -> int:
    if value > most:
        msg = f"more than {shown}: {text[:40]!r}"
        raise ValueError(msg)
    return value
