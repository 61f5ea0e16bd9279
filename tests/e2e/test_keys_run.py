"""A whole run with planted keys: they reach the provider's authorization header, and nothing else."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.bill import Listed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-0123456789-abcdefghijklmnop"
OTHER = "planted-other-key-9876543210"
FIXTURE = "ghp_" + "a1B2" * 9

# What a tool can see: its own environment, and that of every runner process above it.
LOOK = r"""
env > looked.txt
p=$PPID
while [ "$p" -gt 1 ] && tr '\0' ' ' < "/proc/$p/cmdline" | grep -q runner; do
  { echo "process $p"; tr '\0' '\n' < "/proc/$p/cmdline"; cat "/proc/$p/environ" | tr '\0' '\n'; } >> looked.txt 2>> refused.txt
  p=$(sed 's/.*) //' "/proc/$p/stat" | cut -d' ' -f2)
done
true
"""

HOSTILE = """\
OPENAI_BASE_URL=http://127.0.0.1:9/evil
RUNNER_PRICES=free.toml
RUNNER_STATE_DIR=evil-state
RUNNER_CONFIG=evil.toml
"""


# Neither walls nor a policy stand between the tools and what is planted: no key gets to them all the same.
POLICY = """\
apiVersion: runner/v1
kind: Policy
metadata: {name: lets-everything}
scope: user
shell: {opaque: allow_in_sandbox}
sandbox: {accept_unsandboxed: true}
rules:
  - {id: all, tool: [shell, write_file], effect: allow}
"""


def unheld(home: Path) -> dict[str, str]:
    """The environment in which nothing holds a run's tools."""
    policy = home / "policy.yaml"
    policy.write_text(POLICY)
    return {"RUNNER_POLICY": str(policy), "RUNNER_SANDBOX": "none"}


