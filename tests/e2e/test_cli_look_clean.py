"""What runner owns, and how it goes away: never what is open, never the sums, unless all of it is asked for."""

from __future__ import annotations

import json
import sqlite3
import subprocess

import pytest

SPEC = "---\nchecks: ['test -f out.txt']\nbudget: {usd: 1}\n---\n# Write\n\nWrite it.\n"
DONE = {"otherwise": True, "text": "Nothing more to do."}
WRITE = {
    "iteration": 1, "step": 1, "text": "",
    "tools": [{"name": "write_file", "arguments": {"path": "out.txt", "content": "only in one run\n" * 9}}],
}  # fmt: skip
WAIT = {
    "iteration": 1, "step": 1, "text": "",
    "tools": [{"name": "shell", "arguments": {"command": "touch up; sleep 60"}}],
}  # fmt: skip


@pytest.fixture
def used(runner):
    """A state directory with an ended run and, newer, an open one of the same workspace."""
    runner.write("spec.md", SPEC)
    model = runner.recording(WRITE, DONE)
    assert runner("loop", "spec.md", "--model", model).returncode == 0
    runner.write("other.md", "---\nchecks: ['false']\n---\n# Wait\n\nWait.\n")
    driver = runner.start("loop", "other.md", "--model", runner.recording(WAIT, DONE))
    until((runner.cwd / "up").exists)
    driver.kill()
    driver.communicate()
    return runner


def ids(runner):
    return [one["run"] for one in json.loads(runner("runs", "--json").stdout)]


def refs(runner):
    (git,) = runner.state.glob("workspaces/*/git")
    listed = subprocess.run(["git", f"--git-dir={git}", "for-each-ref"], capture_output=True, text=True, check=True)
    return {line.split("refs/runner/")[1].split("/")[0] for line in listed.stdout.splitlines()}


def stored(runner):
    """Every object of the shadow git directory."""
    (git,) = runner.state.glob("workspaces/*/git")
    argv = ["git", f"--git-dir={git}", "cat-file", "--batch-all-objects", "--batch-check"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def spent(runner):
    connection = sqlite3.connect(runner.state / "runner.db")
    try:
        return connection.execute("SELECT kind, name, spent, unknown FROM budget ORDER BY id").fetchall()
    finally:
        connection.close()


def test_where_names_everything_and_what_is_not_runners(used):
    (used.state / "yours.txt").write_text("x")
    found = used.json("where", "--json")
    assert {one["path"].rpartition("/")[2] for one in found["owned"]} >= {"runner.db", "runs", "workspaces"}
    assert found["bytes"] == sum(one["bytes"] for one in found["owned"]) > 0
    assert found["not_owned"] == [str(used.state / "yours.txt")]
    assert (found["state_directory"], found["state_directory_source"]) == (str(used.state), "RUNNER_STATE_DIR")
    assert "journal and ledger" in used("where").stdout


def test_an_old_ended_run_goes_with_everything_but_its_sums(used):
    open_run, ended = ids(used)
    money = spent(used)
    asked = used("clean", "--older-than", "0s")
    assert (asked.returncode, "--yes" in asked.stderr, ended in asked.stdout) == (0, True, True)
    assert ids(used) == [open_run, ended], "only listed"

    objects = len(stored(used))
    done = used("clean", "--older-than", "0s", "--yes")
    assert done.returncode == 0, done.stderr
    assert ids(used) == [open_run]
    assert refs(used) == {open_run}
    assert len(stored(used)) < objects
    assert [path.name for path in (used.state / "runs").iterdir()] == [open_run]
    assert spent(used) == money
    assert used("show", ended).returncode == 2
    assert used("diff", open_run, "--stat").returncode == 0
    assert used.json("clean", "--older-than", "0s", "--yes", "--json") == {
        "removed": [],
        "would_remove": [],
        "kept": [],
    }


def test_a_young_run_stays(used):
    assert used.json("clean", "--yes", "--json")["removed"] == []
    assert used("clean", "--older-than", "soon").returncode == 2
    assert len(ids(used)) == 2


def test_a_copied_workspace_goes_with_its_run(runner):
    runner.write("spec.md", SPEC)
    assert runner("loop", "spec.md", "--worktree", "--model", runner.recording(WRITE, DONE)).returncode == 0
    (copy,) = (runner.state / "worktrees").iterdir()
    assert runner("diff", "--stat").returncode == 0
    assert runner.json("clean", "--older-than", "0s", "--yes", "--json")["removed"] == [copy.name]
    assert list((runner.state / "worktrees").iterdir()) == []


def test_all_leaves_nothing_of_runners_and_everything_else(used):
    (used.state / "yours.txt").write_text("x")
    assert used("clean", "--all").returncode == 0
    assert len(ids(used)) == 2, "only listed"
    done = used("clean", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in used.state.iterdir()] == ["yours.txt"]
    (used.state / "yours.txt").unlink()
    assert used("clean", "--all", "--yes").returncode == 0
    assert used("runs", "--json").stdout == "[]\n"


def test_nothing_is_removed_under_a_driver(runner):
    runner.write("spec.md", SPEC)
    driver = runner.start("loop", "spec.md", "--model", runner.recording(WAIT, DONE))
    try:
        until((runner.cwd / "up").exists)
        refused = runner("clean", "--all", "--yes")
        assert (refused.returncode, str(driver.pid) in refused.stderr) == (75, True)
        assert runner.json("clean", "--older-than", "0s", "--yes", "--json")["removed"] == []
        assert runner("log", "verify").returncode == 0
    finally:
        driver.kill()
        driver.communicate()


def until(true, seconds=30.0):
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
