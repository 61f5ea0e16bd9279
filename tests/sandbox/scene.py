"""What the attempts are made against: a small machine of files, processes, sockets, all of one user.

Imported on both sides of the walls, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where things are. `secret` is in every file, process and answer that must not be read from inside."""

    root: str
    secret: str
    address: str
    """An address of this machine that is not loopback; "" where it has none."""
    victim: int
    """A process of the same user, outside: `secret` is in its environment, memory, arguments and an open file."""
    others: dict[str, int] = field(default_factory=dict[str, int])
    """Processes of the same user, one for each attempt that hurts one."""
    ports: dict[str, int] = field(default_factory=dict[str, int])
    """Servers outside: `odd` (a port of nothing special), `dev` (where development servers listen), `udp`."""
    terminal: str = ""
    shared: int = -1
    key: int = -1

    @property
    def workspace(self) -> Path:
        return Path(self.root, "workspace")

    @property
    def home(self) -> Path:
        return Path(self.root, "home")

    @property
    def outside(self) -> Path:
        return Path(self.root, "outside")

    @property
    def state(self) -> Path:
        return Path(self.root, "state")

    @property
    def name(self) -> str:
        """What is outside and has a name of its own, by which it is asked for."""
        return self.secret.partition("-")[2]

    def text(self) -> str:
        """As JSON, for the other side."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Scene:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way out. `inside` is made behind the walls, `succeeded` is judged outside, from what it printed."""

    name: str
    what: str
    inside: Callable[[Scene], object]
    succeeded: Callable[[Scene, str], bool]


ATTEMPTS: dict[str, Attempt] = {}


def told(scene: Scene, printed: str) -> bool:
    """The secret came out."""
    return scene.secret in printed


def attempt(
    what: str, succeeded: Callable[[Scene, str], bool] = told
) -> Callable[[Callable[[Scene], object]], Callable[[Scene], object]]:
    """Enter a function as an attempt: its name is the attempt's."""

    def enter(inside: Callable[[Scene], object]) -> Callable[[Scene], object]:
        name = inside.__name__.replace("_", "-")
        ATTEMPTS[name] = Attempt(name, what, inside, succeeded)
        return inside

    return enter


def target(scene: Scene, name: str) -> Path:
    """A file outside that one attempt has for itself."""
    return scene.outside / name


def changed(name: str) -> Callable[[Scene, str], bool]:
    """The attempt's file outside is not what it was."""

    def look(scene: Scene, _: str) -> bool:
        path = target(scene, name)
        return not path.is_file() or path.read_text() != f"{scene.secret}\n"

    return look


def appeared(name: str) -> Callable[[Scene, str], bool]:
    """Something exists outside that did not."""
    return lambda scene, _: target(scene, name).exists()
