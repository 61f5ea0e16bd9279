"""The demo's project is really red, its recording really repairs it, and no step of it is for show."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.models.recording import RecordedCall, Recording
from runner.pricing.book import Book

DEMO = Path(__file__).resolve().parents[2] / "specs" / "demo"
RECORDING = Recording.parse((DEMO / "recording.jsonl").read_text("utf-8"), DEMO / "recording.jsonl")


def calls(name: str) -> Iterator[tuple[int, RecordedCall]]:
    for reply in RECORDING.replies:
        yield from ((reply.iteration or 0, call) for call in reply.calls if call.name == name)


def failed(project: Path) -> int:
    """How many tests fail, by the tests themselves."""
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False)
    last = done.stdout.splitlines()[-1]
    assert done.returncode in {0, 1}, done.stdout
    return int(last.split()[0]) if "failed" in last else 0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO / "project", tmp_path / "project"))


def test_the_recording_goes_from_red_over_less_red_to_green(project: Path):
    red = failed(project)
    for _, call in calls("write_file"):
        arguments = json.loads(call.arguments)
        (project / arguments["path"]).write_text(arguments["content"])
    less = failed(project)
    assert 0 < less < red
    for iteration, call in calls("edit_file"):
        assert iteration == 2
        arguments = json.loads(call.arguments)
        text = (project / arguments["path"]).read_text()
        assert text.count(arguments["old"]) == 1
        (project / arguments["path"]).write_text(text.replace(arguments["old"], arguments["new"]))
    assert failed(project) == 0


def test_every_item_of_the_checklist_is_ticked_once_by_its_own_words():
    items = [line[6:] for line in (DEMO / "spec.md").read_text().splitlines() if line.startswith("- [ ] ")]
    assert sorted(json.loads(call.arguments)["item"] for _, call in calls("tick")) == sorted(items)
    assert len(items) == 3


def test_the_demo_has_a_price_and_an_answer_to_anything_later():
    assert Book.load().lookup(RECORDING.model).price.input > 0
    assert [reply.otherwise for reply in RECORDING.replies].count(True) == 1
