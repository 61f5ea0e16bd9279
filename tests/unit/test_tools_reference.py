"""The reference names every tool and parameter there is, and none that is not."""

import re
from pathlib import Path

from runner.sandbox import process
from runner.tools import output, reading, writing
from runner.tools.arguments import MAX_TIMEOUT_S, SIGNATURES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "tools.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_every_tool_has_a_section_in_order():
    assert list(SECTIONS) == [signature.name for signature in SIGNATURES]


def test_every_parameter_has_a_row_with_its_type():
    rows = {
        name: re.findall(r"^\| `(\w+)` \| (\w+) \| (yes|no) \|", section, re.MULTILINE)
        for name, section in SECTIONS.items()
    }
    assert rows == {
        signature.name: [
            (parameter.name, parameter.kind, "yes" if parameter.required else "no")
            for parameter in signature.parameters
        ]
        for signature in SIGNATURES
    }


def test_limits_are_the_real_ones():
    for limit in (
        MAX_TIMEOUT_S, reading.READ_CAP, reading.SEARCH_FILE_CAP, reading.SEARCH_TOTAL_CAP, reading.MOST_PATHS,
        writing.EDIT_CAP, output.ARTEFACT_CAP, output.HOLD_BACK,
    ):  # fmt: skip
        assert f"{limit:,}" in TEXT
    assert f"{process.GRACE_S:g} s" in TEXT
