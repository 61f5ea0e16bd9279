"""A run on a server of the user's, and one through litellm: priced as configured, the key seen by nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.bill import Listed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script

OWN = "desk-key-0123456789"
# in a file: as the text of a call the policy would refuse it
SCRIPT = "env; cat /proc/$PPID/environ\n"
LOOK = '{"name": "run", "arguments": {"argv": ["sh", "look.sh"]}}'
LINES = f"""\
{{"recording": 1, "model": "openai/gpt-4o"}}
{{"iteration": 1, "step": 1, "text": "Looking.", "tools": [{LOOK}], "usage": {{"input": 900, "output": 30}}}}
{{"otherwise": true, "text": "Done.\\n<promise>COMPLETE</promise>", "usage": {{"input": 950, "output": 9}}}}
"""
SPEC = "---\nbudget: {{usd: 1, iterations: 1}}\nmodel: {model}\n---\n# Look around\n"
CONFIG = """\
[providers.desk]
base_url = "{url}"
key = "RUNNER_KEY_DESK"
{more}
[providers.desk.models."small"]
{prices}
context = 32768
max_output = 4096
as_of = 2026-11-01
"""


def provider(name: str, **usd: str) -> ScriptedProvider:
    script = replace(Script(recording=Recording.parse(LINES, Path("r"))), key=OWN, provider=name)
    return ScriptedProvider(script, prices={f"{name}/small": Listed.of(**usd)})


def ran(runner, url: str, *, prices: str, more: str = "") -> dict[str, object]:
    (runner.state.parent / "config.toml").write_text(CONFIG.format(url=url, prices=prices, more=more))
    runner.env |= {"RUNNER_CONFIG": str(runner.state.parent / "config.toml"), "RUNNER_KEY_DESK": OWN}
    runner.write("spec.md", SPEC.format(model="desk/small"))
    runner.write("look.sh", SCRIPT)
    done: dict[str, object] = runner.json("loop", "spec.md", "--json")
    return done


def test_a_server_of_the_users_is_called_with_its_own_key_which_no_command_sees(runner):
    with provider("desk", input="2", output="8") as desk:
        done = ran(runner, desk.url, prices='input = "2"\noutput = "8"')
        assert len(desk.billed) == 2
        assert done["spent_nano_usd"] == desk.total == 1850 * 2_000 + 39 * 8_000
        told = b"".join(desk.bodies)
        assert b"PATH=" in told, "the command did look"
        assert OWN.encode() not in told
        kept = [path for path in runner.state.rglob("*") if path.is_file() and OWN.encode() in path.read_bytes()]
        assert kept == []


def test_what_a_local_server_does_is_counted_beside_the_dollars(runner):
    with provider("desk", input="0", output="0") as desk:
        done = ran(runner, desk.url, prices="", more="local = true")
        assert len(desk.billed) == 2
        assert done["spent_nano_usd"] == 0
    assert "2 calls local" in runner("show", str(done["run"])).stdout


def test_a_file_in_the_workspace_leads_no_key_anywhere(runner):
    with provider("desk", input="2", output="8") as desk:
        config = runner.write("config.toml", CONFIG.format(url=desk.url, prices='input = "2"\noutput = "8"', more=""))
        runner.env |= {"RUNNER_CONFIG": str(config), "RUNNER_KEY_DESK": OWN}
        runner.write("spec.md", SPEC.format(model="desk/small"))
        done = runner("loop", "spec.md")
        assert done.returncode == 2
        assert "unknown model 'desk/small'" in done.stderr
        assert desk.bodies == []


def test_a_run_through_litellm_costs_what_its_provider_bills(runner):
    prices = (
        'as_of = 2026-11-01\n[models."groq/small"]\ninput = "2"\noutput = "8"\ncontext = 32768\nmax_output = 4096\n'
    )
    with provider("groq", input="2", output="8") as groq:
        runner.env |= {"GROQ_API_KEY": OWN, "GROQ_API_BASE": groq.url}
        runner.write("spec.md", SPEC.format(model="groq/small"))
        done = runner.json("loop", "spec.md", "--prices", str(runner.write("../prices.toml", prices)), "--json")
        assert len(groq.billed) == 2
        assert done["spent_nano_usd"] == groq.total
        assert OWN.encode() not in b"".join(groq.bodies)


def test_a_wrong_price_of_a_server_is_refused_with_the_file_and_its_line(runner):
    config = runner.state.parent / "config.toml"
    config.write_text("\n" + CONFIG.format(url="http://127.0.0.1:9", prices='input = "2"\noutput = "much"', more=""))
    runner.env["RUNNER_CONFIG"] = str(config)
    done = runner("models")
    assert done.returncode == 2
    assert "providers.desk.models: `output` is not a price: 'much'" in done.stderr
    assert "config.toml:2" in done.stderr


PASSWORD = "hunter2-secret-pw"
PRICES_OF_GROQ = (
    'as_of = 2026-11-01\n[models."groq/small"]\ninput = "2"\noutput = "8"\ncontext = 32768\nmax_output = 4096\n'
)


@pytest.mark.parametrize(
    ("variable", "model"),
    [
        ("OPENAI_BASE_URL", "openai/gpt-5"), ("ANTHROPIC_BASE_URL", "anthropic/claude-opus-5"),
        ("GROQ_API_BASE", "groq/small"), ("", "desk/small"),
    ],
)  # fmt: skip
def test_a_password_in_an_address_is_refused_and_shown_nowhere(runner, variable, model):
    with provider("desk", input="2", output="8") as desk:
        url = desk.url.replace("://", f"://bob:{PASSWORD}@")
        mine = "" if variable else CONFIG.format(url=url, prices='input = "2"\noutput = "8"', more="")
        (runner.state.parent / "config.toml").write_text(mine)
        runner.env |= dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "RUNNER_KEY_DESK"), OWN)
        runner.env |= {
            "RUNNER_CONFIG": str(runner.state.parent / "config.toml"),
            "RUNNER_PRICES": str(runner.write("../prices.toml", PRICES_OF_GROQ)),
            **({variable: url} if variable else {}),
        }
        runner.write("spec.md", SPEC.format(model=model))
        for args in (("loop", "spec.md"), ("loop", "spec.md", "--json"), ("config",), ("models",), ("doctor",)):
            done = runner(*args)
            assert PASSWORD not in done.stdout + done.stderr
            if args[0] == "loop":
                assert done.returncode == 2
                where = f"({variable})" if variable else "config.toml:"
                assert where in done.stdout + done.stderr
                assert "a user or a password before its @" in done.stdout + done.stderr
        assert desk.bodies == []
    kept = b"".join(path.read_bytes() for path in runner.state.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in kept
