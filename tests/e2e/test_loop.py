"""What a loop does with a spec, its workspace and its user, through the command itself."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

import pytest

DONE = {"otherwise": True, "text": "Nothing more to do."}


def write(path: str, content: str, **where: int) -> dict[str, object]:
    return {**where, "text": "", "tools": [{"name": "write_file", "arguments": {"path": path, "content": content}}]}


def run(command: str, **where: int) -> dict[str, object]:
    return {**where, "text": "", "tools": [{"name": "shell", "arguments": {"command": command}}]}


def prompts(runner) -> list[str]:
    """The first words of every iteration, as the journal has them."""
    connection = sqlite3.connect(runner.state / "runner.db")
    rows = connection.execute("SELECT body FROM event WHERE kind = 'IterationStarted' ORDER BY rowid").fetchall()
    connection.close()
    return [json.loads(body)["prompt"] for (body,) in rows]


def test_checks_decide_and_their_words_reach_the_next_iteration(runner):
    runner.write(
        "spec.md", "---\nchecks: ['grep -q two out.txt || { echo no two here; exit 1; }']\n---\n# Count\n\nUp.\n"
    )
    model = runner.recording(
        write("out.txt", "one\n", iteration=1, step=1), write("out.txt", "two\n", iteration=2, step=1), DONE
    )
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done, verified" in done.stdout
    assert runner.last()["iterations"] == 2
    assert "no two here" in prompts(runner)[1]
    assert "Nothing more to do." in prompts(runner)[1]


def test_json_is_one_object_and_nothing_else(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Nothing\n\nDo nothing.\n")
    found = runner.json("loop", "spec.md", "--json", "--model", runner.recording(DONE))
    assert (found["status"], found["stop_reason"], found["verified"], found["score"]) == ("ended", "done", True, 1.0)
    assert {"run", "iterations", "steps", "spent_nano_usd", "held_nano_usd", "limit_nano_usd", "checkpoint"} <= set(
        found
    )


@pytest.mark.parametrize("how", ["text", "stdin"])
def test_a_spec_needs_no_file(runner, how):
    model = runner.recording({"otherwise": True, "text": "<promise>COMPLETE</promise>"})
    if how == "text":
        done = runner("loop", "-p", "Say that you are done.", "--model", model)
    else:
        done = runner("loop", "-", "--model", model, give="Say that you are done.\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Say that you are done." in prompts(runner)[0]


def test_setup_runs_once_and_its_failure_is_the_runs(runner):
    runner.write("spec.md", "---\nchecks: ['test -f made']\nsetup: ['echo x >> made']\n---\n# Use it\n\nUse made.\n")
    done = runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert done.returncode == 0, done.stdout
    assert (runner.cwd / "made").read_text() == "x\n"
    runner.write("spec.md", "---\nchecks: ['true']\nsetup: ['echo no such thing; exit 3']\n---\n# Use it\n\nUse it.\n")
    broken = runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert broken.returncode == 1
    assert "setup" in broken.stdout


SETUP = """\
---
checks: ['test -f finished']
stall: none
setup: {run: ['cat deps/* > installed; echo x >> ran; test ! -f deps/broken'], inputs: [deps]}
---
# Use it

