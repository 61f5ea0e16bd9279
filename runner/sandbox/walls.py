"""Which walls there are on this machine: bubblewrap, else Landlock with seccomp, else none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.sandbox import bubblewrap, landlock
from runner.sandbox.plan import Plan
from runner.sandbox.process import Launch, unwalled

BUBBLEWRAP, LANDLOCK, NONE = "bubblewrap", "landlock", "none"
BACKENDS = (BUBBLEWRAP, LANDLOCK)
"""The stronger first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What builds the walls: `bubblewrap`, `landlock`, or `none`, which builds none. `missing` says why not a better.

    `program` is bubblewrap's.
    """

    name: str
    missing: str = ""
    program: Path | None = None

    def launch(self, plan: Plan, env: Mapping[str, str]) -> Launch:
        """How the host of commands is started so that they are held to the plan."""
        if self.program is not None:
            return bubblewrap.launch(plan, self.program, env)
        return landlock.launch(plan, env) if self.name == LANDLOCK else unwalled(env)


def choose(plan: Plan, path: str, among: Sequence[str] = BACKENDS) -> Backend:
    """The first of `among` that can build walls here, as the plan needs them. Programs are looked for on `path`."""
    missing: list[str] = []
    if BUBBLEWRAP in among:
        program = bubblewrap.find(path, outside=plan.workspace)
        trouble = "it is not installed" if program is None else bubblewrap.trouble(program)
        if not trouble:
            return Backend(name=BUBBLEWRAP, program=program)
        missing.append(f"bubblewrap: {trouble}")
    if LANDLOCK in among:
        if not (trouble := landlock.available(plan)):
            return Backend(name=LANDLOCK, missing="; ".join(missing))
        missing.append(f"Landlock: {trouble}")
    return Backend(name=NONE, missing="; ".join(missing))
