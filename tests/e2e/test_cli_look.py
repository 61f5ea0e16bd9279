"""Looking at runs: runs, show, checkpoints and diff, through the command, with and without anything to look at."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.store.lease import Lease, is_held
from tests.e2e.test_cli_models import on_a_terminal

KEY = "sk-ant-REDACTED0123456789"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_where_nothing_was_ever_run_a_sentence_and_no_directory(runner):
    listing = runner("runs")
    assert (listing.returncode, listing.stderr) == (0, "")
    assert listing.stdout.startswith("nothing was run yet")
    assert runner("runs", "--json").stdout == "[]\n"
    for command in (["show"], ["log"], ["log", "verify"], ["log", "repair"], ["checkpoints"], ["diff"]):
        done = runner(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "nothing was ever run" in done.stderr
    assert runner("where").returncode == 0
    assert runner("clean").returncode == 0
    assert runner("clean", "--all", "--yes").returncode == 0
    assert not runner.state.exists()


def test_runs_tells_how_a_run_stands_and_what_it_cost(ran):
    (row,) = json.loads(ran("runs", "--json").stdout)
    assert (row["status"], row["stop_reason"], row["verified"], row["driver"]) == ("ended", "done", True, None)
    assert row["spent_nano_usd"] > 0
    assert row["limit_nano_usd"] == 2_000_000_000
    head, line = ran("runs").stdout.splitlines()
    assert head.split()[:3] == ["RUN", "STATUS", "SCORE"]
    assert line.split()[:4] == [row["run"], "done", "1.00", "2"]
    assert "spec.md" in line


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_the_list_of_runs_fits_the_terminal(runner, columns):
    folder = "a/rather/long/path/to/the/folder/of"
    (runner.cwd / folder).mkdir(parents=True)
    runner.write(f"{folder}/spec.md", "---\nchecks: ['false']\n---\n# Never\n\nDone.\n")
    runner.write("done.md", "---\nchecks: ['true']\n---\n# Done\n\nDone.\n")
    model = runner.recording({"otherwise": True, "text": "Done."})
    assert runner("loop", f"{folder}/spec.md", "-n", "1", "--model", model).returncode == 4
    assert runner("loop", "done.md", "--model", model).returncode == 0
    done, limited = (one["run"] for one in json.loads(runner("runs", "--json").stdout))
    head, first, second = on_a_terminal(runner, columns, "runs")
    assert max(map(len, (head, first, second))) <= columns
    whole = columns == 200
    assert [line.split()[0][-6:] for line in (first, second)] == [done[-6:], limited[-6:]]
    assert (limited in second) == whole
    assert (f"{folder}/spec.md" in second, "…" in second) == (whole, not whole)
    assert "of/spec.md" in second or columns < 80
    assert second.rstrip().endswith("spec.md" if columns == 50 else "budget.iterations")
    # what is done was stopped by nothing
    assert first.endswith("done.md")
    # in a pipe nothing is left out
    assert limited in runner("runs").stdout
    assert f"{folder}/spec.md  budget.iterations" in runner("runs").stdout


def test_show_has_the_whole_picture(ran):
    text = ran("show", "last").stdout
    for expected in (
        "limit $2.0000 (spec)", "iterations 2 of 25 (built-in)", "0.00", "1.00", "grep -q two out.txt", "passed",
        "checkpoint  2, the last of 3 (0 to 2)", "unsandboxed", "runner diff",
    ):  # fmt: skip
        assert expected in text, expected
    found = ran.json("show", "--json")
    first, second = found["history"]
    assert (first["score"], second["score"]) == (0.0, 1.0)
    assert first["cost_nano_usd"] + second["cost_nano_usd"] == found["spent_nano_usd"]
    assert found["missing"] == []
    assert found["limits"]["iterations"] == {"value": 25, "source": "built-in"}


@pytest.mark.parametrize("part", ["whole", "end", "beginning", "last"])
def test_a_run_is_named_by_its_id_either_end_of_it_or_as_the_last(ran, part):
    (row,) = json.loads(ran("runs", "--json").stdout)
    run = row["run"]
    name = {"whole": run, "end": run[-4:], "beginning": run[:8], "last": "last"}[part]
    assert ran.json("show", name, "--json")["run"] == run
    wrong = ran("show", "nosuchrun")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "nosuchrun" in wrong.stderr


def test_a_crashed_run_is_open_and_a_driven_one_is_running(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Wait\n\nWait.\n")
    wait = {
        "iteration": 1,
        "step": 1,
        "text": "",
        "tools": [{"name": "shell", "arguments": {"command": "touch up; sleep 60"}}],
    }
    driver = runner.start("loop", "spec.md", "--model", runner.recording(wait, {"otherwise": True, "text": "x"}))
    try:
        until((runner.cwd / "up").exists)
        found = runner.json("show", "--json")
        assert (found["status"], found["driver"], found["stop_reason"]) == ("running", driver.pid, None)
        assert f"running (pid {driver.pid})" in runner("runs").stdout
        assert found["missing"] == ["no iteration was scored yet"]
        assert runner("show").stdout.count("checkpoint  0, the only one\n") == 1
        assert f"runner watch {found['run']}" in runner("show").stdout
        assert runner("log", "verify").returncode == 0
        assert runner("diff", "--stat").returncode == 0
    finally:
        driver.kill()
        driver.communicate()
    found = runner.json("show", "--json")
    assert (found["status"], found["driver"], found["stop_reason"]) == ("open", None, None)
    assert "open (crashed)" in runner("runs").stdout
    assert "runner resume" in runner("show").stdout


def until(true, seconds=30.0):
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_checkpoints_say_what_changed_and_where_a_score_was_given(ran):
    every = json.loads(ran("checkpoints", "--json").stdout)
    assert [(one["number"], one["changed"], one["score"]) for one in every] == [
        (0, [], None),
        (1, [{"path": "out.txt", "kind": "added"}], 0.0),
        (2, [{"path": "out.txt", "kind": "changed"}], 1.0),
    ]
    assert [line.split()[0] for line in ran("checkpoints").stdout.splitlines()] == ["#", "0", "1", "2"]


def test_diff_takes_numbers_and_names(ran):
    assert ran("diff", "1", "2").stdout.splitlines()[-2:] == ["-one", "+two"]
    assert ran("diff").stdout == ran("diff", "last", "0", "best").stdout
    assert "out.txt | 1 +" in ran("diff", "--stat").stdout
    changed = ran.json("diff", "last", "0", "last", "--json")
    assert (changed["from"], changed["to"], changed["changed"]) == (0, 2, [{"path": "out.txt", "kind": "added"}])
    assert ran("diff", "2", "last").stdout == ""
    wrong = ran("diff", "0", "9")
    assert (wrong.returncode, "no checkpoint '9'" in wrong.stderr) == (2, True)


def test_diff_has_colour_on_a_terminal_alone_and_never_a_pager(ran):
    def on_a_terminal(**env: str) -> bytes:
        ours, theirs = pty.openpty()
        argv = [sys.executable, "-m", "runner", "diff", "1", "2"]
        process = subprocess.Popen(
            argv, cwd=ran.cwd, env={**ran.environ(), "PAGER": "false", "GIT_PAGER": "false", **env}, stdout=theirs
        )
        os.close(theirs)
        out = b""
        try:
            while piece := os.read(ours, 4096):
                out += piece
        except OSError:
            pass
        os.close(ours)
        assert process.wait() == 0
        return out

    assert b"\x1b[32m+" in on_a_terminal()
    assert b"\x1b" not in on_a_terminal(NO_COLOR="1")
    assert "\x1b" not in ran("diff", "1", "2").stdout


@pytest.mark.parametrize(
    "command", [["runs"], ["show"], ["checkpoints"], ["diff"], ["log"], ["log", "--json"], ["where"]]
)
def test_a_closed_reader_ends_a_listing_quietly(ran, command):
    process = ran.start(*command)
    assert process.stdout is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)


def test_looking_changes_nothing(ran):
    before = contents(ran.cwd), {name: data for name, data in contents(ran.state).items() if "runner.db-" not in name}
    for command in (["runs"], ["show"], ["checkpoints"], ["diff"], ["log"], ["log", "verify"], ["where"], ["clean"]):
        assert ran(*command).returncode == 0
    after = contents(ran.cwd), {name: data for name, data in contents(ran.state).items() if "runner.db-" not in name}
    assert after == before


def test_a_key_is_shown_nowhere(ran):
    for command in (["runs"], ["show"], ["log"], ["log", "--json"], ["checkpoints"], ["diff"]):
        for flags in ([], ["--json"]):
            assert KEY not in ran(*command, *flags).stdout
    assert "[masked:key]" in ran("log").stdout


# Root minus the right to pass over modes (CAP_DAC_OVERRIDE): what an ordinary user has of his own files.
AS_ANYBODY = """
import ctypes, sys
libc = ctypes.CDLL(None)
head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.prctl(24, 1, 0, 0, 0) == 0 and libc.capget(head, sets) == 0
for part in (0, 1, 2):
    sets[part] &= ~0b110
