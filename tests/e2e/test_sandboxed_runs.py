"""Runs behind walls, and runs that have none: what is held, what is said, who is asked, what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.sandbox import leftovers
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.contract.walled import eventually, needs_bubblewrap
from tests.e2e.terminal import Terminal, runner_command

DONE = {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"}
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has Landlock where root is refused")


def shell(*commands: str, **more: object) -> dict[str, object]:
    """A first reply that runs commands."""
    tools = [{"name": "shell", "arguments": {"command": command, **more}} for command in commands]
    return {"iteration": 1, "step": 1, "tools": tools}


@pytest.fixture
def bare(runner, tmp_path: Path) -> str:
    """A PATH with git and a shell, and without bubblewrap."""
    place = tmp_path / "bare"
    place.mkdir()
    for name in ("git", "sh", "cat", "ls", "test"):
        (place / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    runner.env |= {"RUNNER_SANDBOX": "auto", "PATH": str(place)}
    return str(place)


def outputs(runner) -> list[str]:
    return [event["body"]["text"] for event in runner.events("ToolFinished")]


@needs_bubblewrap
def test_tools_setup_and_checks_of_a_run_are_held_and_the_record_says_by_what(runner):
    runner.env["RUNNER_SANDBOX"] = "auto"
    home = Path(runner.environ()["HOME"])
    (home / "mine").write_text("PRIVATE")
    (runner.cwd.parent / "outside").write_text("PRIVATE")
    runner.write(
        "spec.md",
        "---\nchecks: ['grep -q made made.txt', '! grep -rq P[R]IVATE ~ ..']\nsetup: ['echo by setup > ~/setup']\n---\n"
        "# Work\n\nMake made.txt.\n",
    )
    model = runner.recording(
        shell(
            "cat ~/mine; cat ../outside; cat ~/setup; echo made > made.txt; echo changed > ../outside; echo $PWD",
            "python3 -c \"import socket; print(socket.socket().connect_ex(('127.0.0.1', 9)))\"",
        ),
        DONE,
    )
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unsandboxed" not in done.stdout
    first, second = outputs(runner)
    assert "PRIVATE" not in first
    assert f"by setup\n{runner.cwd}\n" in first
    assert second.startswith("111\n")
    assert (runner.cwd.parent / "outside").read_text() == "PRIVATE"
    started = [event["body"]["sandbox"] for event in runner.events("ToolStarted")]
    verdict, setup = runner.events("ChecksFinished")[-1]["body"], runner.events("SetupFinished")[-1]["body"]
    assert [*started, verdict["sandbox"], setup["sandbox"]] == ["bubblewrap"] * 4


@needs_bubblewrap
def test_a_server_that_one_call_starts_answers_the_next_and_is_gone_with_the_iteration(runner):
    runner.env["RUNNER_SANDBOX"] = "bubblewrap"
    runner.write("spec.md", "---\nchecks: ['test -f never']\nstall: none\n---\n# Work\n\nTry it.\n")
    serve = {"command": "python3 -m http.server 8765 --bind 127.0.0.1", "background": True}
    get = (
        "import time, urllib.request as u\nfor _ in range(200):\n try:\n"
        "  print(u.urlopen('http://127.0.0.1:8765').status); break\n except OSError: time.sleep(0.05)\n"
        "else: print('gone')"
    )
    ask = {"argv": ["python3", "-c", get]}
    once = {"argv": ["python3", "-c", get.replace("200", "2", 1)]}
    model = runner.recording(
        {
            "iteration": 1,
            "step": 1,
            "tools": [{"name": "shell", "arguments": serve}, {"name": "run", "arguments": ask}],
        },
        {"iteration": 2, "step": 1, "tools": [{"name": "run", "arguments": once}]},
        {"otherwise": True, "text": "Not yet."},
    )
    done = runner("loop", "spec.md", "--model", model, "-n", "2")
    assert done.returncode == 4, done.stdout + done.stderr
    _, answered, later = outputs(runner)
    assert answered.startswith("200\n")
    assert later.startswith("gone\n")


@needs_bubblewrap
def test_what_uses_too_much_is_ended_and_the_model_is_told_why(runner, tmp_path):
    runner.env["RUNNER_SANDBOX"] = "bubblewrap"
    policy = tmp_path / "small.yaml"
    text = (Path(__file__).parents[2] / "policies" / "default.yaml").read_text()
    policy.write_text(text.replace("  accept_unsandboxed: true\n", "  accept_unsandboxed: true\n  memory: 100m\n"))
    runner.write("spec.md", "# Work\n\nDo it.\n")
    eat = {"argv": ["python3", "-c", "x = b'x' * 400_000_000; import time; time.sleep(30)"]}
    model = runner.recording({"iteration": 1, "step": 1, "tools": [{"name": "run", "arguments": eat}]}, DONE)
    done = runner("loop", "spec.md", "--model", model, "--policy", str(policy))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of memory in use" in outputs(runner)[0]


@needs_bubblewrap
def test_nothing_outlives_a_runner_that_is_killed(runner):
    runner.env["RUNNER_SANDBOX"] = "bubblewrap"
    runner.write("spec.md", "# Work\n\nDo it.\n")
    away = "setsid env -i sleep 300 & setsid sh -c 'trap : TERM; sleep 301' & kill -9 $PPID; sleep 302"
    model = runner.recording(shell(f"echo > begun; {away}"), DONE)
    process = runner.start("loop", "spec.md", "--model", model)
    try:
        assert eventually((runner.cwd / "begun").exists, 60)
        below = leftovers.descendants(process.pid)
        assert len(below) > 2
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert eventually(lambda: not any(map(leftovers.start_ticks, below)), 6)


@ROOT_ONLY
def test_root_without_a_sandbox_is_refused_before_a_run_begins(runner, bare):
    runner.env["OPENAI_API_KEY"] = "sk-test-0123456789abcdef"
    runner.write("spec.md", "# Work\n\nDo it.\n")
    for flags in ((), ("--unattended",)):
        done = runner("loop", "spec.md", "--model", "openai/gpt-5", *flags)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "nothing here can hold the model's commands: bubblewrap: it is not installed" in done.stderr
        assert "apt install bubblewrap" in done.stderr
        assert "--sandbox none" in done.stderr
    assert not list(runner.state.glob("runs/*"))


@ROOT_ONLY
def test_a_recording_runs_without_a_sandbox_and_says_so(runner, bare):
    runner.write("spec.md", "# Work\n\nDo it.\n")
    done = runner("loop", "spec.md", "--unattended", "--model", runner.recording(shell("echo hello"), DONE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note: unsandboxed: recorded commands only\n" in done.stdout
    assert [event["body"]["sandbox"] for event in runner.events("ToolStarted")] == ["recorded"]


def test_a_policy_that_requires_a_sandbox_is_not_talked_out_of_it(runner, tmp_path):
    policy = tmp_path / "strict.yaml"
    text = (Path(__file__).parents[2] / "policies" / "default.yaml").read_text()
    policy.write_text(text.replace("  accept_unsandboxed: true\n", "  required: true\n"))
    runner.write("spec.md", "# Work\n\nDo it.\n")
    done = runner(
        "loop",
        "spec.md",
        "--sandbox",
        "none",
        "--policy",
        str(policy),
        "--model",
        runner.recording(shell("true"), DONE),
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the policy requires a sandbox, and flag says none" in done.stderr


@ROOT_ONLY
@pytest.mark.parametrize(("policy", "offered"), [("default", True), ("overnight", False)])
def test_going_without_is_offered_only_where_the_policy_lets_it(runner, bare, policy, offered):
    runner.env["OPENAI_API_KEY"] = "sk-test-0123456789abcdef"
    runner.write("spec.md", "# Work\n\nDo it.\n")
    done = runner("loop", "spec.md", "--model", "openai/gpt-5", "--policy", policy)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "bubblewrap" in done.stderr
    assert ("--sandbox none" in done.stderr) == offered


@ROOT_ONLY
@pytest.mark.parametrize(("keys", "code"), [("n\r", 2), ("\r", 2), ("\x04", 2), ("y\r", 0)])
def test_somebody_at_the_terminal_is_asked_once_a_run(runner, bare, keys, code):
    runner.write("spec.md", "# Work\n\nDo it.\n")
    lines = ({"recording": 1, "model": "openai/gpt-5"}, shell("echo hello"), DONE)
    recording = Recording.parse("".join(json.dumps(one) + "\n" for one in lines), Path("replies.jsonl"))
    with ScriptedProvider(Script(recording=recording)) as provider:
        env = runner.environ() | {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
        terminal = Terminal(
            runner_command("loop", "spec.md", "--model", "openai/gpt-5"), cwd=runner.cwd, env=env, width=200
        )
        try:
            terminal.sees("Go on without one, for this run? [y/N]")
            terminal.keys(keys)
            assert terminal.ends() == code, terminal.screen.everything
        finally:
            terminal.close()
    if code == 0:
        assert outputs(runner) == ["hello\n[exit code 0]"]
        topics = [event["body"]["topic"] for event in runner.events("Warned")]
        assert topics.count("unsandboxed:accepted") == 1
    else:
        assert not list(runner.state.glob("runs/*"))
