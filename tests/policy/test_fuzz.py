"""Random shell texts beside what shells really do; the whole of it is `make soak-policy`.

Texts are run in bubblewrap alone. Where it is missing, what they once ran is on record, and nothing is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from runner.values import Ruling
from tests.policy import fuzz
from tests.policy.judge import HERE, Judge, rulebook
from tests.policy.truth import Truth, missing
from tests.soak import policy as soak

_TRIED = 250


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(rulebook(HERE / "fuzz.yaml"), HERE / "corpus")


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, Sequence[tuple[str, Truth]]]:
    """Texts in which bash or sh ran a program that is not allowed."""
    found: dict[str, list[tuple[str, Truth]]] = {}
    for line in (HERE / "recorded.jsonl").read_text(encoding="utf-8").splitlines():
        # written by `python -m tests.soak.policy --record`
        told = cast("dict[str, list[list[str]]]", json.loads(line))
        text = cast("str", told.pop("text"))
        found[text] = [(shell, Truth(tuple(map(tuple, ran)), ())) for shell, ran in told.items()]
    return found


def test_no_text_that_ran_a_forbidden_program_is_allowed(
    judge: Judge, recorded: Mapping[str, Sequence[tuple[str, Truth]]]
) -> None:
    assert len(recorded) >= 500
    assert fuzz.bypasses(lambda text: judge.shell(text) is Ruling.ALLOW, recorded) == []


@pytest.mark.parametrize("name", list(fuzz.WEAKENED))
def test_a_weakened_decider_is_found_out(name: str, recorded: Mapping[str, Sequence[tuple[str, Truth]]]) -> None:
    assert fuzz.bypasses(fuzz.WEAKENED[name], recorded)


def test_plain_texts_of_allowed_programs_are_allowed(judge: Judge) -> None:
    texts = list(fuzz.plain(seed=7, count=2_000))
    allowed = sum(judge.shell(text) is Ruling.ALLOW for text in texts)
    assert allowed >= 0.95 * len(texts)


@pytest.mark.skipif(bool(missing()), reason=missing() or "bubblewrap is there")
def test_what_is_allowed_runs_what_the_facts_say_and_nothing_else() -> None:
    chunk = soak.run(seed=20_261_123, count=_TRIED)
    assert chunk.bypasses == []
    assert chunk.misread == []
    assert chunk.rulings["allow"] > 25
    assert chunk.forbidden > 10
