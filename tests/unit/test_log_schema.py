"""The published schema is the one the code has, and it says of each event what its line holds."""

import json
from pathlib import Path

from runner.events.codec import KINDS
from runner.log import schema

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_published_schema_is_generated_from_the_events() -> None:
    published = (REFERENCE / "events.schema.json").read_text("utf-8")
    assert published == json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", (
        "write it anew: python -c 'import json; from runner.log import schema; "
        "print(json.dumps(schema(), indent=2, ensure_ascii=False))' > docs/reference/events.schema.json"
    )


def test_every_kind_has_its_line() -> None:
    described = schema()["oneOf"]
    assert isinstance(described, list)
    assert [line["properties"]["kind"]["const"] for line in described] == list(KINDS)


def test_the_reference_names_every_result() -> None:
    text = (REFERENCE / "log.md").read_text("utf-8")
    for word in ("intact", "changed", "missing", "reordered", "tail cut", "unanchored tail"):
        assert f"*{word}*" in text
