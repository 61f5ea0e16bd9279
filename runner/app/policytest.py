"""A policy tried on its own examples and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.app.judge import decided_of
from runner.policy import examples
from runner.policy.book import Example, Expectation, Rule, Rulebook
from runner.policy.index import compile_rule
from runner.policy.trial import AnyMachine

_MACHINE = AnyMachine()


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
            yield _example(rule, example, speaks=True)
        for example in rule.no_match:
            yield _example(rule, example, speaks=False)
    for test in rulebook.tests:
        yield _test(rulebook, test)


def without_example(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that no example tries."""
    return tuple(rule for rule in rules if not rule.match and rule.layer != "floor")


def _example(rule: Rule, example: Example, *, speaks: bool) -> Tried:
    right = examples.matched(compile_rule(rule, _MACHINE.home), example) is speaks
    said, wrong = ("matches", "does not match") if speaks else ("does not match", "matches")
    why = "" if right else f"the rule {wrong} it"
    return Tried(name=f"{rule.id} {said} {examples.shown(example)}", place=example.place, why=why)


def _test(rulebook: Rulebook, test: Expectation) -> Tried:
    decision = decided_of(rulebook, test.call.tool, test.call.args, _MACHINE)[0]
    name = f"{examples.shown(test.call)} is {test.ruling.value}{f' by {test.by}' if test.by else ''}"
    by = f" by {decision.rule}" if decision.rule else " by default"
    speaking = {decision.rule, *(one.rule for one in decision.others)}
    wrong = decision.ruling is not test.ruling or (test.by and test.by not in speaking)
    return Tried(name=name, place=test.call.place, why=f"it is {decision.ruling.value}{by}" if wrong else "")
