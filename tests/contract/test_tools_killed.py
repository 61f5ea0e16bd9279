"""`kill -9` of runner: nothing it started writes afterwards, and a resume finds out what happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.events.facts import ToolStarted
from runner.sandbox.leftovers import carriers, start_ticks
from runner.secrets import Vault
from runner.tools import BuiltinTools
from runner.values import Effect, ToolCall

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """
import json, os, sys, time
from pathlib import Path
from runner.ports import Interrupt
from runner.secrets import Vault
from runner.tools import BuiltinTools
from runner.values import ToolCall
base, argv, until = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
tools = BuiltinTools(base / "work", env={"PATH": os.environ["PATH"]}, artefacts=base / "artefacts", vault=Vault({}),
                     spec_path=None, tick=lambda *_: None, on_tick=lambda _: None)
arguments = {"argv": argv, "background": until == "background"}
prepared = tools.prepare(ToolCall("call_1", "run", json.dumps(arguments)))
started = prepared.started
print(json.dumps([started.pgid, started.started_ticks, started.boot_id]), flush=True)
if until != "door":
    prepared.act(Interrupt())
time.sleep(60)
"""

LATE = "echo x > late"
COMMANDS = {
    "a shell": ["sh", "-c", f"echo x > begun; sleep 1; {LATE}"],
    "a child of the shell": ["sh", "-c", f"(echo x > begun; sleep 1; {LATE}) & wait"],
    "a daemon": ["sh", "-c", f"setsid sh -c '(echo x > begun; sleep 1; {LATE}) &' & wait; sleep 5"],
    "a daemon without environment": [
        "sh",
        "-c",
        f"env -i setsid /bin/sh -c 'echo x > begun; /bin/sleep 1; {LATE}' & sleep 5",
    ],
    "a command that stopped its keeper": ["sh", "-c", f"kill -STOP $PPID; echo x > begun; sleep 1; {LATE}"],
    "a command deaf to signals": ["sh", "-c", f"trap '' TERM HUP INT; echo x > begun; sleep 1; {LATE}"],
}


class Killed:
    """A driver process that started a command and was killed; `keeper_too`: and its keeper and host before it."""

    def __init__(
        self, base: Path, argv: list[str], until: str, *, group: bool = False, keeper_too: bool = False
    ) -> None:
        self.work = base / "work"
        self.work.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(base), json.dumps(argv), until],
            stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert process.stdout is not None
        pgid, ticks, boot = json.loads(process.stdout.readline())
        self.started = ToolStarted(
            call=ToolCall("call_1", "run", json.dumps({"argv": argv})), effect=Effect.COMMANDS, pgid=pgid,
            started_ticks=ticks, boot_id=boot,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while until != "door" and not (self.work / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.tools = BuiltinTools(
            self.work, env={}, artefacts=base / "artefacts", vault=Vault({}), spec_path=None,
            tick=lambda *_: None, on_tick=lambda _: None,
        )  # fmt: skip
        if keeper_too:
            process.send_signal(signal.SIGSTOP)  # or it would see its keeper die, and do the ending itself
            for keeper in sorted(carriers(self.tools._commands.keeper_marker)):  # the host of all, and the command's
                os.kill(keeper, signal.SIGKILL)
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        process.stdout.close()
        self.at = time.monotonic()

    def alive(self) -> list[int]:
        found = [*carriers(self.tools._commands.command_marker), *carriers(self.tools._commands.keeper_marker)]
        return found + [pid for pid in [self.started.pgid] if start_ticks(pid) == self.started.started_ticks]

    def wait_past_late(self) -> None:
        time.sleep(max(0.0, self.at + 1.3 - time.monotonic()))


@pytest.mark.parametrize(
    ("what", "until"), [*((what, "running") for what in COMMANDS), ("a child of the shell", "background")]
)
def test_nothing_is_written_after_runner_was_killed(tmp_path, what, until):
    killed = Killed(tmp_path, COMMANDS[what], until)
    killed.wait_past_late()
    assert killed.alive() == []
    assert not (killed.work / "late").exists()


@pytest.mark.parametrize("what", COMMANDS)
def test_resume_ends_what_is_left_before_it_looks(tmp_path, what):
    killed = Killed(tmp_path, COMMANDS[what], "running", group=True)
    outcome = killed.tools.recover(killed.started)
    assert killed.alive() == []
    assert outcome is not None
    assert (outcome.ok, outcome.interrupted) == (False, True)
    assert "may have run partly" in outcome.text
    killed.wait_past_late()
    assert not (killed.work / "late").exists()


def test_a_command_still_at_the_door_never_runs(tmp_path):
    killed = Killed(tmp_path, ["sh", "-c", "echo x > late"], "door")
    deadline = time.monotonic() + 5
    while killed.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(killed.work.iterdir()) == []


def test_a_keeper_killed_with_runner_leaves_what_resume_finds_by_its_mark(tmp_path):
    argv = ["sh", "-c", f"(setsid sh -c 'echo x > begun; sleep 1; {LATE}' &) ; sleep 5"]
    killed = Killed(tmp_path, argv, "running", keeper_too=True)
    deadline = time.monotonic() + 1
    while start_ticks(killed.started.pgid):
        assert time.monotonic() < deadline, "the parent-death signal ends the command itself at once"
    outcome = killed.tools.recover(killed.started)
    assert killed.alive() == []
    assert outcome is not None
    assert len(outcome.left_behind) >= 1
    killed.wait_past_late()
    assert not (killed.work / "late").exists()
