"""A rule is called shadowed only where another speaks of every call it speaks of, and is as strict."""

from __future__ import annotations

import pytest

from runner.policy.document import parse
from runner.policy.shadowed import shadowed

HEAD = "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: x}\nscope: user\nrules:\n"


def found(*rules: str) -> list[tuple[str, str]]:
    document = parse(HEAD + "".join(f"  - {{{rule}}}\n" for rule in rules), "x.yaml", "user")
    return [(rule.id, other.id) for rule, other in shadowed(document.rules)]


RM = "id: rm, tool: shell, command: {program: rm, any_flag: [-r]}, effect: deny"


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r]}, effect: allow", RM),
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r], no_flag: [-i]}, effect: ask", RM),
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r]}, sandboxed: true, effect: allow", RM),
        ("id: a, tool: write_file, paths: [a], effect: ask", "id: all, tool: '*', effect: deny"),
        ("id: a, tool: write_file, paths: [a], effect: deny", "id: ab, tool: write_file, paths: [a, b], effect: deny"),
        ("id: a, tool: shell, command: {program: git, all_flags: [-x, -y]}, effect: allow",
         "id: x, tool: shell, command: {program: [git, hg], all_flags: [-x]}, effect: ask"),
    ],
)  # fmt: skip
def test_a_rule_under_a_wider_and_stricter_one_never_decides(rule: str, other: str) -> None:
    assert found(other, rule) == [("a", other.split(",", maxsplit=1)[0].removeprefix("id: "))]


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("id: a, tool: shell, command: {program: rm}, effect: allow", RM),
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r, -f]}, effect: allow", RM),
        ("id: a, tool: [shell, run], command: {program: rm, any_flag: [-r]}, effect: allow", RM),
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r]}, effect: allow", f"{RM}, mode: warn"),
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r]}, effect: allow",
         f"{RM}, unless: [{{sandboxed: true}}]"),
        ("id: a, tool: shell, command: {program: rm, any_flag: [-r]}, effect: deny",
         "id: ask, tool: shell, command: {program: rm}, effect: ask"),
        ("id: a, tool: shell, command: {program: git}, effect: allow",
         "id: x, tool: shell, command: {program: git, no_flag: [-x]}, effect: ask"),
        ("id: a, tool: shell, effect: allow", "id: x, tool: shell, hosts: [a.example], effect: deny"),
    ],
)  # fmt: skip
def test_a_rule_that_still_decides_something_is_not_named(rule: str, other: str) -> None:
    assert found(other, rule) == []


def test_of_two_that_say_the_same_the_later_one_is_named_and_another_gate_is_another_question() -> None:
    same = "tool: shell, command: {program: ls}, effect: allow"
    assert found(f"id: a, {same}", f"id: b, {same}") == [("b", "a")]
    ask = "tool: shell, command: {program: ls}, effect: ask, gate:"
    assert found(f"id: a, {ask} one", f"id: b, {ask} two") == []
