"""A spec with a list of models, through the real command: the next one goes on where the first could not."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.bill import Listed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from tests.e2e.conftest import Runner

SPEC = "---\nmodels: [openai/gpt-5-mini, {}]\nbudget: {{usd: 2}}\n---\n# Work\n\nLook around.\n"
LOOKS = {"step": 1, "text": "Let me look.", "tools": [{"name": "list_files", "arguments": {}}]}
SAYS = {"otherwise": True, "text": "I looked around.\n<promise>COMPLETE</promise>"}
DESK = """\
[providers.desk]
base_url = "{}"

[providers.desk.models."llama"]
input = "1"
output = "2"
context = 100000
max_output = 4096
as_of = 2026-11-01
"""


def script(*replies: dict[str, object], faults: tuple[Fault | None, ...] = (), provider: str = "") -> Script:
    lines = ({"recording": 1, "model": "openai/gpt-5-mini"}, *replies)
    recording = Recording.parse("".join(json.dumps(one) + "\n" for one in lines), Path("r"))
    return Script(recording=recording, faults=faults, provider=provider)


def entries(runner: Runner) -> list[tuple[str, str, int]]:
    with sqlite3.connect(runner.state / "runner.db") as connection:
        return connection.execute("SELECT model, state, cost FROM entry ORDER BY at, call").fetchall()


@pytest.mark.parametrize("second", ["anthropic/claude-haiku-4-5", "desk/llama"])
def test_the_next_model_of_a_list_goes_on_in_the_middle_of_an_iteration_and_each_call_costs_its_own_price(
    runner: Runner, second: str
):
    faults = (None, Fault.REFUSE_404)
    desk = {"desk/llama": Listed.of(input="1", output="2")}
    with (
        ScriptedProvider(script(LOOKS, SAYS, faults=faults)) as first,
        ScriptedProvider(script(SAYS, provider=second.partition("/")[0]), prices=desk) as other,
    ):
        config = runner.cwd.parent / "config.toml"
        config.write_text(DESK.format(other.url))
        runner.env |= {
            "OPENAI_API_KEY": "sk-none-0123456789",
            "OPENAI_BASE_URL": first.url,
            "ANTHROPIC_API_KEY": "sk-ant-none-0123456789",
            "ANTHROPIC_BASE_URL": other.root,
            "RUNNER_CONFIG": str(config),
        }
        runner.write("spec.md", SPEC.format(second))
        done = runner("loop", "spec.md")
    assert done.returncode == 0, done.stdout + done.stderr
    (switched,) = (one["body"] for one in runner.events("ModelSwitched"))
    assert (switched["model"], switched["engine"]) == (second, 1)
    assert [one.fault for one in first.billed] == ["", "refuse-404"]
    # what the first model said and the tool answered is before the second
    assert b"Let me look." in other.bodies[0]
    assert b"spec.md" in other.bodies[0]
    assert entries(runner) == [
        ("openai/gpt-5-mini", "settled", first.total),
        ("openai/gpt-5-mini", "released", 0),
        (second, "settled", other.total),
    ]
    assert other.total > 0
    assert runner.last()["spent_nano_usd"] == first.total + other.total


def test_a_run_that_no_model_could_go_on_with_tries_the_whole_list_again_when_it_is_resumed(runner: Runner):
    with (
        ScriptedProvider(script(LOOKS, SAYS, faults=(Fault.REFUSE_404, Fault.REFUSE_404))) as first,
        ScriptedProvider(script(SAYS, faults=(Fault.REFUSE_401,))) as other,
    ):
        runner.env |= {
            "OPENAI_API_KEY": "sk-none-0123456789",
            "OPENAI_BASE_URL": first.url,
            "ANTHROPIC_API_KEY": "sk-ant-none-0123456789",
            "ANTHROPIC_BASE_URL": other.root,
        }
        runner.write("spec.md", SPEC.format("anthropic/claude-haiku-4-5"))
        assert runner("loop", "spec.md").returncode == 1
        done = runner("resume", "last")
        assert done.returncode == 0, done.stdout + done.stderr
    assert [(one.fault, two.fault) for one, two in zip(first.billed, other.billed, strict=True)] == [
        ("refuse-404", "refuse-401"),
        ("refuse-404", ""),
    ]
    assert [one["body"]["engine"] for one in runner.events("ModelSwitched")] == [1, 1]


def test_a_list_whose_second_model_has_no_price_is_refused_before_the_first_call(runner: Runner):
    with ScriptedProvider(script(SAYS)) as provider:
        runner.env |= {"OPENAI_API_KEY": "sk-none-0123456789", "OPENAI_BASE_URL": provider.url}
        runner.write("spec.md", SPEC.format("openai/gpt-99"))
        done = runner("loop", "spec.md")
        assert provider.billed == []
    assert done.returncode == 2, done.stdout + done.stderr
    assert "spec.md:2:" in done.stderr
    assert "no price is known for model 'openai/gpt-99'" in done.stderr


def test_a_cap_has_to_pay_the_first_request_of_the_dearest_model_of_a_list(runner: Runner):
    runner.env |= {"OPENAI_API_KEY": "sk-none-0123456789", "ANTHROPIC_API_KEY": "sk-ant-none-0123456789"}
    runner.write("spec.md", SPEC.format("anthropic/claude-opus-4-5"))
    done = runner("loop", "spec.md", "--max-cost", "0.04", "--dry-run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "one call to anthropic/claude-opus-4-5 may cost" in done.stdout + done.stderr
