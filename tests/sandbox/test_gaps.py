"""What the fallback leaves open is said in the documentation and at the start, in the same words."""

from __future__ import annotations

import os

import pytest

from runner.app.walls import Choice
from runner.sandbox import landlock
from runner.sandbox.gaps import GAPS, open_here, said
from runner.sandbox.walls import Backend
from tests.sandbox.machine import ROOT

PAGE = ROOT / "docs" / "reference" / "sandbox.md"


def test_the_documented_table_is_the_one_that_is_tested() -> None:
    table = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and "`" in line]
    documented = {
        tuple(cell.strip() for cell in line.strip("|").split("|"))[:2] for line in table if line.count("|") == 4
    }
    assert documented >= {(gap.text, ", ".join(f"`{row}`" for row in gap.rows)) for gap in GAPS}


@pytest.mark.parametrize(
    ("own", "abi", "has", "lacks"),
    [
        (True, 7, "chmod", "signals"),
        (True, 5, "signals", "nothing"),
        (False, 7, ".env", "chmod"),
        (True, 3, "signals", "TCP"),
    ],
)
def test_what_is_said_depends_on_the_user_and_the_kernel(own: bool, abi: int, has: str, lacks: str) -> None:
    text = said("landlock", own=own, abi=abi)
    assert text.startswith("not stopped: ")
    assert has in text
    assert lacks not in text


def test_a_run_behind_the_fallback_says_at_its_start_why_and_what_is_not_stopped() -> None:
    choice = Choice(name="landlock", backend=Backend(name="landlock", missing="bubblewrap: it is not installed"))
    ((topic, text),) = choice.notes
    assert topic == "sandbox"
    assert "bubblewrap: it is not installed" in text
    assert all(gap.text in text for gap in open_here("landlock", own=os.geteuid() != 0, abi=landlock.abi()))


def test_nothing_is_said_of_bubblewrap() -> None:
    assert said("bubblewrap", own=True, abi=7) == ""
