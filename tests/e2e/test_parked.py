"""A provider that wants to be left alone for a while, and one that is out of order: the real command, parked and going on."""

from __future__ import annotations

import json
from pathlib import Path

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from tests.e2e.conftest import Runner

SPEC = "# Work\n\nDo the work.\n"
DONE = {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"}
LOOK = {"iteration": 1, "step": 1, "tools": [{"name": "list_files", "arguments": {}}]}


def provider_of(runner: Runner, *faults: Fault | None, retry_after_s: int = 1) -> ScriptedProvider:
    """A provider with these faults first, which is the one the command calls."""
    lines = ({"recording": 1, "model": "openai/gpt-4.1"}, LOOK, DONE)
    recording = Recording.parse("".join(json.dumps(line) + "\n" for line in lines), Path("replies.jsonl"))
    provider = ScriptedProvider(Script(recording=recording, faults=faults, retry_after_s=retry_after_s))
    runner.env |= {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
    return provider


def test_a_long_wait_parks_the_run_which_asks_nobody_until_then_or_until_it_is_told_to(runner: Runner):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = "openai/gpt-4.1"
    with provider_of(runner, None, Fault.REFUSE_429, retry_after_s=5_000) as provider:
        parked = runner("loop", "spec.md")
        assert parked.returncode == 75, parked.stdout + parked.stderr
        assert "parked: rate_window" in parked.stdout
        assert "ask at once" in parked.stdout
        run = runner.last()
        assert (run["stop_reason"], run["unknown_nano_usd"], run["held_nano_usd"]) == ("parked", 0, 0)
        assert run["resume_at_ms"] - run["updated_at_ms"] > 4_900_000
        assert len(provider.billed) == 2

        early = runner("loop", "spec.md")
        assert early.returncode == 75, early.stdout + early.stderr
        assert runner.last()["resume_at_ms"] == run["resume_at_ms"]
        assert len(provider.billed) == 2

        told = runner("resume", "last")
        assert told.returncode == 0, told.stdout + told.stderr
        assert len(provider.billed) == 3


def test_a_model_that_is_not_there_is_followed_by_the_next_of_the_list_priced_as_itself(runner: Runner):
    runner.write("spec.md", f"---\nmodels: [openai/gpt-4.1, openai/gpt-4.1-mini]\n---\n{SPEC}")
    with provider_of(runner, None, Fault.REFUSE_404) as provider:
        done = runner("loop", "spec.md")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "openai/gpt-4.1-mini from here on: " in done.stdout
        sent = [event["body"] for event in runner.events("CallDispatched")]
        assert [one["model"] for one in sent] == ["openai/gpt-4.1", "openai/gpt-4.1", "openai/gpt-4.1-mini"]
        assert sent[2]["hold"] < sent[1]["hold"]
        assert len(provider.billed) == 3
        assert runner.last()["model"] == "openai/gpt-4.1-mini"
        shown = runner("show").stdout
        assert "model       openai/gpt-4.1 (" in shown
        assert ", last called: openai/gpt-4.1-mini" in shown


def test_without_a_list_a_model_that_is_not_there_ends_the_run(runner: Runner):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = "openai/gpt-4.1"
    with provider_of(runner, Fault.REFUSE_404):
        failed = runner("loop", "spec.md")
    assert failed.returncode == 1, failed.stdout + failed.stderr
