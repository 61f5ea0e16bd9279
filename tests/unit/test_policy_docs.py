"""The reference of policies says what the reader reads."""

import re
from pathlib import Path

import pytest

from runner.policy import grammar, reading
from runner.policy.document import parse
from runner.policy.merge import merge
from runner.policy.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "policy.md").read_text("utf-8")


def test_every_setting_is_in_the_reference_with_its_kind_and_nothing_else_is() -> None:
    table = PAGE.partition("## Settings")[2].partition("\n\nSizes")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", table, re.MULTILINE)
    assert dict(rows) == {name: kind.words for name, kind in SETTINGS.items()}


@pytest.mark.parametrize("word", [*reading.RULE, *reading.COMMAND, *grammar.FACTS])
def test_every_key_of_a_rule_and_every_fact_is_named(word: str) -> None:
    assert re.search(rf"`(call\.)?{word}`", PAGE), word


def test_the_example_loads_and_its_tests_are_about_its_rules() -> None:
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    book = merge([parse(text, "policy.md", "user")])
    assert [test.by for test in book.tests] == ["no-recursive-rm"]
