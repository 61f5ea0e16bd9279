"""Which walls there are on this machine: bubblewrap, else Landlock with seccomp, else none; Seatbelt on a Mac."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.sandbox import bubblewrap, landlock, seatbelt
from runner.sandbox.plan import Plan
from runner.sandbox.process import Launch, unwalled

BUBBLEWRAP, LANDLOCK, SEATBELT, NONE = "bubblewrap", "landlock", "seatbelt", "none"
BACKENDS = (BUBBLEWRAP, LANDLOCK, SEATBELT)
"""The stronger first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What builds the walls: `bubblewrap`, `landlock`, `seatbelt`, or `none`, which builds none.

    `missing` says why not a better one; `program` is bubblewrap's.
    """

    name: str
    missing: str = ""
    program: Path | None = None

    def launch(self, plan: Plan, env: Mapping[str, str]) -> Launch:
        """How the host of commands is started so that they are held to the plan."""
        if self.program is not None:
            return bubblewrap.launch(plan, self.program, env)
        if self.name == SEATBELT:
            return seatbelt.launch(plan, env)
        return landlock.launch(plan, env) if self.name == LANDLOCK else unwalled(env)


def choose(plan: Plan, path: str, among: Sequence[str] = BACKENDS) -> Backend:
    """The first of `among` that can build walls here, as the plan needs them. Programs are looked for on `path`."""
    missing: list[str] = []
    if sys.platform == "darwin" and SEATBELT in among and seatbelt.PROGRAM.exists():
        return Backend(name=SEATBELT)
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
