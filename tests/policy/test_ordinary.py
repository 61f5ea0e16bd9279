"""Two hundred ordinary commands of agents under overnight.yaml: nothing asked, nothing denied, the same outputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.ports import Interrupt
from runner.secrets import Vault
from runner.tools.builtin import BuiltinTools
from runner.values import Ruling, ToolCall
from tests.policy.judge import Judge, rulebook
from tests.policy.truth import MISSING

HERE = Path(__file__).parent
_ROOT = HERE.parents[1]
_AT_ONCE = 10
_PROJECT = {
    "README.md": "# Shop\n\nA small shop with a Cart and prices.\n",
    "src/shop/__init__.py": "",
    "src/shop/cart.py": '"""A cart."""\n\nfrom shop.prices import with_tax\n\n\nclass Cart:\n    def __init__(self):\n'
    "        self.items = []\n\n    def add(self, price):\n        self.items.append(price)\n\n    def total(self):\n"
    "        return sum(map(with_tax, self.items))\n",
    "src/shop/prices.py": '"""Prices."""\n\nTAX = 20\n\n\ndef with_tax(price):\n    return price + price * TAX // 100\n',
    "tests/test_cart.py": "import unittest\n\nfrom shop.cart import Cart\n\n\nclass TestCart(unittest.TestCase):\n"
    "    def test_total(self):\n        cart = Cart()\n        cart.add(100)\n        self.assertEqual(cart.total(), 120)\n",
    "data/orders.csv": "id,item,amount\n1,tea,12\n2,rice,7\n3,tea,30\n",
    ".gitignore": "*.log\n__pycache__/\n",
}


def commands() -> list[str]:
    """The commands, as agents send them."""
    lines = (HERE / "ordinary" / "commands.txt").read_text(encoding="utf-8").split("\n")
    return [line.replace("⏎", "\n").replace("⇥", "\t") for line in lines if line and not line.startswith("#")]


def _environment(place: Path) -> dict[str, str]:
    (place / "home").mkdir()
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {"PATH": path, "HOME": str(place / "home"), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def _project(place: Path, env: Mapping[str, str]) -> Path:
    root = place / "project"
    for name, text in _PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for words in ("init -q -b main", "add -A", "-c user.name=a -c user.email=a@b.c commit -q -m First"):
        subprocess.run(["git", *words.split()], cwd=root, env=env, check=True)
    return root


def _without_a_policy(place: Path) -> list[str]:
    """What the commands print where nobody decides about them."""
    place.mkdir()
    env = _environment(place)
    tools = BuiltinTools(
        _project(place, env),
        env=env,
        artefacts=place / "artefacts",
        vault=Vault({}),
        spec_path=None,
        tick=lambda _text, _item: None,
        on_tick=lambda _: None,
    )
    told: list[str] = []
    for at, command in enumerate(commands()):
        call = ToolCall(f"call_{at}", "shell", json.dumps({"command": command}))
        prepared = tools.prepare(call)
        assert not isinstance(prepared, str), prepared
        told.append(prepared.act(Interrupt()).text)
    tools.end_iteration()
    return told


def _recording(path: Path) -> None:
    """A model that sends the commands, ten at a time, and is done."""
    calls = [{"name": "shell", "arguments": {"command": command}} for command in commands()]
    replies: list[dict[str, object]] = [
        {"text": "Going on.", "tools": calls[at : at + _AT_ONCE]} for at in range(0, len(calls), _AT_ONCE)
    ]
    replies.append({"text": "All of them ran.\n<promise>COMPLETE</promise>"})
    numbered: list[dict[str, object]] = [{"iteration": 1, "step": at, **reply} for at, reply in enumerate(replies, 1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in ({"recording": 1, "model": "openai/gpt-5"}, *numbered)))


# Any: what is inside is JSON, whose kinds the test names
def _under_overnight(place: Path) -> list[dict[str, Any]]:
    """The events of a run of the same commands under overnight.yaml."""
    place.mkdir()
    env = _environment(place)
    root = _project(place, env)
    _recording(place / "recording.jsonl")
    state = place / "state"
    told = subprocess.run(
        [
            *(sys.executable, "-m", "runner", "loop", "-p", "Run the commands.", "--policy", "overnight"),
            *("--model", f"replay:{place / 'recording.jsonl'}", "--max-iterations", "1"),
        ],
        cwd=root,
        env={**env, "RUNNER_STATE_DIR": str(state), "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if told.returncode == 2 and "nothing here can hold" in told.stderr:
        pytest.skip(f"overnight.yaml needs a sandbox: {MISSING}")
    logs = list(state.glob("runs/*/log.jsonl"))
    assert logs, f"{told.returncode}\n{told.stdout}\n{told.stderr}"
    return [json.loads(line) for line in logs[0].read_text(encoding="utf-8").split("\n") if line]


def test_overnight_neither_asks_about_nor_denies_an_ordinary_command_behind_walls(tmp_path: Path) -> None:
    judge = Judge(rulebook(_ROOT / "runner" / "policies" / "overnight.yaml"), tmp_path, sandboxed=True)
    decided = {command: judge.shell(command) for command in commands()}
    assert not {command: ruling for command, ruling in decided.items() if ruling is not Ruling.ALLOW}


def test_ordinary_commands_run_overnight_unasked_undenied_and_print_the_same(tmp_path: Path) -> None:
    assert len(commands()) >= 200
    assert shutil.which("git")
    plain = _without_a_policy(tmp_path / "plain")
    events = _under_overnight(tmp_path / "walled")
    kinds = [event["kind"] for event in events]
    refused = [event for event in events if event["kind"] in ("ToolRefused", "ApprovalRequested")]
    assert not refused, "\n".join(json.dumps(event) for event in refused)
    assert kinds.count("ToolFinished") == len(commands())
    finished = [event["body"]["text"] for event in events if event["kind"] == "ToolFinished"]
    differing = [
        f"{command!r}\n  without a policy: {before!r}\n  overnight: {after!r}"
        for command, before, after in zip(commands(), plain, finished, strict=True)
        if before != after
    ]
    assert not differing, "\n".join(differing)
