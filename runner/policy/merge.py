"""Layers of policy files become one rulebook. A lower layer may only tighten; what loosens is named with both lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from runner.policy import patterns
from runner.policy.book import Egress, Rule, Rulebook
from runner.policy.compiled import LAYERS
from runner.policy.document import Document, Stated
from runner.policy.effective import OWN_GATE, line, rulebook
from runner.policy.settings import BUILT_IN, EMPTY_UNLESS_STATED, SETTINGS, TOP_ONLY, Value, listed
from runner.spec import fields
from runner.spec.frontmatter import Place
from runner.values import Gate, Ruling, format_duration, format_usd

T = TypeVar("T")


def merge(documents: Sequence[Document], *, home: str = "", state: str = "") -> Rulebook:
    """The rulebook of these files (one at least). Raises ConfigError that names both lines for each loosening.

    `home` is what `~` stands for; `state` is runner's own directory, which is nothing to any tool.
    """
    ordered = sorted(documents, key=lambda each: LAYERS.index(each.source.layer))
    layers = [list(group) for _, group in groupby(ordered, key=lambda each: each.source.layer)]
    faults = fields.Faults()
    settings: dict[str, Stated] = {}
    for depth, layer in enumerate(layers):
        upper = dict(settings)
        for document in layer:
            with faults:
                _tightens(document, upper, layers[:depth])
            for name, stated in document.settings.items():
                with faults:
                    settings[name] = _joined(name, stated, settings.get(name))
    with faults:
        _unique(ordered)
    faults.end()
    gates = _gates(layers, settings)
    return rulebook(ordered, settings, gates, home=home, state=state)


# ---- tightening ------------------------------------------------------------------------------------------


def _tightens(document: Document, upper: Mapping[str, Stated], above: Sequence[Sequence[Document]]) -> None:
    """Raise for every line of `document` that allows what the layers above it do not."""
    if not above:
        return
    faults = fields.Faults()
    locked = {name: at for layer in above for each in layer for name, at in each.locked}
    for name, stated in document.settings.items():
        with faults:
            _setting(name, stated, upper.get(name), locked)
    for name, (_, at) in document.groups.items():
        with faults:
            _refuse(at, f"the group '{name}'", "groups are the top layer's to name")
    lock = _locking("rules", locked)
    if document.rules and lock is not None:
        with faults:
            _refuse(document.rule_places[0], "rules", f"locked by {line(lock)}")
    allowed = _delegated(above)
    for rule, at in zip(document.rules, document.rule_places, strict=True):
        with faults:
            _rule(rule, at, allowed, upper, above)
    faults.end()


def _setting(name: str, stated: Stated, over: Stated | None, locked: Mapping[str, Place]) -> None:
    if (at := _locking(name, locked)) is not None:
        _refuse(stated.at, name, f"locked by {line(at)}")
    if over is not None:
        if SETTINGS[name].loosens(stated.value, over.value):
            _refuse(
                stated.at, f"{name}: {shown(name, stated.value)}", f"{line(over.at)} says {shown(name, over.value)}"
            )
    elif name in TOP_ONLY or (name in EMPTY_UNLESS_STATED and stated.value):
        _refuse(stated.at, f"{name}: {shown(name, stated.value)}", "no layer above states it, and only the top one may")
    elif name in BUILT_IN and SETTINGS[name].loosens(stated.value, BUILT_IN[name]):
        _refuse(
            stated.at,
            f"{name}: {shown(name, stated.value)}",
            f"where the layers above say nothing it is {shown(name, BUILT_IN[name])}",
        )


def _rule(
    rule: Rule,
    at: Place,
    allowed: tuple[tuple[str, ...] | None, Place | None],
    upper: Mapping[str, Stated],
    above: Sequence[Sequence[Document]],
) -> None:
    tools, where = allowed
    if rule.mode == "audit" and not all(each.may_audit for layer in above for each in layer):
        _refuse(
            at, f"the rule '{rule.id}' with mode: audit", "no layer above has 'delegate: {project_may_audit: true}'"
        )
    if rule.ruling is not Ruling.ALLOW:
        return
    default = upper.get("default")
    if default is not None and default.value == "deny":
        _refuse(
            at, f"the rule '{rule.id}' allows", f"{line(default.at)} says default: deny, and only ask can be delegated"
        )
    barred = [tool for tool in rule.tools if not any(covers(glob, tool) for glob in tools or ())]
    if barred:
        told = (
            f"{line(where)} delegates {', '.join(tools or ()) or 'no tool'}"
            if where
            else f"{_top(above)} delegates no tool"
        )
        _refuse(at, f"the rule '{rule.id}' allows {barred[0]}", told)


def covers(glob: str, tool: str) -> bool:
    """Whether a delegated name covers a rule's tool, which may be a glob itself."""
    if glob == tool:
        return True
    # a star of the rule's may stand for more than one of the delegation's
    return patterns.word(glob)(tool) if patterns.is_literal(tool) else glob == "*"


