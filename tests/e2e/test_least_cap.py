"""The least cap a loop takes pays for the first request of any provider, and the request then leaves."""

from __future__ import annotations

import re

import pytest

from runner.testing.bill import Listed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.e2e.conftest import Runner

SPEC = "# Work\n\nLook around, тщательно.\n"
CONFIG = """\
cache = "1h"
thinking = "2000"

[providers.desk]
base_url = "{}"
api = "responses"

[providers.desk.models."llama"]
input = "30"
output = "60"
context = 100000
max_output = 4096
tokenizer = "normalises"
multiplier = "0.5"
as_of = 2026-11-01
"""


@pytest.mark.parametrize("model", ["openai/gpt-5.5", "anthropic/claude-haiku-4-5", "desk/llama"])
def test_the_least_cap_that_is_taken_pays_the_first_request(runner: Runner, model: str):
    prices = {"desk/llama": Listed.of(input="30", output="60", cached="30", write="30")}
    with ScriptedProvider(Script(seed=1, provider=model.partition("/")[0]), prices=prices) as provider:
        config = runner.cwd.parent / "config.toml"
        config.write_text(CONFIG.format(provider.url))
        runner.env |= {
            "OPENAI_API_KEY": "sk-none-0123456789",
            "OPENAI_BASE_URL": provider.url,
            "ANTHROPIC_API_KEY": "sk-ant-none-0123456789",
            "ANTHROPIC_BASE_URL": provider.root,
            "RUNNER_CONFIG": str(config),
        }
        runner.write("spec.md", SPEC)
        refused = runner("loop", "spec.md", "--model", model, "--max-cost", "0.000001")
        assert refused.returncode == 2, refused.stdout + refused.stderr
        amount = re.findall(r"raise it to \$(\S+) at least", refused.stderr)[0]
        assert provider.billed == []
        done = runner("loop", "spec.md", "--model", model, "--max-cost", amount, "-n", "1")
        assert len(provider.billed) >= 1, done.stdout + done.stderr + str(provider.refused)
    sent = runner.events("CallDispatched")[0]["body"]
    # the cap is what this request needs with the least useful answer, and no more than a little above
    assert sent["granted_output"] <= 1_024 * 1.5
    assert runner.last()["spent_nano_usd"] <= float(amount) * 1e9


def test_a_class_of_billing_without_a_price_is_refused_before_the_first_call(runner: Runner):
    config = runner.cwd.parent / "config.toml"
    config.write_text('service = "flex"\n')
    runner.env |= {"ANTHROPIC_API_KEY": "sk-ant-none-0123456789", "RUNNER_CONFIG": str(config)}
    runner.write("spec.md", SPEC)
    refused = runner("loop", "spec.md", "--model", "anthropic/claude-haiku-4-5")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "anthropic/claude-haiku-4-5: no price is known for the class of service 'flex'" in refused.stderr
    assert "`service`" in refused.stderr
    assert not runner.state.exists()
