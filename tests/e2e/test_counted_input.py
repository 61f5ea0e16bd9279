"""Money that the bytes of a request seem to need too much of is used once the provider has counted its tokens."""

from pathlib import Path

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.e2e.conftest import Runner

REPLIES = """\
{"recording": 1, "model": "anthropic/claude-haiku-4-5"}
{"step": 1, "tools": [{"name": "shell", "arguments": {"command": "date +%N >> when"}}]}
{"otherwise": true, "text": "More is left to do."}
"""
CAP_NANO = 100_000_000


def test_a_count_of_the_providers_lets_the_rest_of_a_cap_be_used(runner: Runner):
    # forty kilobytes: as many tokens by their bytes, a quarter of it by the provider's count
    runner.write("spec.md", "# Work\n\nDo it.\n\n" + "word " * 8000 + "\n")
    script = Script(recording=Recording.parse(REPLIES, Path("r")), count_ratio=0.25)
    with ScriptedProvider(script) as provider:
        runner.env |= {"ANTHROPIC_BASE_URL": provider.root, "ANTHROPIC_API_KEY": "sk-ant-test-0123456789abcdef"}
        done = runner("loop", "spec.md", "--model", "anthropic/claude-haiku-4-5", "--max-cost", "0.10")
        assert done.returncode == 3, done.stdout + done.stderr
        counted = runner.events("InputCounted")
        assert len(counted) == len(provider.counted) >= 2
        assert provider.total <= CAP_NANO
    calls = [event["body"] for event in runner.events("CallDispatched")]
    # once the bytes of a fresh request no longer fit, every iteration begins by a count
    by_count = [call for call in calls if call["bound_by"] == "count"]
    assert by_count
    used = {
        str(event["body"]["call"]): event["body"]["usage"]["input_tokens"] for event in runner.events("CallSettled")
    }
    assert all(call["input_bound"] >= used[str(call["call"])] for call in calls)
    # without a count the run would have ended when less was left than the bytes of the next request cost
    needed = runner.events("CallRefused")[0]["body"]["need"]
    spent = runner.last()["spent_nano_usd"]
    assert isinstance(spent, int)
    assert spent > CAP_NANO - needed
