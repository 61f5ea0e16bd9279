"""Where bytes alone would not fit a budget, the provider is asked to count, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.e2e.conftest import Runner

SAYS = {"otherwise": True, "text": "Read it all.\n<promise>COMPLETE</promise>"}
SPEC = "# Work\n\n" + "Look around. " * 20_000
BUDGET = "0.2"


@pytest.mark.parametrize(("ratio", "fits"), [(0.25, True), (0.6, False)])
def test_a_request_that_does_not_fit_by_its_bytes_leaves_when_the_providers_count_of_it_fits(
    runner: Runner, ratio: float, fits: bool
):
    lines = ({"recording": 1, "model": "anthropic/claude-haiku-4-5"}, SAYS)
    recording = Recording.parse("".join(json.dumps(one) + "\n" for one in lines), Path("r"))
    with ScriptedProvider(Script(recording=recording, count_ratio=ratio)) as provider:
        runner.env |= {"ANTHROPIC_API_KEY": "sk-ant-none-0123456789", "ANTHROPIC_BASE_URL": provider.root}
        runner.write("spec.md", SPEC)
        assert runner("budget", "set", "project", BUDGET).returncode == 0
        done = runner("loop", "spec.md", "--model", "anthropic/claude-haiku-4-5", "--max-cost", "2")
        counted = len(provider.counted)
    assert done.returncode == (0 if fits else 3), done.stdout + done.stderr
    assert counted == 1
    (told,) = (one["body"]["tokens"] for one in runner.events("InputCounted"))
    sent = [one["body"] for one in runner.events("CallDispatched")]
    assert len(sent) == len(provider.billed) == (1 if fits else 0)
    for one in sent:
        assert one["bound_by"] == "count"
        assert told < one["input_bound"] < told * 1.02 + 3_000
        assert one["hold"] <= float(BUDGET) * 1e9
    assert provider.total == runner.last()["spent_nano_usd"]
