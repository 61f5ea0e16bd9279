"""A hook gets the run's JSON, has its time, and is never the run's business."""

import json
import subprocess
import sys
import time
from pathlib import Path

from runner.notify import Hooks

RUN = {"run": "r1", "status": "stopped", "spent_nano_usd": 12, "text": "é"}


def test_a_stop_reaches_the_users_command_with_the_run_as_json(tmp_path: Path) -> None:
    got = tmp_path / "got"
    hooks = Hooks(on_stop=["tee", str(got)], on_park=["tee", str(tmp_path / "parked")])
    assert hooks.stopped(RUN) is None
    assert json.loads(got.read_text("utf-8")) == RUN
    assert not (tmp_path / "parked").exists()
    assert hooks.parked(RUN) is None
    assert json.loads((tmp_path / "parked").read_text("utf-8")) == RUN


def test_without_a_hook_nothing_happens() -> None:
    assert Hooks().stopped(RUN) is None
    assert Hooks(on_stop=()).stopped(RUN) is None


def test_a_failing_hook_is_said_and_raises_nothing(tmp_path: Path) -> None:
    assert Hooks(on_stop=["false"]).stopped(RUN) == "on_stop: 'false' ended with 1"
    complaint = Hooks(on_park=[str(tmp_path / "none")]).parked(RUN)
    assert complaint is not None
    assert "No such file" in complaint


def test_a_hook_that_reads_nothing_is_no_failure() -> None:
    assert Hooks(on_stop=["true"]).stopped({"text": "x" * 1_000_000}) is None


def test_what_a_hook_prints_is_dropped() -> None:
    script = "from runner.notify import Hooks; print(Hooks(on_stop=['sh', '-c', 'echo out; echo err >&2']).stopped({}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_a_hook_that_does_not_end_is_ended_with_all_it_started() -> None:
    start = time.monotonic()
    complaint = Hooks(on_stop=["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.2).stopped(RUN)
    assert time.monotonic() - start < 20
    assert complaint == "on_stop: 'sh' did not end within 0.2 s and was ended"


def test_a_hook_starts_outside_the_workspace(tmp_path: Path) -> None:
    got = tmp_path / "cwd"
    assert Hooks(on_stop=["sh", "-c", f"pwd -P > '{got}'"]).stopped(RUN) is None
    assert Path(got.read_text().strip()) == Path.home().resolve()
