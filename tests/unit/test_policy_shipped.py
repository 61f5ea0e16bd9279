"""The policies that come with runner, the reference's example, and the schema editors are given: all three agree."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from runner.config import policies
from runner.errors import ConfigError
from runner.policy import examples, reading, schema, trees
from runner.policy.document import parse
from runner.policy.facts import facts_of
from runner.policy.merge import merge
from runner.policy.trial import AnyMachine
from runner.spec.frontmatter import document
from runner.tools.builtin import effect_of
from runner.values import Ruling

NAMES = ("default", "org-baseline", "overnight", "readonly")
MACHINE = AnyMachine()


def loaded(name: str):
    return policies.load(name, environ={"HOME": MACHINE.home}, org=Path("/nonexistent"))


def decided(book, command: str, *, sandboxed: bool = False):
    return book.decide(facts_of("shell", {"command": command}, "commands", AnyMachine(sandboxed=sandboxed)))


def test_these_are_shipped() -> None:
    assert policies.shipped() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_does_what_its_examples_say(name: str) -> None:
    examples.check(policies.chosen_document(name).rules)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_does_what_its_tests_say(name: str) -> None:
    book = loaded(name)
    assert book.tests
    for test in book.tests:
        facts = facts_of(test.call.tool, test.call.args, reading.TOOLS[test.call.tool], MACHINE)
        decision = book.decide(facts)
        assert decision.ruling is test.ruling, (test, decision)
        assert test.by in {"", decision.rule}, (test, decision)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_a_shipped_policy_has_an_example_or_speaks_of_the_sandbox(name: str) -> None:
    for rule in policies.chosen_document(name).rules:
        plain = rule.conditions.sandboxed is None and rule.id not in {"own", "ticks", "risky-tools-need-two"}
        assert rule.match or not plain, rule.id


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_lets_the_agent_read_and_tick(name: str) -> None:
    book = loaded(name)
    for tool, args in (("read_file", {"path": "src/a.py"}), ("tick", {"item": "1"}), ("list_files", {"path": "."})):
        assert book.decide(facts_of(tool, args, reading.TOOLS[tool], MACHINE)).ruling is Ruling.ALLOW, tool


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /",
        "git status; rm -rf /",
        "cat ~/.ssh/id_rsa",
        "echo x > .git/hooks/pre-commit",
        "sudo id",
        "cat .env",
        "runner approvals approve a-1",
        "cp x policies/p.yaml",
        "bash -c 'rm -rf /'",
        "env rm -rf /",
    ],
)
def test_no_shipped_policy_lets_this_happen(name: str, command: str) -> None:
    for sandboxed in (False, True):
        assert decided(loaded(name), command, sandboxed=sandboxed).ruling is Ruling.DENY


@pytest.mark.parametrize("name", ["default", "org-baseline"])
@pytest.mark.parametrize(
    "command",
    [
        "git status",
        "git diff | head -50",
        "ls -la src",
        "cat README.md *.py",
        "pytest -q tests 2>&1 | tail -5",
        "npm test",
        "cargo build --release",
        "make -j4 && echo done",
        "grep -rn TODO src | wc -l",
        "mkdir -p a/b; touch a/b/c",
        "git add -A && git commit -m 'push it'",
        "find . -name '*.py' | sort",
        "sed -n 1,5p a.py",
        "echo hi > notes.txt",
    ],
)
def test_plain_work_is_allowed_without_a_sandbox(name: str, command: str) -> None:
    decision = decided(loaded(name), command)
    assert decision.ruling is Ruling.ALLOW, decision


@pytest.mark.parametrize("name", ["default", "overnight"])
@pytest.mark.parametrize(
    "command",
    [
        "for f in *.py; do echo $f; done",
        "x=$(date); echo $x",
        "python3 - <<'E'\nprint(1)\nE",
        "rm -rf build dist",
        "find . -name __pycache__ -exec rm -rf {} +",
        "rm -rf /tmp/x",
        "cd /tmp && python x.py",
        "node -e 1",
        "(cd src && make)",
        "curl localhost:8000 || true",
        "sed -i s/a/b/ a.py",
        "find . -name '*.pyc' -delete",
        "chmod +x run.sh && ./run.sh",
        "echo x > /tmp/y",
    ],
)
def test_ordinary_commands_need_nobody_behind_the_walls(name: str, command: str) -> None:
    decision = decided(loaded(name), command, sandboxed=True)
    assert decision.ruling is Ruling.ALLOW, decision


def test_overnight_accepts_no_missing_sandbox_and_asks_nobody() -> None:
    book = loaded("overnight")
    assert (book.sandbox.required, book.sandbox.accept_unsandboxed, book.on_ask) == (True, False, "deny")
    assert not [rule for rule in book.rules if rule.ruling is Ruling.ASK]


def test_the_baseline_lets_nobody_approve_their_own() -> None:
    book = loaded("org-baseline")
    assert not [gate.id for gate in book.gates.values() if gate.allow_self]
    assert (book.on_ask, book.opaque, book.sandbox.required) == ("park", "ask", True)
    assert book.gates["two-person"].each == 1


def test_readonly_writes_nothing() -> None:
    book = loaded("readonly")
    assert book.sandbox.read_only
    for command in ("touch x", "echo x > y", "git add a", "sed -i s/a/b/ c", "python x.py", "rm x", "tee x"):
        assert decided(book, command, sandboxed=True).ruling is Ruling.DENY, command
    assert decided(book, "git log --oneline | head -3 2>/dev/null").ruling is Ruling.ALLOW


def test_a_project_policy_can_tighten_the_baseline() -> None:
    text = (
        "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: shop, extends: org-baseline}\nscope: project\n"
        "budgets: {per_run: {usd: 5.00, wall: 2h}}\nrules:\n"
        "  - {id: allow-node, tool: shell, command: {program: node, no_flag: [-e]}, effect: allow}\n"
        "  - {id: no-migrations, tool: write_file, paths: ['migrations/**'], effect: ask, gate: external-write}\n"
    )
    base = parse((policies.SHIPPED / "org-baseline.yaml").read_text("utf-8"), "org.yaml", "org")
    book = merge([base, parse(text, "p.yaml", "project")])
    assert decided(book, "node x.js").ruling is Ruling.ALLOW
    migration = facts_of("write_file", {"path": "migrations/1.sql", "content": ""}, "writes", MACHINE)
    assert book.decide(migration).gates == ("external-write",)


def test_the_tools_a_rule_may_name_are_the_tools_there_are() -> None:
    assert {name: effect_of(name).value for name in reading.TOOLS} == dict(reading.TOOLS)


# ---- the schema ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_accepts_what_is_shipped(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    tree = YAML(typ="safe", pure=True).load((policies.SHIPPED / f"{name}.yaml").read_text("utf-8"))
    jsonschema.Draft202012Validator(json.loads(schema.schema())).validate(tree)


@pytest.mark.parametrize(
    "text",
    [
        "defualt: ask",
        "sandbox: {requierd: true}",
        "default: allow",
        "rules: [{id: a, tool: shell, effect: dney}]",
        "rules: [{id: a, tool: shell}]",
        "rules: [{id: a, tool: shell, effect: deny, comand: {program: rm}}]",
        "approvals: {gates: [{timeout: 4h}]}",
    ],
)
def test_what_the_schema_refuses_does_not_load_either(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    whole = f"apiVersion: runner/v1\nkind: Policy\n{text}\n"
    with pytest.raises(ConfigError):
        parse(whole, "p.yaml", "user")
    assert not jsonschema.Draft202012Validator(json.loads(schema.schema())).is_valid(
        YAML(typ="safe", pure=True).load(whole)
    )


# ---- read ahead ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_was_read_ahead_is_what_the_file_says(name: str) -> None:
    text = (policies.SHIPPED / f"{name}.yaml").read_text("utf-8")
    kept = (policies.SHIPPED / "trees" / f"{name}.json").read_bytes()
    assert kept == trees.packed(text) + b"\n", "run: python -m runner.policy.trees"
    assert trees.unpacked(kept, text, "x.yaml") == document(text, "x.yaml", noun="policy")


def test_a_file_that_was_changed_is_read_itself() -> None:
    text = (policies.SHIPPED / "default.yaml").read_text("utf-8")
    kept = trees.packed(text)
    assert trees.unpacked(kept, text + "#\n", "x") is None
    assert trees.unpacked(kept[:-20], text, "x") is None
    changed = text.replace("default: ask", "default: deny")
    assert merge([parse(changed, "x.yaml", "user", tree=kept)]).default is Ruling.DENY
