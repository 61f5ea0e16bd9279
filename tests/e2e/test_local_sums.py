"""Calls of a server of one's own stand beside every sum of money, wherever one is shown."""

from __future__ import annotations

import json
from pathlib import Path

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.e2e.conftest import Runner

DONE = {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"}
LOOK = {"iteration": 1, "step": 1, "tools": [{"name": "list_files", "arguments": {}}]}
CONFIG = """\
[providers.desk]
base_url = "{url}"
local = true

[providers.desk.models."gpt-4.1"]
input = "0"
output = "0"
context = 100000
max_output = 4096
as_of = 2026-11-01
"""


def test_local_calls_are_told_beside_every_sum(runner: Runner):
    lines = ({"recording": 1, "model": "desk/gpt-4.1"}, LOOK, DONE)
    recording = Recording.parse("".join(json.dumps(line) + "\n" for line in lines), Path("replies.jsonl"))
    runner.write("spec.md", "# Work\n\nDo the work.\n")
    with ScriptedProvider(Script(recording=recording)) as provider:
        config = runner.state.parent / "config.toml"
        config.write_text(CONFIG.format(url=provider.url))
        runner.env["RUNNER_CONFIG"] = str(config)
        ran = runner("loop", "spec.md", "--model", "desk/gpt-4.1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "local: its tokens cost nothing" in ran.stdout
    assert "  step 1: local (" in ran.stdout
    assert "  spent $0.0000 metered · 2 calls local, limit $5.0000" in ran.stdout
    run = runner.last()
    assert run["billing"]["metered_calls"] == 0
    assert run["billing"]["local_calls"] == 2
    assert run["billing"]["local_tokens"] == run["tokens"] > 0
    assert "spent $0.0000 metered · 2 calls local, unknown" in runner("show").stdout
    listed = runner("runs").stdout
    assert "$0.0000*" in listed
    assert "* beside it calls that are local or unmetered, which no sum holds" in listed
    shown = runner("budget", "show")
    assert "beside its sums, 2 calls local" in shown.stdout, shown.stdout
    assert {one["local_calls"] for one in json.loads(runner("budget", "show", "--json").stdout)} == {2}
