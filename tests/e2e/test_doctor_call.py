"""`runner doctor --call`: one real request to each provider that is configured, held and booked like any other."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from runner.models.recording import Recording
from runner.testing.bill import Listed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script

KEY = "sk-test-0123456789abcdef"
OWN = "desk-key-0123456789"
SERVER = """\
[providers.desk]
base_url = "{url}"
key = "RUNNER_KEY_DESK"

[providers.desk.models."small"]
input = "2"
output = "8"
context = 32768
max_output = 4096
as_of = 2026-11-01
"""


def script(*faults: Fault | None, model: str = "openai/gpt-4o", key: str = KEY) -> Script:
    lines = f'{{"recording": 1, "model": "{model}"}}\n{{"otherwise": true, "text": "ok", "usage": {{"input": 900, "output": 3}}}}\n'
    return Script(recording=Recording.parse(lines, path=__file__), faults=faults, key=key)  # type: ignore[arg-type]


def found(runner, *args: str, exit_code: int = 0) -> dict[str, dict[str, object]]:
    done = runner("doctor", "--call", *args, "--json")
    assert done.returncode == exit_code, done.stderr + done.stdout
    return {one["what"]: one for one in json.loads(done.stdout)["findings"]}


def spent(runner) -> int:
    return sum(one["spent_nano_usd"] for one in runner.json("runs", "--json"))


def test_each_configured_provider_gets_one_request_that_is_booked(runner):
    with (
        ScriptedProvider(script()) as openai,
        ScriptedProvider(
            replace(script(key=OWN), provider="desk"), prices={"desk/small": Listed.of(input="2", output="8")}
        ) as desk,
    ):
        config = runner.write("../config.toml", SERVER.format(url=desk.url))
        runner.env |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": openai.url, "RUNNER_KEY_DESK": OWN}
        runner.env["RUNNER_CONFIG"] = str(config.resolve())
        before = sorted(path.name for path in runner.cwd.iterdir())
        said = found(runner)
        assert (len(openai.billed), len(desk.billed)) == (1, 1)
        assert {one["mark"] for one in said.values()} == {"ok"}
        assert "900 tokens in, 3 out" in str(said["desk/small"]["finding"])
        limits = [body.get("max_tokens") or body.get("max_completion_tokens") for body in map(json.loads, desk.bodies)]
        assert limits == [64]
        assert openai.total + desk.total == spent(runner)
        assert sorted(path.name for path in runner.cwd.iterdir()) == before


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.REFUSE_401, "nothing was billed: the provider refused with HTTP status 401"),
        (Fault.DROP, "it may have been billed"),
    ],
)
def test_a_provider_that_does_not_answer_is_said_after_one_request(runner, fault: Fault, words: str):
    with ScriptedProvider(script(fault)) as openai:
        runner.env |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": openai.url}
        said = found(runner, "openai/gpt-4o", exit_code=1)
        assert words in str(said["openai/gpt-4o"]["finding"])
        assert len(openai.billed) == 1
        assert KEY not in json.dumps(said)


def test_a_budget_that_is_used_up_lets_no_call_through(runner):
    with ScriptedProvider(script()) as openai:
        runner.env |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": openai.url}
        assert runner("budget", "set", "user", "0.000001").returncode == 0
        said = found(runner, "openai/gpt-4o", exit_code=1)
        assert "too little is left" in str(said["openai/gpt-4o"]["finding"])
        assert not openai.billed


def test_without_the_flag_nothing_is_sent_and_an_unknown_name_is_refused(runner):
    with ScriptedProvider(script()) as openai:
        runner.env |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": openai.url}
        runner("doctor")
        done = runner("doctor", "--call", "opnai")
        assert done.returncode == 2
        assert "did you mean openai?" in done.stderr
        assert not openai.billed
