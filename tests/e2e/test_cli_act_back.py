"""Getting work back and home: rollback, apply, export and protect, with real runs, git and files."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

SPEC = """---
checks: [{run: "python3 check.py"}]
budget: {iterations: 2}
---
# Say yes
"""
CHECK = "import pathlib,sys\nsys.exit(0 if pathlib.Path('answer').read_text() == 'yes' else 1)\n"


def write(path: str, content: str) -> dict[str, object]:
    return {"name": "write_file", "arguments": {"path": path, "content": content}}


WORK = (
    {"iteration": 1, "step": 1, "tools": [write("answer", "no"), write("notes/first.txt", "one\r\n")]},
    {"iteration": 1, "step": 2, "text": "I tried."},
    {"iteration": 2, "step": 1, "tools": [write("answer", "yes"), write("second", "two")]},
    {"otherwise": True, "text": "Done."},
)


def tree(root: Path) -> dict[str, str]:
    """Every file below, git's own aside, with its mode and bytes."""
    return {
        str(
            path.relative_to(root)
        ): f"{stat.filemode(path.lstat().st_mode)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


@pytest.fixture
def project(runner):
    """A repository with a commit and work on top of it, and a spec that takes two iterations."""
    runner.write("spec.md", SPEC)
    runner.write("check.py", CHECK)
    runner.write("same.txt", "as it was\r\n")
    runner.git("init", "-q")
    runner.git("add", "-A")
    runner.git("commit", "-qm", "one")
    runner.write("draft", "not committed")
    return runner


@pytest.fixture
def done(project):
    """That project after a run in place."""
    before = tree(project.cwd)
    ran = project("loop", "spec.md", "--model", project.recording(*WORK))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return project, before


@pytest.fixture
def copied(project):
    """That project after a run in its own working copy."""
    before = tree(project.cwd)
    ran = project("loop", "spec.md", "--worktree", "--model", project.recording(*WORK))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert tree(project.cwd) == before
    return project, before


# ---- rollback --------------------------------------------------------------------------------------------


def test_rollback_gives_back_every_byte_and_its_undo_too(done):
    runner, before = done
    after = tree(runner.cwd)
    back = runner("rollback", "last", "0")
    assert (back.returncode, back.stderr) == (0, "")
    assert tree(runner.cwd) == before
    undo = back.stdout.splitlines()[-1].removeprefix("undo: runner ").split()
    assert undo[0] == "rollback"
    assert runner(*undo).returncode == 0
    assert tree(runner.cwd) == after


def test_a_rollback_is_on_record_and_leaves_the_run_as_it_stood(done):
    runner, _ = done
    before = runner.last()
    told = runner.json("rollback", "last", "best", "--json")
    assert told["changes"] == []
    told = runner.json("rollback", "last", "0", "--json")
    assert {one["path"] for one in told["changes"]} == {"answer", "second", "notes/first.txt"}
    event = runner.events("RolledBack")[0]["body"]
    assert (event["to"], event["undo"]) == (0, told["undo"])
    assert runner("log", "verify", "last").returncode == 0
    same = ("status", "stop_reason", "verified", "iterations", "active_seconds", "spent_nano_usd")
    assert {name: runner.last()[name] for name in same} == {name: before[name] for name in same}


def test_rollback_refuses_over_somebody_elses_work_and_with_force_keeps_it_first(done):
    runner, before = done
    runner.write("draft", "an hour of work")
    runner.write("mine", "new")
    as_it_is = tree(runner.cwd)
    refused = runner("rollback", "last", "0")
    assert refused.returncode == 1
    assert "changed by somebody else since the run's last checkpoint: draft, mine" in refused.stderr
    assert tree(runner.cwd) == as_it_is
    told = runner.json("rollback", "last", "0", "--force", "--json")
    assert tree(runner.cwd) == before
    assert runner("rollback", "last", str(told["undo"])).returncode == 0
    assert tree(runner.cwd) == as_it_is


def test_a_run_that_goes_on_after_a_rollback_does_not_take_it_for_somebody_elses_change(project):
    model = project.recording(WORK[0], {"otherwise": True, "text": "Hm."})
    assert project("loop", "spec.md", "-n", "1", "--model", model).returncode == 4
    assert project("rollback", "last", "0").returncode == 0
    assert project("resume", "last", "-n", "2", "--model", project.recording(*WORK)).returncode == 0
    assert project.events("WorkspaceChanged") == []
    assert (project.cwd / "answer").read_text() == "yes"


def test_a_copy_is_rolled_back_and_the_users_directory_is_not(copied):
    runner, before = copied
    told = runner.json("rollback", "last", "0", "--json")
    assert tree(Path(str(told["workspace"]))) == before
    assert tree(runner.cwd) == before


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(done):
    runner, _ = done
    missing = runner("rollback", "last", "99")
    assert missing.returncode == 2
    assert "it has 0 to" in missing.stderr
    assert runner("rollback", "nothing", "0").returncode == 2


def test_what_is_in_the_way_and_kept_nowhere_is_not_written_over(done):
    runner, before = done
    (runner.cwd / ".git" / "info" / "exclude").write_text("draft/\n")
    (runner.cwd / "draft").unlink()
    (runner.cwd / "draft").mkdir()
    (runner.cwd / "draft" / "precious").write_text("ignored, so in no checkpoint")
    refused = runner("rollback", "last", "0", "--force")
    assert refused.returncode == 1
    assert "draft" in refused.stderr
    assert (runner.cwd / "draft" / "precious").read_text() == "ignored, so in no checkpoint"
    assert before["draft"]


def test_a_driven_run_is_busy(project):
    model = project.recording({"iteration": 1, "step": 1, "text": "x", "delay_ms": 60_000})
    driver = project.start("loop", "spec.md", "--model", model)
    try:
        end = time.monotonic() + 30
        while not list(project.state.glob("runs/*/log.jsonl")) or not project.events("CallDispatched"):
            assert driver.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        busy = project("rollback", "last", "0")
        assert busy.returncode == 75
        assert str(driver.pid) in busy.stderr
        project.write("check.py", CHECK + "# mine\n")
        accepted = project("protect", "--accept", "check.py")
        assert accepted.returncode == 0, accepted.stderr
    finally:
        os.kill(driver.pid, signal.SIGTERM)
        driver.communicate(timeout=20)
    assert [one["body"]["path"] for one in project.events("ProtectedAccepted")] == ["check.py"]


# ---- apply and export ------------------------------------------------------------------------------------


def test_apply_brings_the_work_home_and_undo_takes_it_back(copied):
    runner, before = copied
    shown = runner.json("show", "last", "--json")
    assert shown["next"] == f"runner apply {shown['run']}"
    index = (runner.cwd / ".git" / "index").read_bytes()
    applied = runner("apply", "last")
    assert (applied.returncode, applied.stderr) == (0, "")
    after = tree(runner.cwd)
    assert set(after) - set(before) == {"answer", "second", "notes/first.txt"}
    assert (runner.cwd / "notes/first.txt").read_bytes() == b"one\r\n"
    assert (runner.cwd / ".git" / "index").read_bytes() == index
    undo = applied.stdout.splitlines()[-1].removeprefix("undo: runner ").split()[:3]
    assert runner(*undo).returncode == 0
    assert tree(runner.cwd) == before
    assert runner(*undo).returncode == 0
    assert tree(runner.cwd) == after


def test_apply_refuses_where_both_changed_and_writes_nothing(copied):
    runner, _ = copied
    runner.write("second", "mine")
    runner.write("answer", "yes")
    as_it_is = tree(runner.cwd)
    refused = runner("apply", "last")
    assert refused.returncode == 1
    assert "1 changed both here and in the run: second" in refused.stderr
    assert tree(runner.cwd) == as_it_is


def test_apply_of_an_earlier_checkpoint_and_then_of_the_last(copied):
    runner, before = copied
    first = runner.json("apply", "last", "--checkpoint", "1", "--json")
    assert first["checkpoint"] == 1
    assert (runner.cwd / "answer").read_text() == "no"
    best = runner.json("apply", "last", "--checkpoint", "best", "--json")
    assert (runner.cwd / "answer").read_text() == "yes"
    assert best["checkpoint"] > 1
    assert runner("apply", "last").stdout == f"{runner.cwd} has that already; nothing was changed\n"
    runner.write("answer", "mine")
    refused = runner("apply", "last", "--undo")
    assert refused.returncode == 1
    assert "changed since then: answer" in refused.stderr
    assert set(before) < set(tree(runner.cwd))


def test_an_apply_that_finds_nothing_to_do_leaves_the_undo_alone(copied):
    runner, before = copied
    assert runner("apply", "last").returncode == 0
    assert runner("apply", "last").stdout == f"{runner.cwd} has that already; nothing was changed\n"
    assert runner("apply", "last", "--undo").returncode == 0
    assert tree(runner.cwd) == before


def test_what_was_taken_back_by_hand_can_be_applied_again(copied):
    runner, before = copied
    runner("apply", "last")
    after = tree(runner.cwd)
    for path in set(after) - set(before):
        (runner.cwd / path).unlink()
    assert runner("apply", "last").returncode == 0
    assert tree(runner.cwd) == after


def test_an_applied_file_that_was_changed_since_is_named_and_left_alone(copied):
    runner, _ = copied
    runner("apply", "last")
    runner.write("answer", "mine")
    assert "left alone: answer; nothing was changed" in runner("apply", "last").stdout
    assert (runner.cwd / "answer").read_text() == "mine"


def test_a_run_in_place_has_nothing_to_apply(done):
    runner, _ = done
    refused = runner("apply", "last")
    assert refused.returncode == 1
    assert "there is nothing to apply" in refused.stderr


@pytest.mark.parametrize("how", ["done", "copied"])
def test_export_writes_a_branch_with_the_work_and_touches_nothing_else(how, request):
    runner, _ = request.getfixturevalue(how)
    head, status, present = runner.git("rev-parse", "HEAD"), runner.git("status", "--porcelain"), tree(runner.cwd)
    exported = runner.json("export", "last", "--json")
    assert runner.git("show", f"{exported['branch']}:answer") == "yes"
    assert runner.git("rev-parse", exported["branch"]).strip() == exported["commit"]
    assert runner.git("merge-base", "--is-ancestor", head.strip(), exported["branch"]) == ""
    assert (runner.git("rev-parse", "HEAD"), runner.git("status", "--porcelain"), tree(runner.cwd)) == (
        head,
        status,
        present,
    )
    again = runner("export", "last")
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert runner("export", "last", "--force").returncode == 0


# ---- protect ---------------------------------------------------------------------------------------------


def standing(runner) -> dict[str, str]:
    return {one["path"]: one["standing"] for one in json.loads(runner("protect", "--json").stdout)}


def test_a_file_somebody_else_changed_keeps_a_run_from_done_until_it_is_accepted(project):
    model = project.recording({"iteration": 1, "step": 1, "text": "Hm."}, *WORK[2:])
    assert project("loop", "spec.md", "-n", "1", "--model", model).returncode == 4
    assert standing(project) == {"check.py": "unchanged", "spec.md": "unchanged"}
    nothing = project("protect", "--accept", "check.py")
    assert nothing.returncode == 1
    assert "nothing to accept" in nothing.stderr
    project.write("check.py", CHECK + "# a better comment\n")
    assert standing(project)["check.py"] == "changed by somebody else"
    assert project("resume", "last", "-n", "2").returncode == 4
    assert project.last()["verified"] is False
    accepted = project("protect", "--accept", "check.py")
    assert accepted.returncode == 0, accepted.stderr
    assert standing(project)["check.py"] == "accepted"
    assert project.last()["status"] == "ended"
    assert project("resume", "last", "-n", "3").returncode == 0
    assert project.last()["verified"] is True


def test_what_the_agent_changed_cannot_be_accepted(project):
    model = project.recording(
        {"iteration": 1, "step": 1, "tools": [write("check.py", "import sys\nsys.exit(0)\n")]},
        {"otherwise": True, "text": "Done."},
    )
    assert project("loop", "spec.md", "-n", "1", "--model", model).returncode == 4
    assert standing(project)["check.py"] == "changed by the agent"
    refused = project("protect", "--accept", "check.py")
    assert refused.returncode == 1
    assert "changed by the agent" in refused.stderr
    assert project.events("ProtectedAccepted") == []
    unknown = project("protect", "--accept", "draft")
    assert unknown.returncode == 2
    assert "no protected file" in unknown.stderr
