"""Real commands behind bubblewrap's walls, in a workspace with a user's HOME around it."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.sandbox import bubblewrap, leftovers
from runner.sandbox.plan import Plan
from runner.sandbox.process import Commands, Ended, Pace

PATH = "/usr/local/bin:/usr/bin:/bin"
_FOUND = shutil.which("bwrap")
BWRAP = Path(_FOUND or "/bwrap-is-not-installed")
needs_bubblewrap = pytest.mark.skipif(
    os.environ.get("RUNNER_TEST_SANDBOX") != "must" and (_FOUND is None or bool(bubblewrap.trouble(BWRAP))),
    reason="needs bubblewrap that works here: apt install bubblewrap",
)


@dataclass
class Scene:
    """A user's HOME with a workspace and a state directory in it."""

    root: Path
    home: Path = field(init=False)
    workspace: Path = field(init=False)
    private: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home, self.workspace = self.root / "user", self.root / "user" / "src" / "project"
        self.private = self.root / "user" / ".local" / "state" / "runner" / "home"
        for place in (self.workspace, self.private, self.home / ".ssh"):
            place.mkdir(parents=True)
        (self.home / ".ssh" / "id").write_text("PRIVATE KEY")
        (self.home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")

    def plan(self, **more) -> Plan:
        return Plan(**{"workspace": self.workspace, "user_home": self.home, "home": self.private, **more})

    @contextmanager
    def walls(self, plan: Plan, path: str = PATH) -> Iterator["Walled"]:
        tag = f"walled-{os.urandom(4).hex()}"
        commands = Commands(
            {"PATH": path, "HOME": str(self.home)}, tag, launch=lambda env: bubblewrap.launch(plan, BWRAP, env)
        )
        try:
            yield Walled(commands, plan.workspace)
        finally:
            commands.host.close()
        assert list(leftovers.carriers(commands.command_marker)) == [], "a process outlived its sandbox"


@dataclass
class Walled:
    """One sandbox."""

    commands: Commands
    workspace: Path
    ended: Ended | None = None

    def sh(self, text: str, *, seconds: float = 20) -> str:
        """What a shell command prints, standard error included."""
        command = self.commands.prepare(["/bin/sh", "-c", text], self.workspace)
        command.go()
        heard: list[bytes] = []
        self.ended = command.run(heard.append, Pace(total_s=seconds))
        return b"".join(heard).decode()


def eventually(holds: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