Use it.
"""


def test_setup_runs_again_when_a_file_it_reads_changes_and_then_does_not_end_the_run(runner):
    (runner.cwd / "deps").mkdir()
    runner.write("deps/a", "1\n")
    runner.write("spec.md", SETUP)
    model = runner.recording(
        write("unrelated", "1\n", iteration=1, step=1),
        write("deps/a", "2\n", iteration=2, step=1),
        write("deps/broken", "3\n", iteration=3, step=1),
        run("rm deps/broken", iteration=4, step=1),
        write("finished", "", iteration=5, step=1),
        DONE,
    )
    done = runner("loop", "spec.md", "--model", model, "--max-iterations", "9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["body"]["ok"] for one in runner.events("SetupFinished")] == [True, True, False, True]
    assert runner.last()["iterations"] == 5
    assert (runner.cwd / "installed").read_text() == "2\n"


def test_a_service_is_up_while_checks_run_and_gone_afterwards(runner, unused_port):
    serve = f"{sys.executable} -m http.server {unused_port} --bind 127.0.0.1"
    ask = f"{sys.executable} -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:{unused_port}/').read()\""
    spec = {"checks": [ask], "services": [{"name": "web", "run": serve, "ready": unused_port}]}
    runner.write("spec.md", f"---\n{json.dumps(spec)}\n---\n# Serve\n\nServe.\n")
    done = runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert done.returncode == 0, done.stdout + done.stderr
    import socket

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", unused_port)) != 0


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_projects_instructions_are_told_as_the_projects(runner):
    runner.write("CLAUDE.md", "Prefer tabs.\n")
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nWork.\n")
    runner.write("fix_plan.md", "- [ ] a\n")
    runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert "Prefer tabs." in prompts(runner)[0]
    assert "fix_plan.md" in prompts(runner)[0]
    runner.write("AGENTS.md", "Prefer spaces.\n")
    runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert "Prefer spaces." in prompts(runner)[1]
    assert "Prefer tabs." not in prompts(runner)[1]


def test_instructions_behind_a_link_are_not_read(runner):
    secret = runner.cwd.parent / "elsewhere.md"
    secret.write_text("what lies outside\n")
    (runner.cwd / "AGENTS.md").symlink_to(secret)
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nWork.\n")
    runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert "what lies outside" not in prompts(runner)[0]


def test_the_agent_ticks_and_an_unticked_item_keeps_the_run_from_being_done(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\n- [ ] one\n- [ ] two\n")
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": [{"name": "tick", "arguments": {"item": "one"}}]},
        {"iteration": 2, "step": 1, "text": "", "tools": [{"name": "tick", "arguments": {"item": "two"}}]},
        DONE,
    )
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout
    assert runner.last()["iterations"] == 2
    assert "- [x] one\n- [x] two" in (runner.cwd / "spec.md").read_text()


def test_ticks_of_a_spec_that_is_no_file_are_facts_of_the_run(runner):
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": [{"name": "tick", "arguments": {"item": "one"}}]},
        {"otherwise": True, "text": "<promise>COMPLETE</promise>"},
    )
    done = runner("loop", "-", "--model", model, "-n", "2", give="# Work\n\n- [ ] one\n")
    assert done.returncode == 0, done.stdout
    assert [event["body"]["item"] for event in runner.events("ItemTicked")] == ["one"]


def test_a_spec_the_agent_rewrites_is_tampering_and_never_done(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\n- [ ] one\n")
    model = runner.recording(
        write("spec.md", "---\nchecks: ['true']\n---\n# Easy\n\nNothing.\n", iteration=1, step=1), DONE
    )
    done = runner("loop", "spec.md", "--model", model, "-n", "2")
    assert done.returncode == 4, done.stdout
    assert [event["body"]["by"] for event in runner.events("ProtectedChanged")] == ["agent"]
    assert not runner.events("SpecBodyChanged")


def test_the_users_edit_of_the_spec_counts_from_the_next_iteration(runner):
    runner.write("spec.md", "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake a.txt.\n")
    edited = "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt instead.\n"
    waits = {"iteration": 1, "step": 2, "text": "a done", "delay_ms": 3_000}
    model = runner.recording(
        write("a.txt", "a\n", iteration=1, step=1),
        waits,
        {**write("b.txt", "b\n", iteration=2, step=1), "when": {"prompt": {"contains": "b.txt instead"}}},
        DONE,
    )
    process = runner.start("loop", "spec.md", "--model", model, "-n", "4")
    deadline = time.monotonic() + 60
    while not (runner.cwd / "a.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    runner.write("spec.md", edited)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert runner.events("SpecBodyChanged")
    assert "b.txt instead" in prompts(runner)[1]


def test_somebody_elses_work_while_it_is_parked_is_kept_and_starts_a_fresh_iteration(runner):
    runner.write("spec.md", "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt.\n")
    slow = {"iteration": 1, "step": 2, "text": "thinking", "delay_ms": 30_000}
    model = runner.recording(
        write("a.txt", "a\n", iteration=1, step=1), slow, write("b.txt", "b\n", iteration=2, step=1), DONE
    )
    process = runner.start("loop", "spec.md", "--model", model)
    deadline = time.monotonic() + 60
    while not (runner.cwd / "a.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, out + err
    runner.write("mine.txt", "the user's own\n")
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on with run" in done.stdout
    assert [event["body"]["paths"] for event in runner.events("WorkspaceChanged")] == [["mine.txt"]]
    assert (runner.cwd / "mine.txt").read_text() == "the user's own\n"


def test_unattended_works_on_a_copy_and_leaves_the_workspace_alone(runner):
    runner.git("init", "-q")
    runner.write("spec.md", "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt.\n")
    runner.git("add", "-A")
    runner.git("commit", "-qm", "first")
    runner.write("half.txt", "not committed\n")
    model = runner.recording(write("b.txt", "b\n", iteration=1, step=1), DONE)
    done = runner("loop", "spec.md", "--model", model, "--unattended")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in runner.cwd.iterdir()) == [".git", "half.txt", "spec.md"]
    copy = Path(str(runner.last()["workspace"]))
    assert (copy / "b.txt").read_text() == "b\n"
    assert (copy / "half.txt").read_text() == "not committed\n"
    assert "unsandboxed" in done.stdout


def test_hooks_of_the_users_configuration_hear_of_the_end(runner, tmp_path):
    config, heard = tmp_path / "config.toml", tmp_path / "heard.json"
    config.write_text(f'on_stop = ["/bin/sh", "-c", "cat > {heard}"]\n')
    runner.env = {"RUNNER_CONFIG": str(config)}
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nWork.\n")
    runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert json.loads(heard.read_text())["stop_reason"] == "done"


def test_an_unknown_tool_and_broken_arguments_are_answered_not_run(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nWork.\n")
    model = runner.recording(
        {
            "step": 1,
            "text": "",
            "tools": [{"name": "launch", "arguments": {}}, {"name": "shell", "arguments": "{nope"}],
        },
        DONE,
    )
    assert runner("loop", "spec.md", "--model", model).returncode == 0
    assert len(runner.events("ToolRefused")) == 2
    assert not runner.events("ToolStarted")


def test_a_recording_without_a_reply_fails_the_run_and_names_the_request(runner):
    runner.write("spec.md", "---\nchecks: ['false']\n---\n# Work\n\nWork.\n")
    done = runner("loop", "spec.md", "--model", runner.recording({"iteration": 1, "step": 1, "text": "hm"}))
    assert done.returncode == 1
    assert "iteration 2" in done.stdout


def test_a_run_stopped_by_a_shared_budget_goes_on_once_that_budget_is_raised(runner):
    runner.write("spec.md", "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt.\n")
    model = runner.recording(write("b.txt", "b\n", step=1), DONE)
    assert runner("budget", "set", "project", "0.001").returncode == 0
    assert runner("loop", "spec.md", "--model", model).returncode == 3
    assert runner("budget", "set", "project", "1").returncode == 0
    done = runner("resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr


def test_changed_front_matter_counts_for_new_runs_and_is_said(runner):
    runner.write("spec.md", "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt.\n")
    slow = {"iteration": 1, "step": 1, "text": "thinking", "delay_ms": 30_000}
    process = runner.start("loop", "spec.md", "--model", runner.recording(slow))
    deadline = time.monotonic() + 60
    while not list(runner.state.glob("runs/*/log.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    process.communicate(timeout=60)
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nMake b.txt.\n")
    model = runner.recording(write("b.txt", "b\n", step=1), DONE)
    done = runner("loop", "spec.md", "--model", model)
    assert "front matter has changed" in done.stdout
    assert [one["name"] for one in runner.events("ChecksFinished")[-1]["body"]["results"]] != ["true"]


def test_the_log_can_go_to_standard_error_as_well(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nWork.\n")
    done = runner("loop", "spec.md", "--json", "--log-stderr", "--model", runner.recording(DONE))
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    # the first event is written by whoever creates the run, before a driver has its log open
    assert lines == runner.events()[-len(lines) :]
    assert lines[-1]["kind"] == "RunStopped"
    assert json.loads(done.stdout)["stop_reason"] == "done"


@pytest.mark.parametrize("spec", ["spec.md", "specs/one.md"])
def test_the_workspace_is_named_where_it_is_not_the_specs_own_folder(runner, spec):
    runner.write(spec, "---\nchecks: ['true']\n---\n# Work\n\nWork.\n")
    done = runner("loop", spec, "--model", runner.recording(DONE))
    assert (f"workspace {runner.cwd}\n" in done.stdout) == (spec != "spec.md")
