"""The reference names every key with its type, default and an example, and its examples are specs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from runner.spec.keys import KEYS, Key
from runner.spec.model import Spec
from runner.spec.parse import parse_spec

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs" / "reference" / "spec.md").read_text("utf-8")
BLOCKS = re.findall(r"^```markdown\n(.*?)^```$", REFERENCE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_has_its_row(key: Key) -> None:
    assert f"| `{key.name}` | {key.kind} | {key.default} | `{key.example}` |\n" in REFERENCE


def test_no_row_names_a_key_the_parser_does_not_know() -> None:
    rows = re.findall(r"^\| `([a-z_.\[\]]+)` \|.*\|.*\| `.*` \|$", REFERENCE, re.MULTILINE)
    assert rows == [key.name for key in KEYS]


def body_of(yaml: str) -> Spec:
    spec = parse_spec(f"---\n{yaml}\n---\nx", "spec.md", on_path=lambda _: True, now=0)
    return replace(spec, text="", places=())


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_parser_reads_every_key_of_the_table(key: Key) -> None:
    assert body_of(key.example) != body_of("")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_examples_of_the_reference_are_specs(block: str) -> None:
    spec = parse_spec(block, "docs/reference/spec.md", on_path=lambda program: program == "sh", now=0)
    assert spec.checks
    assert spec.checklist


def test_the_reference_shows_the_full_example_as_it_is() -> None:
    assert len(BLOCKS) == 2
    assert BLOCKS[1] == (ROOT / "specs" / "example-full.md").read_text("utf-8")
