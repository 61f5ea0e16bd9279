"""Signed thinking through `kill -9` and resume, by the installed command: the provider gets the very bytes it gave."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.models.wire import as_json
from runner.testing.dialects.asked import sealed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from tests.e2e.conftest import Runner

SPEC = "# Work\n\nDo the work.\n"
THINKING = re.compile(rb'\{"type":"thinking",.*?"signature":"[^"]*"\}')
HIDDEN = re.compile(rb'\{"type":"redacted_thinking",[^}]*\}')


def write(name: str) -> dict[str, object]:
    return {"name": "write_file", "arguments": {"path": name, "content": "1\n"}}


def shell(command: str) -> dict[str, object]:
    return {"name": "shell", "arguments": {"command": command}}


def replies(*steps: dict[str, object]) -> Recording:
    lines: tuple[dict[str, object], ...] = (
        {"recording": 1, "model": "anthropic/claude-haiku-4-5"},
        *({"iteration": 1, "step": step, **reply} for step, reply in enumerate(steps, start=1)),
        {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"},
    )
    return Recording.parse("".join(json.dumps(line) + "\n" for line in lines), Path("replies.jsonl"))


@pytest.fixture
def thinker(runner: Runner) -> Runner:
    """`runner` with a model that thinks in 2,000 tokens."""
    runner.write("spec.md", SPEC)
    config = runner.state.parent / "home" / ".config" / "runner" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('model = "anthropic/claude-haiku-4-5"\nthinking = "2000"\ncache = "1h"\n')
    return runner


def killed(runner: Runner, provider: ScriptedProvider, when: Callable[[], object]) -> None:
    """Start a run, and kill it without notice as soon as `when` says."""
    runner.env |= {"ANTHROPIC_BASE_URL": provider.root, "ANTHROPIC_API_KEY": "sk-ant-test-0123456789abcdef"}
    process = runner.start("loop", "spec.md")
    end = time.monotonic() + 60
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the moment never came"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def prefix(body: bytes) -> bytes:
    """The part of a request that a provider's cache looks at, and its signatures stand in."""
    return body[body.index(b'"tools":') :]


def blocks(body: bytes) -> list[bytes]:
    return THINKING.findall(body) + HIDDEN.findall(body)


def given(body: bytes) -> list[bytes]:
    """What the provider streamed, as it writes it: every thought sealed by itself."""
    thoughts = [json.loads(block)["thinking"] for block in THINKING.findall(body)]
    return [as_json({"type": "thinking", "thinking": one, "signature": sealed(one)}) for one in thoughts]


def test_a_conversation_with_signed_thinking_is_resumed_byte_for_byte(thinker: Runner):
    script = Script(
        recording=replies({"text": "First.", "tools": [write("one.txt")]}, {"tools": [write("two.txt")]}),
        # the third request is never answered: the run is killed while it waits
        faults=(None, None, Fault.STALL),
    )
    with ScriptedProvider(script) as provider:
        killed(thinker, provider, lambda: len(provider.billed) == 3)
        done = thinker("resume")
        assert done.returncode == 0, done.stdout + done.stderr
        bodies = provider.bodies
    before, after = bodies[2], bodies[3]
    assert prefix(after) == prefix(before)
    assert len(blocks(after)) == 4
    assert THINKING.findall(after) == given(after)
    # and the provider, which refuses a thought that was touched, answered
    assert [entry.fault for entry in provider.billed] == ["", "", "stall", ""]


def test_thinking_survives_a_kill_while_its_tool_runs(thinker: Runner):
    recording = replies({"tools": [write("one.txt")]}, {"text": "Now.", "tools": [shell("touch begun; sleep 100")]})
    with ScriptedProvider(Script(recording=recording)) as provider:
        killed(thinker, provider, (thinker.cwd / "begun").exists)
        done = thinker("resume")
        assert done.returncode == 0, done.stdout + done.stderr
        bodies = provider.bodies
    before, after = bodies[1], bodies[2]
    assert prefix(after).startswith(prefix(before)[:-2])
    assert blocks(before) == [block for block in blocks(after) if block in blocks(before)]
    assert len(THINKING.findall(after)) == len(HIDDEN.findall(after)) == 2
    assert THINKING.findall(after) == given(after)
    # nothing that was bought is bought again
    assert [entry.step for entry in provider.billed] == [1, 2, 3]
