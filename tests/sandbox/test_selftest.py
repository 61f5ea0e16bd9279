"""The self-test says when walls do not hold, and then nothing is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.sandbox import selftest, walls
from runner.sandbox.plan import Plan
from tests.sandbox.machine import needs

OPEN = """#!/bin/sh
# walls that hold nothing: only what is to be started counts
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
[ $# -gt 0 ] && shift
exec "${@:-true}"
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    workspace, home = tmp_path / "workspace", tmp_path / "home"
    workspace.mkdir()
    home.mkdir()
    return Plan(workspace=workspace, user_home=home)


@pytest.fixture
def open_walls(tmp_path: Path) -> dict[str, str]:
    """An environment in which `bwrap` is found and starts what it is told to, without any walls."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "bwrap").write_text(OPEN)
    (programs / "bwrap").chmod(0o755)
    keep = {name: value for name, value in os.environ.items() if not name.startswith("RUNNER_")}
    path = f"{programs}:{os.environ['PATH']}"
    return {**keep, "PATH": path, "HOME": str(tmp_path), "RUNNER_STATE_DIR": str(tmp_path / "state")}


def test_bubblewrap_passes(plan: Plan) -> None:
    needs("bubblewrap", root=False)
    backend = walls.choose(plan, os.environ["PATH"], (walls.BUBBLEWRAP,))
    assert (backend.name, selftest.attempt(backend, plan)) == ("bubblewrap", ())


def test_without_walls_everything_that_is_tried_succeeds_and_is_named(plan: Plan) -> None:
    assert selftest.attempt(walls.Backend(name=walls.NONE), plan) == (
        "a command behind none could write outside the workspace",
        "a command behind none could read a file outside the workspace",
        "a command behind none could connect to a server of this machine",
        "a command behind none could signal runner",
    )


def test_walls_behind_which_no_command_runs_do_not_pass(plan: Plan, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    (said,) = selftest.attempt(walls.Backend(name=walls.BUBBLEWRAP, program=broken), plan)
    assert said.startswith("a command cannot be run behind bubblewrap")


def test_a_run_does_not_start_behind_walls_that_do_not_hold(open_walls: dict[str, str], plan: Plan) -> None:
    subprocess.run(["git", "init", "-q"], cwd=plan.workspace, check=True)
    words = ["loop", "-p", "work", "--model", "openai/gpt-5.4-mini", "--max-cost", "1", "--sandbox", "bubblewrap"]
    keys = {"OPENAI_API_KEY": "sk-none", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    done = _runner(*words, cwd=plan.workspace, env={**open_walls, **keys})
    assert done.returncode == 2, done.stderr
    assert "the sandbox does not hold: a command behind bubblewrap could write outside the workspace" in done.stderr


def test_doctor_fails_walls_that_do_not_hold(open_walls: dict[str, str], plan: Plan) -> None:
    done = _runner("doctor", "sandbox", cwd=plan.workspace, env=open_walls)
    assert done.returncode == 1, done.stdout
    assert "FAIL  bubblewrap" in done.stdout
    assert "could write outside the workspace" in " ".join(done.stdout.split())


def _runner(*words: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = (sys.executable, "-m", "runner", *words)
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
