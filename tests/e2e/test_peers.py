"""What was measured to go wrong in other loop runners goes right here, through the command a user types."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.pricing.book import Book
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script

DOLLAR = 1_000_000_000
PROMISE = "---\npromise: LOOP_COMPLETE\n---\n# Work\n\nDo the work.\n"
MODEL = "openai/gpt-5"


def test_a_cap_of_one_dollar_holds_against_a_reply_of_a_million_tokens(runner):
    runner.write("spec.md", PROMISE)
    model = runner.recording({"otherwise": True, "text": "x", "usage": {"input": 100, "output": 1_000_000}})
    done = runner("loop", "spec.md", "--model", model, "--max-cost", "1", "-n", "50")
    run = runner.last()
    assert done.returncode in {3, 4, 5}, done.stdout + done.stderr
    assert run["spent_nano_usd"] + run["unknown_nano_usd"] <= DOLLAR
    assert all(event["body"]["granted_output"] <= 100_000 for event in runner.events("CallDispatched"))


def test_a_token_cap_is_enforced_before_the_call(runner):
    runner.write("spec.md", PROMISE)
    model = runner.recording({"otherwise": True, "text": "more", "usage": {"input": 500, "output": 4_000}})
    done = runner("loop", "spec.md", "--model", model, "--max-tokens", "30000", "-n", "90")
    assert done.returncode in {3, 5}, done.stdout
    assert runner.last()["tokens"] <= 30_000


def test_failed_calls_are_billed_and_stop_at_the_cap(runner, tmp_path):
    runner.write("spec.md", PROMISE)
    ledger = tmp_path / "billed.jsonl"
    script = Script(faults=(Fault.DROP_MIDSTREAM,) * 60)
    with ScriptedProvider(script, ledger=ledger, book=Book.load()) as provider:
        runner.env = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
        done = runner("loop", "spec.md", "--model", MODEL, "--max-cost", "0.30")
        billed = provider.total
    run = runner.last()
    assert done.returncode in {1, 3}, done.stdout + done.stderr
    assert run["spent_nano_usd"] == 0
    assert billed <= run["unknown_nano_usd"] <= 0.30 * DOLLAR


def test_the_users_commits_are_untouched_after_repeated_failures(runner):
    runner.git("init", "-q")
    for number in range(3):
        runner.write("work.txt", f"user work {number}\n")
        runner.git("add", "-A")
        runner.git("commit", "-qm", f"user work {number}")
    before = runner.git("log", "--all", "--format=%H %s"), (runner.cwd / ".git/index").read_bytes()
    runner.write("spec.md", "---\nchecks: ['false']\n---\n# Work\n\nDo it.\n")
    model = runner.recording(
        {
            "step": 1,
            "text": "",
            "tools": [{"name": "shell", "arguments": {"command": "echo broken > work.txt; exit 1"}}],
        },
        {"otherwise": True, "text": "failed again"},
    )
    done = runner("loop", "spec.md", "--model", model, "-n", "6")
    assert done.returncode in {4, 5}
    assert (runner.git("log", "--all", "--format=%H %s"), (runner.cwd / ".git/index").read_bytes()) == before


def test_alternating_failures_reset_no_counter_and_no_cost(runner, tmp_path):
    runner.write("spec.md", PROMISE)
    faults = tuple(Fault.DROP if number % 2 else None for number in range(200))
    with ScriptedProvider(
        Script(seed=3, faults=faults), ledger=tmp_path / "billed.jsonl", book=Book.load()
    ) as provider:
        runner.env = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
        done = runner("loop", "spec.md", "--model", MODEL, "--max-cost", "1", "--max-calls", "12", "-n", "40")
        asked, billed = len(provider.billed), provider.total
    run = runner.last()
    assert done.returncode in {3, 4, 5}, done.stdout + done.stderr
    assert asked <= 12
    assert run["calls"] == asked
    assert billed <= run["spent_nano_usd"] + run["unknown_nano_usd"] <= DOLLAR


@pytest.mark.parametrize(
    "said",
    [
        "I will not print LOOP_COMPLETE yet, 14 of 15 tasks remain.",
        "LOOP_COMPLETE\nbut one thing is left",
        "loop_complete",
        "`LOOP_COMPLETE`",
    ],
)
def test_talking_about_the_promise_is_not_keeping_it(runner, said):
    runner.write("spec.md", PROMISE)
    model = runner.recording({"otherwise": True, "text": said})
    done = runner("loop", "spec.md", "--model", model, "-n", "2")
    assert done.returncode == 4, done.stdout
    assert runner.last()["iterations"] == 2


def test_the_promise_in_the_spec_or_in_a_file_the_agent_reads_ends_nothing(runner):
    runner.write("spec.md", PROMISE + "\nLOOP_COMPLETE\n")
    runner.write("notes.txt", "LOOP_COMPLETE\n")
    model = runner.recording(
        {"step": 1, "text": "LOOP_COMPLETE", "tools": [{"name": "read_file", "arguments": {"path": "notes.txt"}}]},
        {"otherwise": True, "text": "still working"},
    )
    done = runner("loop", "spec.md", "--model", model, "-n", "2")
    assert done.returncode == 4, done.stdout


def test_a_claim_without_checks_is_done_but_said_not_to_be_verified(runner):
    runner.write("spec.md", PROMISE)
    model = runner.recording({"otherwise": True, "text": "All of it.\nLOOP_COMPLETE"})
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0
    assert "NOT verified" in done.stdout
    assert runner.last()["verified"] is False


def test_a_claim_against_red_checks_is_not_done(runner):
    runner.write("spec.md", "---\nchecks: ['false']\npromise: LOOP_COMPLETE\n---\n# Work\n\nDo it.\n")
    model = runner.recording({"otherwise": True, "text": "LOOP_COMPLETE"})
    assert runner("loop", "spec.md", "--model", model, "-n", "2").returncode == 4


def test_limits_do_not_exit_zero(runner):
    runner.write("spec.md", PROMISE)
    model = runner.recording({"otherwise": True, "text": "not yet", "usage": {"input": 1000, "output": 900}})
    codes = {
        "iterations": runner("loop", "spec.md", "--model", model, "-n", "1", "--new").returncode,
        "calls": runner("loop", "spec.md", "--model", model, "--max-calls", "1", "--new").returncode,
        "money": runner("loop", "spec.md", "--model", model, "--max-cost", "0.06", "-n", "99", "--new").returncode,
    }
    assert codes["iterations"] == codes["calls"] == 4
    assert codes["money"] in {3, 5}


def test_limits_survive_resume(runner):
    runner.write("spec.md", PROMISE)
    model = runner.recording({"otherwise": True, "text": "not yet"})
    assert runner("loop", "spec.md", "--model", model, "-n", "2").returncode == 4
    spent = runner.last()["spent_nano_usd"]
    again = runner("resume", "last")
    assert again.returncode == 1
    assert "no limit was raised" in again.stderr
    assert runner("resume", "last", "-n", "3").returncode == 4
    run = runner.last()
    assert run["iterations"] == 3
    assert run["spent_nano_usd"] > spent


def test_no_git_option_is_needed_because_nothing_of_the_repository_changes(runner):
    runner.git("init", "-q")
    runner.write("a.txt", "a\n")
    runner.git("add", "-A")
    runner.git("commit", "-qm", "first")
    runner.write("spec.md", PROMISE)
    tree = {path: path.read_bytes() for path in Path(runner.cwd / ".git").rglob("*") if path.is_file()}
    model = runner.recording(
        {"step": 1, "tools": [{"name": "write_file", "arguments": {"path": "b.txt", "content": "b\n"}}]},
        {"otherwise": True, "text": "LOOP_COMPLETE"},
    )
    assert runner("loop", "spec.md", "--model", model).returncode == 0
    assert {path: path.read_bytes() for path in Path(runner.cwd / ".git").rglob("*") if path.is_file()} == tree


def test_a_provider_that_breaks_the_output_limit_ends_the_run_and_no_resume_goes_on(runner, tmp_path):
    runner.write("spec.md", PROMISE)
    script = Script(faults=(Fault.OVER,))
    with ScriptedProvider(script, ledger=tmp_path / "billed.jsonl", book=Book.load()) as provider:
        runner.env = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
        assert runner("loop", "spec.md", "--model", MODEL).returncode == 8
        asked = len(provider.billed)
        again = runner("resume", "last", "--max-cost", "50")
        assert len(provider.billed) == asked
    assert again.returncode == 1
    assert "more was billed than held" in again.stderr
    assert "--prices" in again.stderr
