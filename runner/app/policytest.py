"""A policy tried on its own examples and tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.app.judge import decided_of
from runner.policy.book import Example, Expectation, Rule, Rulebook
from runner.policy.trial import AnyMachine
from runner.values import Decision

_MACHINES = (AnyMachine(sandboxed=False), AnyMachine(sandboxed=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One example, or one test, as it went. `why` "" = as it should; `place` is `file:line`."""

    name: str
    place: str
    why: str = ""


def tried(rulebook: Rulebook, rules: Sequence[Rule]) -> Iterator[Tried]:
    """Try every example of these rules, and every test of the policy. Nothing is executed."""
    for rule in rules:
        for example in rule.match:
            yield _example(rulebook, rule, example, speaks=True)
        for example in rule.no_match:
            yield _example(rulebook, rule, example, speaks=False)
    for test in rulebook.tests:
        yield _test(rulebook, test)


def without_example(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that no example tries."""
    return tuple(rule for rule in rules if not rule.match and rule.layer != "floor")


def _example(rulebook: Rulebook, rule: Rule, example: Example, *, speaks: bool) -> Tried:
    """An example matches where the rule speaks of it, in a sandbox or without one."""
    spoken = any(rule.id in _speaking(_decision(rulebook, example, around)) for around in _MACHINES)
    said = "matches" if speaks else "does not match"
    why = "" if spoken is speaks else f"the rule {'does not match' if speaks else 'matches'} it"
    return Tried(name=f"{rule.id} {said} {_shown(example)}", place=example.place or rule.place, why=why)


def _test(rulebook: Rulebook, test: Expectation) -> Tried:
    decision = _decision(rulebook, test.call, _MACHINES[0])
    name = f"{_shown(test.call)} is {test.ruling.value}{f' by {test.by}' if test.by else ''}"
    by = f" by {decision.rule}" if decision.rule else " by default"
    wrong = decision.ruling is not test.ruling or (test.by and test.by not in _speaking(decision))
    return Tried(name=name, place=test.call.place, why=f"it is {decision.ruling.value}{by}" if wrong else "")


def _decision(rulebook: Rulebook, example: Example, around: AnyMachine) -> Decision:
    return decided_of(rulebook, example.tool, example.args, around)[0]


def _speaking(decision: Decision) -> set[str]:
    return {decision.rule, *(one.rule for one in decision.others)}


def _shown(example: Example) -> str:
    args = example.args
    text = args.get("command") if len(args) == 1 else None
    return repr(text) if isinstance(text, str) else f"{example.tool} {json.dumps(dict(args), ensure_ascii=False)}"
