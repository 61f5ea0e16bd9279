"""What one policy says otherwise than another: rules, gates and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from runner.policy.book import Rule, Rulebook
from runner.policy.merge import shown

# where a rule stands changes nothing of what it says
_PLACES = ("place", "position", "layer", "match", "no_match")


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `kind` is `rule`, `gate` or `setting`; `old` and `new` are "" where it is not there."""

    kind: str
    name: str
    old: str
    new: str

    def __str__(self) -> str:
        if not self.old:
            return f"+ {self.kind} {self.name}: {self.new}"
        if not self.new:
            return f"- {self.kind} {self.name}: {self.old}"
        return f"~ {self.kind} {self.name}: {self.old} -> {self.new}"


def differences(old: Rulebook, new: Rulebook) -> Iterator[Difference]:
    """What was taken away, added and changed, in the order of names."""
    yield from _of("rule", _rules(old), _rules(new))
    yield from _of("gate", _gates(old), _gates(new))
    yield from _of("setting", _settings(old), _settings(new))


def _of(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after:
            yield Difference(kind, name, before, after)


def _rules(book: Rulebook) -> dict[str, str]:
    return {rule.id: rule_text(rule) for rule in book.rules}


def rule_text(rule: Rule) -> str:
    """A rule in one line: its effect, its tools, and what it matches."""
    parts = [rule.ruling.value, ",".join(rule.tools), *_stated(rule.conditions)]
    parts += [f"unless({' '.join(_stated(one))})" for one in rule.unless]
    parts += [f"gate={rule.gate}"] if rule.gate else []
    parts += [f"mode={rule.mode}"] if rule.mode != "enforce" else []
    return " ".join(parts)


def _stated(value: object) -> Iterator[str]:
    """The fields of a value that say something, as `name=value`."""
    if not dataclasses.is_dataclass(value):
        return
    for field in dataclasses.fields(value):
        said: object = getattr(value, field.name)
        if dataclasses.is_dataclass(said):
            yield from _stated(said)
        elif said not in ("", (), None):
            yield f"{field.name}={_words(said)}"


def _words(value: object) -> str:
    if isinstance(value, tuple):
        # whatever a rule holds is told one by one
        return "[" + ",".join(_words(one) for one in cast("tuple[object, ...]", value)) + "]"
    said = list(_stated(value))
    return f"({' '.join(said)})" if said else str(value)


def _gates(book: Rulebook) -> dict[str, str]:
    return {name: " ".join(_stated(gate)) for name, gate in book.gates.items()}


def _settings(book: Rulebook) -> dict[str, str]:
    return {name: shown(name, one.value) for name, one in book.settings.items()}
