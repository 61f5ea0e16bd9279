"""The installed command, as a process, in a fresh directory with a state directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Any: what is inside is JSON, and the test that reads it says what it expects there
Json = dict[str, Any]


@dataclass
class Runner:
    """Runs `runner` in `cwd`; `env` adds to its environment, `prefix` is the command that starts it, if any."""

    cwd: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def __call__(self, *args: str, give: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "runner", *args],
            cwd=self.cwd,
            env=self.environ(),
            input=give,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *args: str, **more: Any) -> subprocess.Popen[str]:
        """Start the command in the background, in a process group of its own."""
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "runner", *args],
            cwd=self.cwd,
            env=self.environ(),
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            text=True,
            start_new_session=True,
            **more,
        )

    def environ(self) -> dict[str, str]:
        """What the process sees: nothing of whoever runs the tests but PATH and HOME."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        home = self.state.parent / "home"
        home.mkdir(exist_ok=True)
        return {
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "RUNNER_STATE_DIR": str(self.state),
            "RUNNER_SANDBOX": "none",
            **({"PYTHONPATH": str(ROOT)} if not _installed() else {}),
            **self.env,
        }

    def write(self, name: str, text: str) -> Path:
        """Write a file of the workspace."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def recording(self, *replies: dict[str, object], model: str = "openai/gpt-5") -> str:
        """Write a recording beside the workspace; give the `--model` that plays it."""
        lines = ({"recording": 1, "model": model}, *replies)
        path = self.cwd.parent / "recording.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return f"replay:{path}"

    def git(self, *args: str) -> str:
        """Run the user's own git in the workspace."""
        return subprocess.run(["git", *args], cwd=self.cwd, check=True, capture_output=True, text=True).stdout

    def last(self) -> Json:
        """The newest run, as its driver last summed it up."""
        import sqlite3

        connection = sqlite3.connect(self.state / "runner.db")
        try:
            (text,) = connection.execute("SELECT summary FROM run ORDER BY created_at DESC, id DESC LIMIT 1").fetchone()
        finally:
            connection.close()
        return json.loads(text)

    def events(self, kind: str | None = None) -> list[Json]:
        """The newest run's log, or its events of one kind."""
        path = max(self.state.glob("runs/*/log.jsonl"))
        lines = [json.loads(line) for line in path.read_text().split("\n") if line]
        return [line for line in lines if kind is None or line["kind"] == kind]

    def json(self, *args: str) -> Json:
        """Run a command that prints one JSON object; fail with what it said if it did not."""
        done = self(*args)
        try:
            return json.loads(done.stdout)
        except ValueError:
            pytest.fail(f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("runner") is not None


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """`runner` in an empty workspace that is no repository."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return Runner(cwd=workspace, state=tmp_path / "state")


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """One run that went from red to verified, with a key-like text in a reply. Only for looking at: tests share it."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "workspace").mkdir()
    runner = Runner(cwd=folder / "workspace", state=folder / "state")
    runner.write("spec.md", "---\nchecks: ['grep -q two out.txt']\nbudget: {usd: 2}\n---\n# Count\n\nUp.\n")
    tools = [
        [{"name": "write_file", "arguments": {"path": "out.txt", "content": f"{word}\n"}}] for word in ("one", "two")
    ]
    said = "my key is sk-ant-REDACTED0123456789 and \u001b[31mred"
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": said, "tools": tools[0]},
        {"iteration": 2, "step": 1, "text": "", "tools": tools[1]},
        {"otherwise": True, "text": "Nothing more to do."},
    )
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    return runner
