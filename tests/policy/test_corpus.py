"""The adversarial corpus: no call is decided weaker than its row says, and what is benign is allowed.

Nothing here runs: rows are judged, as data.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from runner.values import Ruling
from tests.policy.judge import CORPUS, Judge, Row, rows, rulebook


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / ".git" / "hooks").mkdir(parents=True)
    (workspace / ".git" / "config").touch()
    (workspace / "src").mkdir()
    return Judge(rulebook(CORPUS / "policy.yaml"), workspace)


def _wrong(row: Row, ruling: Ruling) -> bool:
    return ruling is not row.expected if row.expected is Ruling.ALLOW else ruling.rank < row.expected.rank


def test_no_row_is_decided_weaker_than_it_says_and_benign_ones_are_allowed(judge: Judge) -> None:
    decided = [(row, judge.decide(row.tool, row.arguments)) for row in rows()]
    wrong = [
        f"{row.place} ({row.kind}): {decision.ruling.value} by {decision.rule or decision.reason}"
        f" instead of {row.expected.value}: {dict(row.arguments)}"
        for row, decision in decided
        if _wrong(row, decision.ruling)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_corpus_is_as_large_as_it_says() -> None:
    kinds = Counter(row.kind for row in rows())
    assert sum(kinds.values()) >= 300
    assert len(kinds) >= 14
    assert all(count >= 10 for count in kinds.values()), kinds


def test_a_decision_takes_five_milliseconds_at_most_on_average(judge: Judge) -> None:
    todo = list(rows())
    began = time.process_time()
    for row in todo:
        judge.decide(row.tool, row.arguments)
    assert (time.process_time() - began) / len(todo) <= 0.005


def test_every_shell_row_is_denied_or_asked_when_its_text_is_longer_than_can_be_read(judge: Judge) -> None:
    assert judge.shell("ls " + "a" * 10_001) is Ruling.ASK
    assert judge.shell("ls; " * 3_000 + "rm -rf x") is Ruling.DENY


def test_a_thousand_substitutions_in_one_another_are_looked_through_without_recursion(judge: Judge) -> None:
    assert judge.shell("$(" * 1_200 + "ls" + ")" * 1_200) is not Ruling.ALLOW
    assert judge.shell("(" * 1_200 + "rm -rf x" + ")" * 1_200) is Ruling.DENY
    assert judge.shell("env " * 500 + "rm -rf x") is Ruling.DENY


def test_no_text_makes_a_decision_slow(judge: Judge) -> None:
    hostile = ["a=" * 4_000, "{a,b}" * 1_500, "$" * 9_000, "'" * 9_001, "<<E " * 2_000, "`" * 9_000, "sh -c " * 1_500]
    for text in hostile:
        began = time.process_time()
        assert judge.shell(text) is not Ruling.ALLOW
        assert time.process_time() - began < 2, text[:20]


def test_a_program_in_the_workspace_is_not_what_its_name_says(judge: Judge, tmp_path: Path) -> None:
    here = Judge(rulebook(CORPUS / "policy.yaml"), tmp_path)
    (tmp_path / "git").write_text("#!/bin/sh\n")
    (tmp_path / "git").chmod(0o755)
    assert here.shell("git status") is Ruling.ALLOW
    assert here.shell("./git status") is Ruling.ASK
    assert here.shell(f"{tmp_path}/git status") is Ruling.ASK
    assert here.facts("shell", {"command": "./git status"}).programs[0].inside
    assert judge.shell("git status") is Ruling.ALLOW


def test_words_that_look_like_flags_and_are_none_are_facts_all_the_same(judge: Judge) -> None:
    assert judge.facts("shell", {"command": "ls -=x - -- -a"}).programs[0].flags == ()
    assert judge.facts("shell", {"command": "ls -ab=x --c=d"}).programs[0].flags == ("-ab", "-a", "-b", "-x", "--c")


def test_a_rule_for_a_program_is_enough_where_the_text_only_changes_into_a_directory(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: one}\nscope: user\ndefault: ask\nshell: {opaque: ask}\n"
        "rules:\n  - {id: tests, tool: shell, command: {program: pytest}, effect: allow}\n"
    )
    judge = Judge(rulebook(policy), tmp_path)
    assert judge.shell("cd src && pytest -q || true") is Ruling.ALLOW
    assert judge.shell("cd .. && pytest -q") is Ruling.ASK
    assert judge.shell("cd src && ls") is Ruling.ASK
    assert judge.shell("cd src") is Ruling.ASK


@pytest.mark.parametrize(
    "text",
    [
        "; ".join(f"a{n}=$a{n - 1}$a{n - 1}" for n in range(60)) + "; $a59",
        "; ".join(f"cd a{n}" for n in range(500)) + "; cat $x",
        "ls " + "*a" * 2_000 + " | " + "?*" * 500,
        "case in " * 1_200,
    ],
)
def test_text_that_is_made_to_grow_is_decided_in_time(judge: Judge, text: str) -> None:
    began = time.process_time()
    assert judge.shell(text) is not Ruling.ALLOW
    assert time.process_time() - began < 2
