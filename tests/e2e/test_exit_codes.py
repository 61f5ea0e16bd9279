"""Every exit code of the table is what really comes out, and the table and the program know the same ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import EXIT_CODES, StopKind

DOC = Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md"
SPEC = "# Work\n\nDo the work.\n"
CLAIM = {"otherwise": True, "text": "<promise>COMPLETE</promise>"}
TALK = {"otherwise": True, "text": "not yet"}
WAITS = {
    "iteration": 1,
    "step": 1,
    "tools": [{"name": "shell", "arguments": {"command": "touch begun; exec sleep 600"}}],
}


def loop(runner, *args: str, spec: str = SPEC, replies: tuple[dict[str, object], ...] = (TALK,)) -> int:
    """Run a spec on a recording."""
    runner.write("spec.md", spec)
    return runner("loop", "spec.md", "--model", runner.recording(*replies), *args).returncode


def driving(runner, act) -> int:
    """Let a run begin a long command, do something to it, and give how it ended."""
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(WAITS, CLAIM)
    process = runner.start("loop", "spec.md", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (runner.cwd / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    try:
        return act(process)
    finally:
        process.kill()
        process.wait()


def asks(runner) -> int:
    """A policy asks about everything and waits for nobody."""
    policy = runner.state.parent / "policy.yaml"
    policy.write_text(
        "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: ask, owner: us}\nscope: user\n"
        "default: ask\nunattended: {on_ask: stop}\n"
    )
    return loop(runner, "--policy", str(policy), replies=(WAITS, CLAIM))


def stopped(runner):
    def act(process) -> int:
        assert runner("stop", "last").returncode == 0
        return process.wait(30)

    return driving(runner, act)


def told(name: str):
    def scenario(runner) -> int:
        def act(process) -> int:
            subprocess.run(["kill", f"-{name}", str(process.pid)], check=True)
            return process.wait(30)

        return driving(runner, act)

    return scenario


def interrupted(runner) -> int:
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording({"otherwise": True, "text": "not yet", "delay_ms": 1500})
    process = runner.start("loop", "spec.md", "--max-steps", "1", stderr=subprocess.DEVNULL)
    assert any("iteration 1 of" in line for line in process.stdout)
    subprocess.run(["kill", "-INT", str(process.pid)], check=True)
    process.communicate(timeout=60)
    return process.returncode


def overbilled(runner) -> int:
    lines = ({"recording": 1, "model": "openai/gpt-5"}, TALK)
    recording = Recording.parse("".join(json.dumps(one) + "\n" for one in lines), Path("replies.jsonl"))
    with ScriptedProvider(Script(recording=recording, faults=(Fault.OVER,))) as provider:
        runner.env = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
        runner.write("spec.md", SPEC)
        code = runner("loop", "spec.md", "--model", "openai/gpt-5").returncode
        assert len(provider.billed) == 1
        return code


def unwritable(runner) -> int:
    runner.state.write_text("a file is in its place\n")
    return loop(runner)


def bug(runner) -> int:
    code = (
        "import sys; from runner.cli.edge import guarded; from runner.secrets import Keys;"
        " sys.exit(guarded(lambda _: 1 // 0, Keys()))"
    )
    env = {**runner.environ(), "TMPDIR": str(runner.state.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    report = re.search(r"a report is in (\S+)", done.stderr)
    assert report is not None
    assert "ZeroDivisionError" in Path(report[1]).read_text()
    return done.returncode


STALLS = "---\nstall: 1\n---\n# Work\n\nDo the work.\n"
FALSE = "---\nchecks: ['false']\npromise: COMPLETE\ncompletion:\n  on_false_claim: stop\n---\n# Work\n\nDo it.\n"
SCENARIOS = {
    "done and verified": (0, lambda r: loop(r, spec="---\nchecks: ['true']\n---\n# Work\n\nDo it.\n")),
    "claimed": (0, lambda r: loop(r, replies=(CLAIM,))),
    "no reply": (1, lambda r: loop(r, replies=({"iteration": 9, "step": 9, "text": "never"},))),
    "setup fails": (1, lambda r: loop(r, spec="---\nsetup: ['false']\n---\n# Work\n\nDo it.\n")),
    "misspelt flag": (2, lambda r: loop(r, "--max-csot", "1")),
    "money": (
        3,
        lambda r: loop(r, "--max-cost", "0.02", "-n", "90", spec="---\nstall: none\n---\n# Work\n\nDo it.\n"),
    ),
    "iterations": (4, lambda r: loop(r, "-n", "1")),
    "stalled": (5, lambda r: loop(r, spec=STALLS)),
    "false claim": (6, lambda r: loop(r, spec=FALSE, replies=({"otherwise": True, "text": "COMPLETE"},))),
    "nobody to ask": (7, asks),
    "billed above the hold": (8, overbilled),
    "runner stop": (9, stopped),
    "a bug": (70, bug),
    "state directory": (73, unwritable),
    "held": (75, lambda r: driving(r, lambda _: r("loop", "spec.md").returncode)),
    "SIGINT": (130, interrupted),
    "SIGTERM": (143, told("TERM")),
    "SIGHUP": (143, told("HUP")),
}


@pytest.mark.parametrize(("code", "scenario"), SCENARIOS.values(), ids=SCENARIOS)
def test_the_exit_code_is_the_one_of_the_table(runner, code, scenario):
    assert scenario(runner) == code


def table() -> dict[int, tuple[set[str], str]]:
    """The rows of the table: code, stop reasons, how it comes about."""
    rows = re.findall(r"^\| (\d+) \|([^|]*)\|[^|]*\|([^|]*)\|$", DOC.read_text("utf-8"), re.MULTILINE)
    return {int(code): (set(re.findall(r"`(\w+)`", reasons)), how) for code, reasons, how in rows}


def test_the_table_names_every_stop_reason_with_the_code_the_program_gives_it():
    documented = {StopKind(reason): code for code, (reasons, _) in table().items() for reason in reasons}
    assert documented == EXIT_CODES


def test_every_code_that_can_arise_in_this_version_is_produced_here():
    possible = {code for code, (_, how) in table().items() if "not in this version" not in how}
    assert {code for code, _ in SCENARIOS.values()} == possible
