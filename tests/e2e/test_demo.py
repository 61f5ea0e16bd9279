"""The demo ends done and verified because its checks say so, and never ends so when they cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "specs" / "demo"
RECORDING = DEMO / "recording.jsonl"


class Demo:
    """A copy of the demo that a test may change; calling it runs its script."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.folder = shutil.copytree(DEMO, place / "demo")
        (place / "home").mkdir()

    def __call__(self) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(self._place / "home"), "LANG": "C.UTF-8", "TMPDIR": str(self._place)}
        script = ["sh", str(self.folder / "run.sh")]
        return subprocess.run(script, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def demo(tmp_path):
    return Demo(tmp_path)


def changed(demo, change=iter):
    """Rewrite the copy's recording, reply by reply, and let it answer at once."""
    path = demo.folder / "recording.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for line in lines:
        line.pop("delay_ms", None)  # that it can be watched is not what is tested
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)), "utf-8")


def test_the_demo_goes_from_red_to_done_and_verified_and_says_how_to_look_further(demo):
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check tests: not passed" in done.stdout
    assert "check tests: passed" in done.stdout
    assert "\ndone, verified: completion" in done.stdout
    assert "\n  spent $0.0" in done.stdout
    for command in ("runner show last", "runner log last", "runner log verify last", "git diff"):
        assert f"\n  {command}" in done.stdout
    assert not list((demo.folder / "project").rglob("*.pyc")), "it works on a copy"


def test_without_its_last_edit_the_demo_does_not_end_well(demo):
    def without(lines):
        last = max(number for number, line in enumerate(lines) if _calls(line, "edit_file"))
        for number, line in enumerate(lines):
            yield {**line, "tools": []} if number == last else line

    changed(demo, without)
    done = demo()
    assert done.returncode in {4, 5}, done.stdout + done.stderr
    assert "done, verified" not in done.stdout


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("spec.md", "python -m pytest -q --junitxml", "python -m pytest -q --no-such-flag --junitxml"),
        ("spec.md", "= creme-brulee-2nd-edition", "= something-else"),
        ("project/tests/test_slug.py", "def test_", "def test_by_hand():\n    assert False\n\n\ndef test_"),
    ],
    ids=["the tests' command", "the other check", "a test of the project"],
)
def test_with_a_check_broken_by_hand_the_demo_does_not_end_well(demo, name, old, new):
    path = demo.folder / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    changed(demo)
    done = demo()
    assert done.returncode in {4, 5}, done.stdout + done.stderr
    assert "done, verified" not in done.stdout


def test_a_conftest_that_ends_pytest_in_the_last_edits_place_is_not_done(demo):
    content = "import os\n\nos._exit(0)\n"
    cheat = {"name": "write_file", "arguments": {"path": "tests/conftest.py", "content": content}}

    def cheating(lines):
        last = max(number for number, line in enumerate(lines) if _calls(line, "edit_file"))
        for number, line in enumerate(lines):
            yield {**line, "tools": [cheat]} if number == last else line

    changed(demo, cheating)
    done = demo()
    assert done.returncode in {4, 5}, done.stdout + done.stderr
    assert "left out of the checks: tests/conftest.py" in done.stdout
    assert "done, verified" not in done.stdout


def test_an_agent_that_also_changes_a_protected_file_is_not_done_however_green(demo):
    extra = {"name": "write_file", "arguments": {"path": "tests/test_slug.py", "content": "def test_it(): pass\n"}}

    def also(lines):
        for line in lines:
            yield {**line, "tools": [*line["tools"], extra]} if _calls(line, "edit_file") else line

    changed(demo, also)
    done = demo()
    assert done.returncode in {4, 5}, done.stdout + done.stderr
    assert "check tests: passed" in done.stdout
    assert "protected files the agent changed: tests/test_slug.py" in done.stdout


def _calls(line, name: str) -> bool:
    return any(tool["name"] == name for tool in line.get("tools", ()))
