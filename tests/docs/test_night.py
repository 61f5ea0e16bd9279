"""The job of the overnight lesson: its case statement over the exit codes a run can really end with, and cron's line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from tests.docs.pages import ROOT, blocks
from tests.docs.shell import HOME_OF_THE_PAGES, STARTER, machine

PAGE = ROOT / "docs" / "tutorial" / "first-overnight-run.md"
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 70, 73, 75, 130, 143}


class Night:
    """A home with the job of the page in ~/bin, and the spec of `runner init` in ~/textkit."""

    def __init__(self, place: Path) -> None:
        self.env = machine(place, zone=f"<far>{(time.gmtime().tm_hour - 19) % 24:+d}")
        self.home = Path(self.env["HOME"])
        self.env["PATH"] = f"{self.home / 'bin'}{os.pathsep}{self.env['PATH']}"
        self.spec = self.home / "textkit" / "spec.md"
        for folder in ("bin", "textkit", ".config/runner"):
            (self.home / folder).mkdir(parents=True)
        (job,) = (block for block in blocks(PAGE) if block.text.startswith("cat > ~/bin/night"))
        subprocess.run(["sh", "-ec", job.text], env=self.env, check=True)
        subprocess.run(["runner", "init"], cwd=self.spec.parent, env=self.env, check=True, capture_output=True)
        self.plays()

    @property
    def job(self) -> Path:
        return self.home / "bin" / "night"

    def plays(self, change: Callable[[dict], dict | None] = dict, *, delay_ms: int = 0) -> None:
        """The model plays the starter's recording, each reply changed so, or left out for None."""
        header, *replies = (json.loads(line) for line in STARTER.read_text("utf-8").splitlines())
        kept = [one for reply in replies if (one := change({**reply, "delay_ms": delay_ms})) is not None]
        recording = self.home / "recording.jsonl"
        recording.write_text("".join(json.dumps(line) + "\n" for line in (header, *kept)), "utf-8")
        self.says(f"RUNNER_MODEL=replay:{recording}")

    def says(self, line: str) -> None:
        (self.home / ".config" / "runner" / "night.env").write_text(line + "\n", "utf-8")

    def __call__(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["night"], env=self.env, capture_output=True, text=True, timeout=120, check=False)

    def started(self) -> subprocess.Popen[str]:
        """The job at work: its run has a driver."""
        job = subprocess.Popen(["night"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + 100
        while not any(run["driver"] for run in self.runs()):
            assert job.poll() is None, self.log
            assert time.monotonic() < end, "it never began"
            time.sleep(0.05)
        return job

    def runs(self) -> list[dict]:
        command = ["runner", "runs", "--json"]
        return json.loads(subprocess.run(command, env=self.env, capture_output=True, text=True, check=True).stdout)

    @property
    def log(self) -> str:
        return (self.home / "night.log").read_text("utf-8")


@pytest.fixture
def night(tmp_path) -> Night:
    return Night(tmp_path)


def nothing(reply: dict) -> dict:
    """The agent does nothing at all."""
    return {**reply, "tools": []}


def claimed(reply: dict) -> dict:
    """The agent does nothing and says that it is done."""
    return {**nothing(reply), "text": "<promise>COMPLETE</promise>"}


def test_a_night_that_is_done_says_how_to_take_what_it_made(night):
    done = night()
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), night.log
    assert done.stdout.startswith("textkit: done and verified. ")
    assert night.runs()[0]["verified"] is True
    assert not (night.spec.parent / "greet.sh").exists()


def test_a_provider_without_a_reply_is_a_failure(night):
    night.plays(lambda reply: None if reply.get("iteration") != 1 else reply)
    done = night()
    assert (done.returncode, done.stdout[:17]) == (1, "textkit: failed: "), night.log


def test_a_model_nobody_knows_is_to_be_corrected(night):
    night.says("RUNNER_MODEL=openai/no-such-model")
    done = night()
    assert (done.returncode, done.stdout[:19]) == (2, "textkit: not begun:"), night.log
    assert night.runs() == []


def test_a_spec_without_checks_is_to_be_corrected(night):
    night.spec.write_text("# Do something\n", "utf-8")
    assert night().returncode == 2
    assert night.runs() == []


def test_too_little_money_is_told_from_other_limits(night):
    night.job.write_text(night.job.read_text("utf-8").replace("--max-cost 0.50", "--max-cost 0.0045"), "utf-8")
    done = night()
    assert (done.returncode, done.stdout[:19]) == (3, "textkit: the money "), night.log


@pytest.mark.parametrize(
    ("rule", "code", "said"),
    [
        ("stall: none", 4, "a limit was reached"),
        ("stall: 2", 5, "stalled"),
        ("completion: {on_false_claim: stop}\npromise: true", 6, "it said done, and the checks said no"),
    ],
)
def test_an_agent_that_gets_nowhere_ends_by_the_rule_of_its_spec(night, rule, code, said):
    text = night.spec.read_text("utf-8")
    assert "stall: 3" in text
    night.spec.write_text(text.replace("iterations: 10", "iterations: 4").replace("stall: 3", rule), "utf-8")
    night.plays(claimed if code == 6 else nothing)
    done = night()
    assert (done.returncode, done.stdout[: len(said) + 9]) == (code, f"textkit: {said}"), night.log


def test_a_bill_above_what_was_held_is_not_to_be_repeated(night):
    recording = Recording.parse(STARTER.read_text("utf-8"), STARTER)
    with ScriptedProvider(Script(recording=recording, faults=(Fault.OVER,))) as provider:
        night.says(f"OPENAI_API_KEY=sk-test-0123456789abcdef\nOPENAI_BASE_URL={provider.url}")
        done = night()
    assert (done.returncode, done.stdout[:35]) == (8, "textkit: more was billed than held!"), night.log
    assert len(provider.billed) == 1


def test_a_second_copy_says_nothing_sends_nothing_and_is_no_failure(night):
    night.plays(delay_ms=60_000)
    first = night.started()
    second = night()
    assert (second.returncode, second.stdout) == (0, "")
    assert "is held by another process" in night.log
    assert len(night.runs()) == 1
    subprocess.run(["runner", "stop", "--all"], env=night.env, check=True, capture_output=True)
    said, _ = first.communicate(timeout=60)
    assert (first.returncode, said[:25]) == (9, "textkit: somebody stopped"), night.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_night_that_is_interrupted_goes_on_the_next_time(night, number):
    night.plays(delay_ms=60_000)
    first = night.started()
    os.kill(night.runs()[0]["driver"], number)
    if number is signal.SIGINT:  # once waits for the step, twice does not
        time.sleep(0.5)
        os.kill(night.runs()[0]["driver"], number)
    said, _ = first.communicate(timeout=60)
    assert (first.returncode, said[:21]) == (128 + number, "textkit: interrupted."), night.log
    night.plays()
    assert night().returncode == 0, night.log
    assert len(night.runs()) == 1


def test_a_state_directory_that_is_none_is_said_too(night):
    state = night.home / ".local" / "state"
    state.parent.mkdir(parents=True)
    state.write_text("in the way")
    done = night()
    assert (done.returncode, done.stdout[:18]) == (73, "textkit: runner co"), night.log


def test_the_case_has_a_word_for_every_exit_code_of_a_run(night):
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == CODES
    named = re.findall(r"^  ([\d| ]+)\)", night.job.read_text("utf-8"), re.MULTILINE)
    cased = {int(code) for codes in named for code in codes.split("|")}
    assert cased == CODES - {70, 73}, "these two say: runner could not work here"


def test_the_line_for_cron_does_the_nights_work_in_crons_environment(night):
    (table,) = (block for block in blocks(PAGE) if block.mark == "cron")
    *settings, line = table.text.replace(HOME_OF_THE_PAGES, str(night.home)).splitlines()
    there = night.home / "runner" / ".venv"
    there.mkdir(parents=True)
    (there / "bin").symlink_to(Path(sys.executable).parent)
    env = {
        "HOME": str(night.home),
        "LOGNAME": "ada",
        "SHELL": "/bin/sh",
        "PATH": "/usr/bin:/bin",
        "TZ": night.env["TZ"],
    }
    env |= dict(one.split("=", 1) for one in settings)
    found = re.fullmatch(r"(?:[\d*/,-]+ +){5}(.+)", line)
    assert found is not None
    assert "%" not in found[1], "cron makes line ends of them"
    done = subprocess.run(
        ["/bin/sh", "-c", found[1]], cwd=night.home, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + night.log
    assert done.stdout.startswith("textkit: done and verified. ")
