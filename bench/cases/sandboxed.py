"""What walls cost a command: the first of an iteration, which builds them, and each after it, beside no walls.

Through the tools' own way to commands, `true` each time: from before it is prepared to after it has ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from bench.case import Bench, Line, Promise, Round, beside, middle
from bench.measure import scratch
from runner.app import wallplan
from runner.app.wallplan import Ground
from runner.config import policies
from runner.sandbox import walls
from runner.sandbox.process import Commands, Pace

ABOUT = "a command behind walls beside one without"
ITERATIONS = 7
AFTER = 20
FIGURES = (("first", "the first command of an iteration"), ("each", "each further command"))


def measure(bench: Bench) -> Round:
    rows: Round = []
    with scratch() as folder:
        for name in (walls.NONE, *walls.BACKENDS):
            if (backend := _backend(name, folder)) is not None:
                rows.append(_timed(backend, folder, iterations=2 if bench.tiny else ITERATIONS))
                bench.say(f"  {name}: first {rows[-1]['first']:.1f} ms, then {rows[-1]['each']:.1f} ms")
    return rows


def _backend(name: str, folder: Path) -> walls.Backend | None:
    """None where this machine has it not, or not for this user."""
    if name == walls.NONE:
        return walls.Backend(name=name)
    plan = _plan(folder)
    found = walls.choose(plan, os.environ.get("PATH", os.defpath), (name,))
    return found if found.name == name else None


def _plan(folder: Path):
    work, home = folder / "work", folder / "home"
    work.mkdir(exist_ok=True)
    rules = policies.load("default", environ={})
    ground = Ground(workspace=work, origin=work, state=folder / "state", home=home)
    wallplan.furnish(home, os.environ)
    return wallplan.plan(ground, os.environ, rules.sandbox, rules.paths)


def _timed(backend: walls.Backend, folder: Path, *, iterations: int) -> dict:
    plan, work = _plan(folder), folder / "work"
    first: list[float | None] = []
    after: list[float | None] = []
    for _ in range(iterations):
        commands = Commands({"PATH": os.defpath}, "bench", launch=lambda env: backend.launch(plan, env))
        for number in range(AFTER + 1):
            began = time.perf_counter()
            command = commands.prepare(("true",), work)
            command.go()
            command.run(lambda _: None, Pace(total_s=30))
            (after if number else first).append((time.perf_counter() - began) * 1e3)
        commands.host.close()
    return {"name": backend.name, "first": middle(first), "each": middle(after)}


def lines(rounds: Sequence[Round]) -> list[Line]:
    measured = [row["name"] for row in rounds[0]] if rounds else []
    return [
        beside(rounds, name, walls.NONE, figure, what=f"{about}, {name}")
        for name in measured
        if name != walls.NONE
        for figure, about in FIGURES
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    return []