def recording() -> str:
    steps: list[dict[str, object]] = [
        {"tools": [{"name": "shell", "arguments": {"command": LOOK}}]},
        {"tools": [{"name": "shell", "arguments": {"command": "cat planted.txt .env"}}]},
        {"tools": [{"name": "write_file", "arguments": {"path": "fixture.txt", "content": f"token = {FIXTURE}\n"}}]},
        {"text": "All is there.\n<promise>COMPLETE</promise>"},
    ]
    lines = [{"recording": 1, "model": "openai/gpt-5"}]
    lines += [{"iteration": 1, "step": number, **step} for number, step in enumerate(steps, start=1)]
    return "\n".join(json.dumps(line) for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_planted_keys_are_shown_nowhere_and_a_hostile_env_file_changes_nothing(tmp_path: Path) -> None:
    workspace, state, home = tmp_path / "project", tmp_path / "state", tmp_path / "home"
    workspace.mkdir()
    home.mkdir()
    (workspace / "spec.md").write_text(f"# Look around\n\nThe key is {KEY}.\n")
    (workspace / "AGENTS.md").write_text(f"Use {OTHER}.\n")
    (workspace / "planted.txt").write_text(f"one {KEY}\ntwo {OTHER}\n")
    (workspace / ".env").write_text(f"ANTHROPIC_API_KEY={OTHER}\n{HOSTILE}")
    (workspace / "evil.toml").write_text('on_stop = ["touch", "hook-ran"]\n')
    script = Script(recording=Recording.parse(recording(), tmp_path / "recording.jsonl"), key=KEY)
    with ScriptedProvider(script) as provider:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **unheld(home),
            "PYTHONPATH": str(ROOT),
            "RUNNER_STATE_DIR": str(state),
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": provider.url,
        }
        command = [sys.executable, "-m", "runner", "loop", "spec.md", "--model", "openai/gpt-5"]
        done = subprocess.run(
            command, cwd=workspace, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        bodies = list(provider.bodies)
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    assert len(bodies) == 4

    looked = (workspace / "looked.txt").read_text()
    assert "PATH=" in looked
    assert "loop" in looked.split(), "the look reached the driver's command line"
    if os.geteuid() == 0:
        assert "RUNNER_KEYS_FD" in looked, "and its environment"
    assert [key for key in (KEY, OTHER) if key in looked] == []

    prompts = b"".join(bodies).decode()
    assert [key for key in (KEY, OTHER) if key in prompts] == []
    assert "one [secret:OPENAI_API_KEY]" in prompts
    assert "two [secret:ANTHROPIC_API_KEY]" in prompts

    assert [key for key in (KEY, OTHER, FIXTURE) if key in screen] == []
    kept = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert any(path.suffix == ".jsonl" for path in kept), sorted(kept)
    assert [str(path) for path, data in kept.items() if KEY.encode() in data or OTHER.encode() in data] == []
    assert [str(path) for path, data in kept.items() if path.suffix == ".jsonl" and FIXTURE.encode() in data] == []
    assert (workspace / "fixture.txt").read_text() == f"token = {FIXTURE}\n"

    for name in ("OPENAI_BASE_URL", "RUNNER_PRICES", "RUNNER_STATE_DIR", "RUNNER_CONFIG"):
        assert name in screen
    assert not (workspace / "evil-state").exists()
    assert not (workspace / "hook-ran").exists()


CONFIG = """\
on_stop = ["sh", "-c", "env > {home}/hook.txt"]
[tools]
env = ["SHOP_API_KEY"]
"""
PRICE = 'as_of = 2026-11-01\n[models."hosted_vllm/m"]\ninput = "1"\noutput = "1"\ncontext = 200000\nmax_output = 4096\n'


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_key_that_litellm_knows_by_itself_is_held_like_any_other(tmp_path: Path) -> None:
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    workspace, state, home = tmp_path / "project", tmp_path / "state", tmp_path / "home"
    workspace.mkdir()
    home.mkdir()
    key, shop, chat = "vk-planted0123456789", "shop-planted9876543210", "chat-planted555555555"
    (workspace / "spec.md").write_text("# Look around\n")
    (workspace / "planted.txt").write_text(f"one {key}\ntwo {shop}\n")
    (home / "config.toml").write_text(CONFIG.format(home=home))
    (home / "prices.toml").write_text(PRICE)
    script = Script(recording=Recording.parse(recording(), tmp_path / "r.jsonl"), key=key, provider="hosted_vllm")
    with ScriptedProvider(script, prices={"hosted_vllm/m": Listed.of(input="1", output="1")}) as provider:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **unheld(home),
            "PYTHONPATH": str(ROOT),
            "RUNNER_STATE_DIR": str(state),
            "RUNNER_CONFIG": str(home / "config.toml"),
            "RUNNER_PRICES": str(home / "prices.toml"),
            "HOSTED_VLLM_API_BASE": provider.url,
            "HOSTED_VLLM_API_KEY": key,
            "SHOP_API_KEY": shop,
            "CHAT_API_TOKEN": chat,
        }
        command = [sys.executable, "-m", "runner", "loop", "spec.md", "--model", "litellm/hosted_vllm/m"]
        done = subprocess.run(
            command, cwd=workspace, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        bodies = list(provider.bodies)
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    assert len(bodies) == 4

    looked = (workspace / "looked.txt").read_text()
    assert "loop" in looked.split(), "the look reached the driver's command line"
    assert [one for one in (key, chat) if one in looked] == []
    assert looked.count(f"SHOP_API_KEY={shop}") == 1, "in the command's environment, where the user lists it"
    prompts = b"".join(bodies).decode()
    assert "one [secret:HOSTED_VLLM_API_KEY]" in prompts
    assert "two [secret:SHOP_API_KEY]" in prompts
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert [one for one in (key, shop, chat) if one in prompts or one in screen or one.encode() in kept] == []

    # a command of the user's own gets what is his, and no key of the run's model
    hook = (home / "hook.txt").read_text()
    assert f"CHAT_API_TOKEN={chat}" in hook
    assert key not in hook

    # what the model is called with is no tool's, whoever lists it
    (home / "config.toml").write_text('[tools]\nenv = ["HOSTED_VLLM_API_KEY"]\n')
    refused = subprocess.run(command, cwd=workspace, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "tools.env lists HOSTED_VLLM_API_KEY, and the model is called with it" in refused.stderr
