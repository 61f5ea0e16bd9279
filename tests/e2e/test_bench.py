"""The benchmark runs from end to end: every contender does its steps, every figure is there. No figure is judged here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINUX = sys.platform == "linux"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What five steps and one round print, and the figures behind it. The peer's environment is left out."""
    folder = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--steps", "5", "--quick", "--json", str(folder / "bench.json")],
        cwd=ROOT,
        env={**os.environ, "BENCH_VENV": str(folder / "none"), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert [path.name for path in folder.iterdir()] == ["bench.json"], "what it made in between is gone"
    return done.stdout, json.loads((folder / "bench.json").read_text())


pytestmark = [
    pytest.mark.skipif(not LINUX, reason="it reads the CPU clock of other processes as Linux has it"),
    # one after the other, it starts some thirty programs, each with its SDK
    pytest.mark.timeout(300),
]


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_every_contender_did_its_steps_and_has_its_row(bench: tuple[str, dict[str, Any]]):
    text, _ = bench
    at_five = {row[0]: row for row in rows(text) if row[1] == "5"}
    assert list(at_five) == ["runner", "runner, tree unchanged", "bare httpx", "openai SDK"]
    for name, row in at_five.items():
        assert "—" not in row[2:8], f"a figure of {name} is missing: {row}"


def test_every_other_figure_is_there_with_its_reference(bench: tuple[str, dict[str, Any]]):
    text, _ = bench
    figures = {row[0]: row[1:] for row in rows(text) if len(row) == 5 and not row[0].startswith(("what", "-"))}
    wanted = {
        "runner --help, CPU": "empty typer app",
        "first request": "openai SDK",
        "resume after kill -9, to first request": "openai SDK",
        "between iterations, checks and checkpoint aside": "—",
        "first dispatch with replay:": "imports",
        "first dispatch of a resumed replay:": "imports",
        "checkpoint, 200 files, one changed": "git @200",
        "CPU of 5 steps with the live view": "plain lines",
        "CPU per step at step 5, runner, anthropic": "at step 20",
        "CPU per step at step 5, runner through litellm": "litellm",
        "first request, anthropic": "anthropic SDK",
        "CPU of a step with a long reply, runner": "openai SDK",
        "CPU of a step with a long reply, runner, anthropic": "anthropic SDK",
    }
    assert {name: row[1] for name, row in figures.items() if name in wanted} == wanted
    folds = [row for name, row in figures.items() if name.startswith("folding a journal of ")]
    assert [row[1] for row in folds] == ["parse"]


def test_every_promise_is_named_with_its_limit(bench: tuple[str, dict[str, Any]]):
    text, _ = bench
    promises = [line for line in text.splitlines() if line.startswith("promise: ")]
    assert len(promises) == 26
    assert "promise: checkpoints of a tree that had not changed: limit 0, measured 0, holds" in promises
    assert all(": limit " in line for line in promises)
    assert all(line.endswith(("holds", "DOES NOT HOLD", "not measured")) for line in promises)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_is_written_was_counted(bench: tuple[str, dict[str, Any]]):
    _, figures = bench
    wrote = {row["contender"]: row for row in figures["results"]["log"][0]}
    assert wrote["runner"]["fsyncs"] > 0
    assert wrote["runner"]["log"] > 0
    assert wrote["runner"]["written"] > wrote["runner"]["log"]
    assert wrote["bare httpx"]["written"] == wrote["bare httpx"]["fsyncs"] == 0
