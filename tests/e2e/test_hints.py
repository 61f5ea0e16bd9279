"""A command that a message names does what it says when it is typed as it stands."""

from __future__ import annotations

import re
import shlex

import pytest

SPEC = "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt.\n"
MAKES = {
    "iteration": 1,
    "step": 1,
    "text": "made",
    "tools": [{"name": "write_file", "arguments": {"path": "b.txt", "content": "b\n"}}],
}
DONE = {"otherwise": True, "text": "I have nothing more to do."}


def named(text: str, word: str) -> list[str]:
    """The words after `runner` of the command that follows `word`."""
    found = re.search(rf"{word}:? +runner (.+)$", text, re.MULTILINE)
    assert found, text
    return shlex.split(found[1])


@pytest.fixture
def model(runner) -> str:
    runner.write("my spec.md", SPEC)
    return runner.recording(MAKES, DONE)


def test_spec_check_ends_with_the_loop_of_what_was_typed(runner, model):
    done = runner("spec", "check", "my spec.md", "--model", model)
    words = named(done.stdout.splitlines()[-1], "next")
    assert words == ["loop", "my spec.md", "--model", model]
    assert runner(*words).returncode == 0


def test_spec_check_says_what_keeps_a_sound_spec_from_running(runner, model):
    alone = runner("spec", "check", "my spec.md")
    assert (alone.returncode, alone.stdout.splitlines()[-1]) == (
        0,
        "the spec is sound, but no model can be chosen: set OPENAI_API_KEY, or name one with --model",
    )
    keyless = runner("spec", "check", "my spec.md", "--model", "openai/gpt-5")
    assert keyless.stdout.endswith("but model 'openai/gpt-5' needs OPENAI_API_KEY, and it is not set\n")


@pytest.mark.parametrize("instructions", ["", "Write tests.\n" * 300])
def test_the_money_a_refusal_names_admits_the_first_call(runner, model, instructions):
    if instructions:
        runner.write("AGENTS.md", instructions)
    refused = runner("loop", "my spec.md", "--model", model, "--max-cost", "0.00001")
    assert refused.returncode == 2
    assert "usd $0.00001 is less than one call" in refused.stderr
    amount = re.findall(r"raise it to \$(\S+) at least", refused.stderr)[0]
    runner("loop", "my spec.md", "--model", model, "--max-cost", amount, "-n", "1")
    assert runner.last()["calls"] >= 1
    less = f"{float(amount) * 0.9:.4f}"
    assert runner("loop", "my spec.md", "--model", model, "--max-cost", less, "--new").returncode == 2


@pytest.mark.parametrize("period", ["total", "day"])
def test_the_end_names_the_shared_budget_and_an_amount_that_lets_the_run_go_on(runner, model, period):
    assert runner("budget", "set", "project", "0.0001", "--period", period).returncode == 0
    stopped = runner("loop", "my spec.md", "--model", model)
    assert stopped.returncode == 3
    assert runner(*named(stopped.stdout, "raise it")).returncode == 0
    assert "raise it" not in runner("watch", "last").stdout
    assert runner.last()["calls"] == 0
    runner(*named(stopped.stdout, "go on"))
    assert runner.last()["calls"] > 0


def test_the_end_names_a_cap_that_lets_the_run_go_on(runner, model):
    refused = runner("loop", "my spec.md", "--model", model, "--max-cost", "0.00001").stderr
    amount = re.findall(r"raise it to \$(\S+) at least", refused)[0]
    stopped = runner("loop", "my spec.md", "--model", runner.recording(DONE), "--max-cost", amount)
    assert stopped.returncode == 3, stopped.stdout
    calls = runner.last()["calls"]
    assert re.search(r" --max-cost \d+\.\d\d$", stopped.stdout, re.MULTILINE)
    runner(*named(stopped.stdout, "go on"))
    assert runner.last()["calls"] > calls


def test_iterations_are_raised_by_a_number(runner, model):
    never = runner.recording(DONE)
    stopped = runner("loop", "my spec.md", "--model", never, "-n", "1")
    assert stopped.returncode == 4
    assert named(stopped.stdout, "go on")[-2:] == ["--max-iterations", "26"]


def test_a_done_run_names_the_loop_of_its_spec(runner, model):
    runner.env["RUNNER_MODEL"] = model
    assert runner("loop", "my spec.md", "-q").returncode == 0
    over = runner("resume", "last")
    assert over.returncode == 1
    assert runner(*named(over.stderr, "start another"), "-q").returncode == 0


def test_a_dry_run_names_the_open_run_that_a_loop_would_go_on_with(runner, model):
    assert "would go on" not in runner("loop", "my spec.md", "--model", model, "--dry-run").stdout
    slow = {"otherwise": True, "text": "thinking", "delay_ms": 30_000}
    process = runner.start("loop", "my spec.md", "--model", runner.recording(slow), "--plain")
    for line in process.stdout:
        if "iteration 1" in line:
            break
    process.terminate()
    process.communicate(timeout=60)
    run = runner.last()["run"]
    told = runner("loop", "my spec.md", "--model", model, "--dry-run").stdout
    assert f"would go on with run {run} (--new starts another)\n" in told


def test_a_kept_copy_is_cleared_by_what_doctor_names(runner, model):
    assert runner("loop", "my spec.md", "--model", model, "--worktree", "-q").returncode == 0
    assert runner(*kept_copies(runner)[0].split()[1:3]).returncode == 0
    words = re.findall(r"runner (clean .+?),", kept_copies(runner)[0])[0].split()
    assert runner(*words, "--yes").returncode == 0
    assert kept_copies(runner) == []


def kept_copies(runner) -> list[str]:
    findings = runner.json("doctor", "runs", "--json")["findings"]
    return [one["fix"].replace(";", "") for one in findings if one["what"] == "worktrees"]
