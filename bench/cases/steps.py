"""What a step costs: CPU at the start and at the end, wall time, memory. Every contender at every size."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench import lineup
from bench.case import Bench, Line, Promise, Round, over
from bench.journal import noted
from bench.lineup import ALL, HTTPX, MINI, OPENAI, RUNNER, STILL, WALKS_ALL_UP_TO, Contender
from bench.measure import Run, around, median, run, scratch

ABOUT = "CPU, wall time and memory per step, every contender"
MARKS = (20, 100, 400, 2000)
# what a quick look leaves out
DETAILS = ("bare httpx, whole", "openai SDK, whole")


def measure(bench: Bench) -> Round:
    """One round: a row for each contender and size. Those whose every call walks everything stop at 400 steps."""
    rows = []
    for size in bench.sizes:
        for contender in ALL:
            if left_out(contender, size, bench):
                continue
            with scratch() as folder:
                one = run(bench.server, contender, size, folder)
                made = sum(event.kind == "CheckpointMade" for event in noted(folder / "state"))
                if contender is RUNNER and size == max(bench.sizes):
                    _keep_journal(bench, one)
                looked = looks_ms(folder) if contender is STILL else None
            rows.append({**row(one), "checkpoints": made, "looked_ms": looked})
            bench.say(f"  {contender.name}, {size} steps: {rows[-1]['start']:.2f} -> {rows[-1]['end']:.2f} ms a step")
    return rows


def left_out(contender: Contender, size: int, bench: Bench) -> bool:
    """What is not installed, and what would take many minutes and tell nothing new."""
    if bench.who and not contender.name.startswith(tuple(bench.who)):
        return True
    if contender.peer and not lineup.peers_installed():
        return True
    if bench.quick and contender.name in DETAILS:
        return True
    return contender.quadratic and size > WALKS_ALL_UP_TO and not bench.full


def _keep_journal(bench: Bench, one: Run) -> None:
    """Keep a long run's state directory: another case folds its journal."""
    kept = bench.folder / "long"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(one.folder / "state", kept)
    bench.journal = kept


def looks_ms(folder: Path) -> float:
    """CPU of the last looks at the tree that found no checkpoint to make, one a step."""
    noted_ns: list[int] = json.loads((folder / lineup.NOTES).read_text())
    return statistics.mean(noted_ns[-20:]) / 1e6


def row(one: Run) -> dict:
    """The figures of one run."""
    cpu, wall = one.step_cpu_ms(), one.step_wall_ms()
    return {
        "name": f"{one.contender} @{one.steps}",
        "contender": one.contender,
        "steps": one.steps,
        "start": around(cpu, min(20, one.steps // 2)),
        "end": around(cpu, one.steps),
        "at": {str(mark): around(cpu, mark) for mark in MARKS if mark <= one.steps},
        "wall": median(wall),
        "wall_end": around(wall, one.steps),
        "peak_mb": one.peak_mb,
        "first_ms": one.first_ms,
        "cpu_s": one.cpu_total / 1e9,
        "wall_s": one.wall_s,
    }


def find(one: Round, contender: Contender, steps: int) -> dict | None:
    return next((row for row in one if row["contender"] == contender.name and row["steps"] == steps), None)


def cpu_at(one: Round, contender: Contender, steps: int, mark: int) -> float | None:
    """CPU per step around step `mark` of the run of so many steps."""
    found = find(one, contender, steps)
    return found["at"].get(str(mark)) if found else None


def grown(one: Round, steps: int) -> float | None:
    """How many times the CPU of step 20 runner's last step costs."""
    first, last = cpu_at(one, RUNNER, steps, 20), cpu_at(one, RUNNER, steps, steps)
    return last / first if first and last else None


def against(one: Round, contender: Contender, reference: Contender, steps: int = 400) -> float | None:
    """CPU of the last step over the reference's, of the same round."""
    mine, its = cpu_at(one, contender, steps, steps), cpu_at(one, reference, steps, steps)
    return mine / its if mine and its else None


def aside(one: Round, steps: int = 400) -> float | None:
    """CPU of runner's last step without its look at the tree, over the bare httpx loop's of the same round."""
    still = find(one, STILL, steps)
    mine, its = cpu_at(one, STILL, steps, steps), cpu_at(one, HTTPX, steps, steps)
    return (mine - still["looked_ms"]) / its if still and mine and its else None


def more_memory(one: Round) -> float | None:
    mine, its = find(one, RUNNER, 400), find(one, OPENAI, 400)
    return mine["peak_mb"] - its["peak_mb"] if mine and its else None


def needless(one: Round) -> float | None:
    """Checkpoints made of a tree that was the same as before: all but the first."""
    found = [row["checkpoints"] for row in one if row["contender"] == STILL.name]
    return max(found) - 1 if found else None


def lines(rounds: Sequence[Round]) -> list[Line]:
    return []  # they are the table


def promises(rounds: Sequence[Round]) -> list[Promise]:
    return [
        Promise("CPU per step at step 400, of that at step 20", 1.5, over(rounds, lambda one: grown(one, 400))),
        Promise("CPU per step at step 2,000, of that at step 20", 2, over(rounds, lambda one: grown(one, 2000))),
        Promise(
            "CPU per step at step 400, of mini-swe-agent's", 0.1, over(rounds, lambda one: against(one, RUNNER, MINI))
        ),
        Promise(
            "CPU per step at step 400, of the openai SDK's create()",
            0.1,
            over(rounds, lambda one: against(one, RUNNER, OPENAI)),
        ),
        Promise(
            "CPU per step at step 400, checkpoint aside, of the bare httpx loop's",
            2,
            over(rounds, aside),
        ),
        Promise("checkpoints of a tree that had not changed", 0, over(rounds, needless), unit=""),
        Promise("peak memory above the bare openai SDK loop's, 400 steps", 40, over(rounds, more_memory), unit="MB"),
    ]