def _delegated(above: Sequence[Sequence[Document]]) -> tuple[tuple[str, ...] | None, Place | None]:
    """What every layer above delegates that says anything of it, and where the last of them says it."""
    tools: tuple[str, ...] | None = None
    where: Place | None = None
    for layer in above:
        for each in layer:
            if each.delegated is None:
                continue
            mine = each.delegated
            tools = (
                mine
                if tools is None
                else tuple(
                    dict.fromkeys(
                        [one for one in tools if any(covers(glob, one) for glob in mine)]
                        + [one for one in mine if any(covers(glob, one) for glob in tools)]
                    )
                )
            )
            where = each.delegated_at
    return tools, where


def _locking(name: str, locked: Mapping[str, Place]) -> Place | None:
    """Where a setting, or a mapping it stands in, is locked."""
    parts = name.split(".")
    names = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return next((locked[each] for each in names if each in locked), None)


def _refuse(at: Place, what: str, why: str) -> None:
    raise at.error(f"{what} loosens the policy above it: {why}", hint="a lower layer may only tighten: leave it out")


def _top(above: Sequence[Sequence[Document]]) -> str:
    return f"{above[0][0].source.path}:1"


def shown(name: str, value: Value) -> str:
    """A setting's value as people read it."""
    match value:
        case int() if name.endswith(".usd"):
            return format_usd(value)
        case int() if SETTINGS[name].words == "a duration":
            return format_duration(value)
        case _:
            return _words(value)


def _words(value: Value) -> str:
    many = listed(value)
    match value:
        case bool():
            return "true" if value else "false"
        case Egress():
            return value.host if value.ports == (443,) else f"{value.host}:{','.join(map(str, value.ports))}"
        case _:
            return f"[{', '.join(map(_words, many))}]" if many or value == () else str(value)


def _joined(name: str, stated: Stated, before: Stated | None) -> Stated:
    """The tighter of two; of files of one layer neither outranks the other."""
    if before is None:
        return stated
    kind = SETTINGS[name]
    if kind.alone and stated.value != before.value:
        raise stated.at.error(
            f"{name} is {shown(name, before.value)} already, at {line(before.at)}", hint="state it in one file"
        )
    if kind.loosens(stated.value, before.value):
        if kind.loosens(before.value, stated.value):
            # lists of what is allowed of which neither holds the other: what both allow
            both = tuple(each for each in listed(before.value) if each in listed(stated.value))
            return Stated(both, stated.at)
        return before
    value = kind.joined(stated.value, before.value)
    return before if value == before.value else Stated(value, stated.at)


def _unique(documents: Sequence[Document]) -> None:
    """Refuse a rule's name that an earlier file has: a decision names its rule by it."""
    faults = fields.Faults()
    seen: dict[str, Place] = {}
    for document in documents:
        for rule, at in zip(document.rules, document.rule_places, strict=True):
            first = seen.setdefault(rule.id, at)
            if first is not at:
                with faults:
                    _twice(at, "rule", rule.id, first)
    faults.end()


def _twice(at: Place, what: str, name: str, first: Place) -> None:
    raise at.error(f"the {what} '{name}' is there already, at {line(first)}", hint="give it another id")


# ---- gates -----------------------------------------------------------------------------------------------


def _gates(layers: Sequence[Sequence[Document]], settings: Mapping[str, Stated]) -> dict[str, Gate]:
    faults = fields.Faults()
    groups: dict[str, tuple[str, ...]] = {}
    stated: dict[str, Place] = {}
    for name, (members, at) in (group for each in layers[0] for group in each.groups.items()):
        first = stated.setdefault(name, at)
        if first is not at:
            with faults:
                _twice(at, "group", name, first)
        groups[name] = members
    least = settings.get("approvals.min_approvers")
    floor_of = least.value if least is not None and isinstance(least.value, int) else 1
    # who runs the loop may answer for a policy of one's own, not for the organisation's
    found = {
        OWN_GATE: Gate(
            id=OWN_GATE, least=floor_of, allow_self=layers[0][0].source.layer == "user" and layers[0][0].scope != "org"
        )
    }
    places: dict[str, Place] = {}
    for document in (each for layer in layers for each in layer):
        for name, asking in document.gates.items():
            if name in places:
                with faults:
                    _twice(asking.at, "gate", name, places[name])
            places.setdefault(name, asking.at)
            named: dict[str, tuple[str, ...]] = {}
            for group, at in asking.groups:
                with faults:
                    named[group] = _known(group, groups, "group", at)
            found.setdefault(name, replace(asking.gate, groups=named, least=max(asking.gate.least, floor_of)))
    default = settings.get("approvals.default")
    if default is not None:
        with faults:
            _known(str(default.value), found, "gate", default.at)
    for document in (each for layer in layers for each in layer):
        for name, at in document.gates_named:
            with faults:
                _known(name, found, "gate", at)
    faults.end()
    return found


def _known(name: str, names: Mapping[str, T], what: str, at: Place) -> T:
    if name not in names:
        known = sorted(each for each in names if not each.startswith("builtin:"))
        hint = fields.meant(name, known) if known else f"name it under approvals.{what}s"
        raise at.error(f"unknown {what} {name!r}", hint=hint)
    return names[name]