assert libc.capset(head, sets) == 0
from runner.__main__ import main
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="gives up rights the Linux way")
def test_a_state_directory_that_cannot_be_written_is_read_all_the_same(ran, tmp_path):
    state = Path(shutil.copytree(ran.state, tmp_path / "state"))
    for name in ("runner.db-wal", "runner.db-shm"):
        (state / name).unlink(missing_ok=True)
    for path in (state, *state.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    program = AS_ANYBODY if os.geteuid() == 0 else "import sys; from runner.__main__ import main; sys.exit(main())"
    env = {**ran.environ(), "RUNNER_STATE_DIR": str(state)}
    for command in (["runs"], ["show"], ["checkpoints"], ["diff", "--stat"], ["log"], ["log", "verify"], ["where"]):
        argv = [sys.executable, "-c", program, *command]
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert not (state / "runner.db-wal").exists(), "the directory could be written after all"


def test_a_newer_database_is_not_touched(runner):
    runner.state.mkdir()
    connection = sqlite3.connect(runner.state / "runner.db")
    connection.execute("PRAGMA user_version=999")
    connection.close()
    done = runner("runs")
    assert (done.returncode, "999" in done.stderr) == (73, True)


def test_a_look_at_a_lease_keeps_no_driver_from_taking_it(tmp_path):
    path, over, looks = tmp_path / "lease", threading.Event(), 0

    def look():
        nonlocal looks
        while not over.is_set():
            is_held(path)
            looks += 1

    Lease(path, "the run").release()
    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(300):
            Lease(path, "the run").release()
    finally:
        over.set()
        looker.join()
    assert looks > 300
