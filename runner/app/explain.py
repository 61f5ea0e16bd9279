"""Why a call is decided as it is: the rule, every other match, the facts, and what would change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from runner.policy.book import Rulebook
from runner.policy.facts import Facts, Program
from runner.values import Decision, Match, Ruling, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A decision with everything it rests on. `changes` are sentences."""

    call: ToolCall
    decision: Decision
    facts: Facts | None
    changes: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """All of it as JSON."""
        decision = self.decision
        return {
            "tool": self.call.name,
            "decision": decision.ruling.value,
            "rule": decision.rule,
            "place": decision.place,
            "reason": decision.reason,
            "gates": list(decision.gates),
            "others": [dataclasses.asdict(one) for one in decision.others],
            "facts": None if self.facts is None else facts_document(self.facts),
            "changes": list(self.changes),
        }

    def lines(self) -> Iterator[str]:
        """All of it for people."""
        decision = self.decision
        yield f"{decision.ruling.value}  {_by(decision.rule, decision.place)}"
        if decision.reason:
            yield f"  reason   {decision.reason}"
        for gate in decision.gates:
            yield f"  gate     {gate}"
        for one in decision.others:
            yield f"  also     {_match(one)}"
        if self.facts is not None:
            yield from (f"  {name:<8} {text}" for name, text in _facts(self.facts))
        yield from (f"  change   {one}" for one in self.changes)


def explain(rulebook: Rulebook, call: ToolCall, decision: Decision, facts: Facts | None) -> Explained:
    """Put together why; the decision was made of these facts by this rulebook."""
    changes = tuple(_changes(rulebook, decision, facts))
    return Explained(call=call, decision=decision, facts=facts, changes=changes)


def _by(rule: str, place: str) -> str:
    said = f"by {rule}" if rule else "by default: no rule speaks of it"
    return f"{said} ({place})" if place else said


def _match(one: Match) -> str:
    mode = "" if one.mode == "enforce" else f", mode {one.mode}: does not bind"
    return f"{one.ruling.value} by {one.rule} ({one.place}{mode})"


def _changes(rulebook: Rulebook, decision: Decision, facts: Facts | None) -> Iterator[str]:
    """What would change the answer; found by deciding again with one fact other than it is."""
    if decision.ruling is Ruling.ALLOW:
        yield from _stricter(rulebook, decision, facts)
        return
    if facts is None or decision.rule == "builtin:error":
        yield "a call that can be read and decided"
        return
    if facts.refused:
        yield f"no policy can allow it: {facts.refused}"
        return
    layer = next((rule.layer for rule in rulebook.rules if rule.id == decision.rule), "")
    beats = "no allow beats a deny" if decision.ruling is Ruling.DENY else "no allow beats an ask"
    if decision.ruling is Ruling.ASK:
        yield f"a yes at {', '.join(decision.gates) or 'a gate'}, for exactly this call"
    if decision.rule.startswith("builtin:"):
        yield "nothing in a policy: this is built in, and none loosens it"
    elif layer:
        yield f"an exception (`unless:`) inside the rule {decision.rule}, in its own file: {beats}"
    elif decision.rule and decision.rule != "shell.opaque":
        yield f"another {decision.rule} in its own file ({decision.place}): {beats}"
    if facts.opaque:
        yield f"plain words in place of {facts.opaque}, or run(argv) instead of shell text"
    for sentence, other in _variations(facts):
        better = rulebook.decide(other)
        if better.ruling.rank < decision.ruling.rank:
            yield f"{sentence}: {better.ruling.value} {_by(better.rule, better.place)}"
    if not decision.rule:
        yield f"a rule that allows it, e.g. {_rule_for(facts)}"


def _variations(facts: Facts) -> Iterator[tuple[str, Facts]]:
    if not facts.sandboxed:
        yield "inside a sandbox", dataclasses.replace(facts, sandboxed=True)
    if facts.background:
        yield "not in the background", dataclasses.replace(facts, background=False)
    if facts.redirects:
        yield "without its redirects", dataclasses.replace(facts, redirects=(), writes=(), reads=(), outside=())
    if len(facts.programs) > 1:
        for one in facts.programs:
            kept = tuple(other for other in facts.programs if other != one)
            seen = tuple(other for other in facts.suspects if other.argv != one.argv)
            yield f"without `{_words(one)}`", dataclasses.replace(facts, programs=kept, suspects=seen)


def _stricter(rulebook: Rulebook, decision: Decision, facts: Facts | None) -> Iterator[str]:
    """What an allowed call rests on."""
    if facts is not None and facts.sandboxed:
        outside = rulebook.decide(dataclasses.replace(facts, sandboxed=False))
        if outside.ruling is not Ruling.ALLOW:
            yield f"outside a sandbox: {outside.ruling.value} {_by(outside.rule, outside.place)}"
    yield f"a rule that denies it or asks, in any layer: both beat {decision.rule or 'the default'}"


def _rule_for(facts: Facts) -> str:
    """The narrowest rule that could allow the first program, or the tool."""
    if not facts.programs:
        return f"{{id: my-rule, tool: {facts.tool}, effect: allow}}"
    first = facts.programs[0]
    sub = f", subcommand: [{first.subcommand}]" if first.subcommand else ""
    return f"{{id: my-rule, tool: {facts.tool}, command: {{program: {first.name}{sub}}}, effect: allow}}"


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.refused:
        yield "refused", facts.refused
    if facts.opaque:
        yield "opaque", facts.opaque
    for one in facts.programs:
        yield "program", _program(one) + (f" = {one.path}" if one.path else " (not found)")
    for text in dict.fromkeys(_program(one) for one in facts.suspects if one not in facts.programs):
        yield "suspect", text
    for operator, target in facts.redirects:
        yield "redirect", f"{operator} {target}"
    for name in ("reads", "writes", "read_globs", "write_globs", "outside", "hosts", "secrets"):
        words: tuple[str, ...] = getattr(facts, name)
        if words:
            yield name, " ".join(words)
    yield "cwd", facts.cwd
    yield "sandbox", "yes" if facts.sandboxed else "no"


def _program(one: Program) -> str:
    via = f", through {' '.join(one.via)}" if one.via else ""
    return f"`{_words(one)}`: {one.name}{' in the workspace' if one.inside else ''}{via}"


def _words(one: Program) -> str:
    text = " ".join(one.argv) or one.name
    return text if len(text) <= 60 else text[:59] + "…"


def facts_document(facts: Facts) -> dict[str, object]:
    """Facts as JSON; what is empty is left out."""
    return {name: value for name, value in dataclasses.asdict(_bare(facts)).items() if value not in ("", (), None)}


def _bare(facts: Facts) -> Facts:
    """Without what dataclasses cannot copy: a read-only view of arguments."""
    return dataclasses.replace(facts, args=dict(facts.args))
