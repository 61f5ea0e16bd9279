"""A run that is told to stop, or loses its reader, its terminal or its driver: right exit code, nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script

KEY = "sk-test-0123456789abcdef"
DONE = {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"}
SPEC = "# Work\n\nDo the work.\n"
NOW = {"SIGINT twice": 130, "SIGTERM": 143, "SIGHUP": 143}


def shell(command: str) -> dict[str, object]:
    """A reply that runs a command."""
    return {"iteration": 1, "step": 1, "tools": [{"name": "shell", "arguments": {"command": command}}]}


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def has_event(runner, kind: str) -> bool:
    """Whether the newest run's log names an event of this kind."""
    return any(f'"kind":"{kind}"' in path.read_text() for path in sorted(runner.state.glob("runs/*/log.jsonl"))[-1:])


def ends(process: subprocess.Popen[str], code: int) -> str:
    """Wait for the end; give all that was said."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert "Traceback" not in out + err
    assert "bug in runner" not in out + err
    return out + err


def tell(process: subprocess.Popen[str], how: str) -> None:
    """Send the signal, or the two."""
    name, _, again = how.partition(" ")
    process.send_signal(getattr(signal, name))
    if again and process.stderr is not None:
        # the kernel folds signals that come at once: the second waits until the first was heard
        assert any("Ctrl-C again stops now" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)


def goes_on(runner, *args: str) -> str:
    """`runner loop` goes on with the open run, to its end."""
    run = runner.last()["run"]
    done = runner("loop", "spec.md", *args)
    assert f"going on with run {run}" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert runner.last()["run"] == run
    return done.stdout


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")
    except OSError:
        return True


def provider_of(runner, script: Script) -> ScriptedProvider:
    """A provider that answers the recording, and is the one the command calls."""
    provider = ScriptedProvider(script)
    runner.env |= {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": KEY, "RUNNER_MODEL": "openai/gpt-5"}
    return provider


def replies(*lines: dict[str, object]) -> Recording:
    """A recording for a provider."""
    text = "".join(json.dumps(line) + "\n" for line in ({"recording": 1, "model": "openai/gpt-5"}, *lines))
    return Recording.parse(text, Path("replies.jsonl"))


def test_the_first_ctrl_c_lets_the_call_answer_and_its_tools_finish(runner):
    runner.write("spec.md", SPEC)
    write = {"name": "write_file", "arguments": {"path": "one.txt", "content": "1\n"}}
    runner.env["RUNNER_MODEL"] = runner.recording({"iteration": 1, "step": 1, "delay_ms": 1200, "tools": [write]}, DONE)
    process = runner.start("loop", "spec.md")
    wait_until(lambda: has_event(runner, "CallDispatched"), "a call left")
    process.send_signal(signal.SIGINT)
    said = ends(process, 130)
    assert "Ctrl-C again stops now" in said
    assert (runner.cwd / "one.txt").read_text() == "1\n"
    run = runner.last()
    assert (run["status"], run["stop_reason"], run["held_nano_usd"], run["unknown_nano_usd"]) == (
        "open",
        "interrupted",
        0,
        0,
    )
    assert [event["body"]["number"] for event in runner.events("CheckpointMade")] == [0, 1]
    assert f"runner resume {run['run']}" in said
    goes_on(runner)
    assert len(runner.events("CallDispatched")) == 2


def test_the_first_ctrl_c_lets_a_command_finish(runner):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(shell("touch begun; sleep 1; touch finished"), DONE)
    process = runner.start("loop", "spec.md")
    wait_until((runner.cwd / "begun").exists, "the command began")
    process.send_signal(signal.SIGINT)
    ends(process, 130)
    assert (runner.cwd / "finished").exists()
    assert runner.events("ToolFinished")[0]["body"]["interrupted"] is False
    goes_on(runner)


@pytest.mark.parametrize(("how", "code"), NOW.items(), ids=NOW)
def test_a_call_that_nobody_answers_is_cut_and_its_hold_stays_counted(runner, how, code):
    runner.write("spec.md", SPEC)
    with provider_of(runner, Script(recording=replies(DONE), faults=(Fault.STALL,))) as provider:
        process = runner.start("loop", "spec.md")
        assert provider.wait_for(1)
        tell(process, how)
        ends(process, code)
        run = runner.last()
        assert run["status"] == "open"
        assert run["unknown_nano_usd"] > 0
        assert run["held_nano_usd"] == 0
        goes_on(runner)
        assert len(provider.billed) == 2
        assert runner.last()["unknown_nano_usd"] == run["unknown_nano_usd"]


@pytest.mark.parametrize(("how", "code"), NOW.items(), ids=NOW)
def test_a_long_command_is_ended_with_all_its_children(runner, how, code):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(
        shell("sh -c 'echo $$ > child; exec sleep 600' & echo $$ > pid; wait"), DONE
    )
    process = runner.start("loop", "spec.md")
    wait_until(lambda: all((runner.cwd / name).exists() for name in ("pid", "child")), "the command began")
    wait_until(lambda: all((runner.cwd / name).read_text() for name in ("pid", "child")), "it wrote its number")
    tell(process, how)
    ends(process, code)
    for name in ("pid", "child"):
        number = int((runner.cwd / name).read_text())
        wait_until(partial(gone, number), f"{name} ended", 5)
    assert runner.events("ToolFinished")[0]["body"]["interrupted"] is True
    goes_on(runner)


@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGINT twice", 130), ("SIGTERM", 143)])
def test_checks_are_finished_or_ended_and_an_ended_one_is_no_verdict(runner, how, code):
    seconds = "1" if how == "SIGINT" else "600"
    began, fine = runner.state.parent / "began", runner.state.parent / "fine"
    check = f"sh -c 'test -e {fine} && exit 0; touch {began}; sleep {seconds}; exit 1'"
    runner.write("spec.md", f"---\nchecks:\n  - {json.dumps(check)}\n---\n{SPEC}")
    runner.env["RUNNER_MODEL"] = runner.recording(DONE)
    process = runner.start("loop", "spec.md")
    wait_until(began.exists, "the check began")
    tell(process, how)
    ends(process, code)
    assert len(runner.events("ChecksFinished")) == (1 if how == "SIGINT" else 0)
    fine.touch()
    goes_on(runner)
    assert runner.last()["verified"] is True


@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_wait_for_another_attempt_is_no_obstacle(runner, how, code):
    runner.write("spec.md", SPEC)
    faults = (Fault.ERROR_500, Fault.ERROR_500, Fault.ERROR_500)
    with provider_of(runner, Script(recording=replies(DONE), faults=faults)) as provider:
        process = runner.start("loop", "spec.md")
        wait_until(lambda: has_event(runner, "CallUnknown"), "a failed call")
        tell(process, how)
        ends(process, code)
        assert len(provider.billed) <= 2
        assert runner.last()["status"] == "open"


def test_a_setup_that_was_stopped_has_not_failed(runner):
    began, fine = runner.state.parent / "began", runner.state.parent / "fine"
    setup = f"sh -c 'test -e {fine} && exit 0; touch {began}; sleep 600'"
    runner.write("spec.md", f"---\nsetup:\n  - {json.dumps(setup)}\n---\n{SPEC}")
    runner.env["RUNNER_MODEL"] = runner.recording(DONE)
    process = runner.start("loop", "spec.md")
    wait_until(began.exists, "the setup began")
    process.send_signal(signal.SIGTERM)
    ends(process, 143)
    fine.touch()
    goes_on(runner)


def test_ctrl_c_before_there_is_a_run_is_quiet(runner):
    process = runner.start("loop", "-", "--model", runner.recording(DONE), stdin=subprocess.PIPE)
    process.stdin.write("# Work\n" * 30_000)  # more than a pipe holds: when this returns, runner is reading
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert ends(process, 130) == ""
    assert not runner.state.exists()


def test_nohup_keeps_a_run_alive_when_its_terminal_goes(runner):
    runner.write("spec.md", SPEC)
    runner.prefix = ("nohup",)
    runner.env["RUNNER_MODEL"] = runner.recording(shell("touch begun; while [ ! -e go ]; do sleep 0.05; done"), DONE)
    process = runner.start("loop", "spec.md")
    wait_until((runner.cwd / "begun").exists, "the command began")
    process.send_signal(signal.SIGHUP)
    (runner.cwd / "go").touch()
    ends(process, 0)


STREAMS = {
    "closed pipe": "{runner} | head -n 1; exit ${{PIPESTATUS[0]}}",
    "both into a closed pipe": "{runner} 2>&1 | true; exit ${{PIPESTATUS[0]}}",
    "error into a closed pipe": "{runner} 2>&1 >/dev/null --quiet | true; exit ${{PIPESTATUS[0]}}",
    "no standard output": "{runner} >&-",
    "no stream at all": "{runner} >&- 2>&- <&-",
    "full device": "{runner} >/dev/full 2>/dev/full",
    "JSON into a closed pipe": "{runner} --json | true; exit ${{PIPESTATUS[0]}}",
}


@pytest.mark.parametrize("redirected", STREAMS.values(), ids=STREAMS)
def test_a_loop_without_readers_goes_on_to_its_end_and_its_exit_code(runner, redirected):
    runner.write("spec.md", "---\nchecks: ['false']\n---\n# Work\n\nDo the work.\n")
    runner.env["RUNNER_MODEL"] = runner.recording({"otherwise": True, "text": "not yet"})
    runner.prefix = ("bash", "-c", redirected.format(runner='"$@"'), "bash")
    done = runner("loop", "spec.md", "-n", "2")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    run = runner.last()
    assert (run["status"], run["stop_reason"], run["iterations"]) == ("ended", "limit", 2)
    assert runner.events()[-1]["kind"] == "RunStopped"


def test_a_listing_without_readers_ends_quietly(runner):
    runner.write("spec.md", SPEC)
    assert runner("loop", "spec.md", "--model", runner.recording(DONE)).returncode == 0
    runner.prefix = ("bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "bash")
    for command in (("--help",), ("loop", "--help"), ("runs",)):
        done = runner(*command)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_a_broken_spec_is_still_exit_2_when_nobody_reads_why(runner):
    runner.prefix = ("bash", "-c", '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', "bash")
    assert runner("loop", "nowhere.md").returncode == 2


def test_a_second_process_is_told_who_holds_the_run_and_the_workspace(runner):
    runner.write("spec.md", SPEC)
    runner.write("other.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(shell("touch begun; while [ ! -e go ]; do sleep 0.05; done"), DONE)
    first = runner.start("loop", "spec.md")
    wait_until((runner.cwd / "begun").exists, "the command began")
    before = runner.events()
    for command in (("loop", "spec.md"), ("resume", "last"), ("loop", "spec.md", "--new"), ("loop", "other.md")):
        done = runner(*command)
        assert done.returncode == 75, (command, done.stdout, done.stderr)
        assert re.search(rf"\b(pid|process) {first.pid}\b", done.stderr), (command, done.stderr)
        assert len(done.stderr.splitlines()) == 2, "one sentence, and how to go on"
    assert runner.events() == before
    assert len(list(runner.state.glob("runs/*"))) == 1
    (runner.cwd / "go").touch()
    ends(first, 0)


def test_a_killed_driver_is_replaced_by_the_next_loop(runner):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(shell("echo $$ > pid; [ -e go ] || sleep 600"), DONE)
    process = runner.start("loop", "spec.md")
    wait_until(lambda: (runner.cwd / "pid").exists() and (runner.cwd / "pid").read_text(), "the command began")
    process.kill()
    process.communicate(timeout=30)
    number = int((runner.cwd / "pid").read_text())
    wait_until(partial(gone, number), "the command died with its driver", 5)
    goes_on(runner)
    assert len(runner.events("CallDispatched")) == 2, "the reply that was paid for is not bought again"
    assert runner.events("ToolFinished")[0]["body"]["interrupted"] is True


class Terminal:
    """A pseudo-terminal with a command on it, as a person has it."""

    def __init__(self, runner, *args: str) -> None:
        self._side, command_side = pty.openpty()
        self.shown = ""
        self.process = runner.start(
            *args,
            stdin=command_side,
            stdout=command_side,
            stderr=command_side,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(command_side)

    def press(self, keys: bytes) -> None:
        os.write(self._side, keys)

    def read_until(self, text: str) -> None:
        while text not in self.shown:
            assert self.read(), f"never shown: {text}\n{self.shown}"

    def read(self) -> bool:
        try:
            piece = os.read(self._side, 65536).decode()
        except OSError:
            return False  # a terminal whose last user is gone
        self.shown += piece
        return bool(piece)

    def end(self) -> int:
        while self.read():
            pass
        os.close(self._side)
        return self.process.wait(30)


def test_a_terminal_shows_plain_lines_and_its_ctrl_c_works(runner):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(shell("echo $$ > pid; sleep 600"), DONE)
    terminal = Terminal(runner, "loop", "spec.md")
    terminal.read_until("iteration 1 of 25")
    wait_until((runner.cwd / "pid").exists, "the command began")
    terminal.press(b"\x03")
    terminal.read_until("Ctrl-C again stops now")
    assert not gone(int((runner.cwd / "pid").read_text())), "the first Ctrl-C is not the command's"
    terminal.press(b"\x03")
    assert terminal.end() == 130
    plain = terminal.shown.replace("\r\n", "").replace("^C", "")
    assert [char for char in plain if not char.isprintable()] == []
    assert "interrupted: interrupt" in terminal.shown

    again = Terminal(runner, "loop", "spec.md")
    assert again.end() == 0
    assert "going on with run" in again.shown
    assert "done (claimed" in again.shown
