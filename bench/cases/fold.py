"""What folding a long journal to its state costs, beside decoding the same rows and nothing more. CPU time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.case import Bench, Line, Promise, Round, beside, named, over, ratio
from bench.lineup import ROOT, RUNNER
from bench.measure import NotMeasuredError, run, scratch

ABOUT = "folding a journal of a long run beside parsing it"
EVENTS = 10_000
ENOUGH = 5_000
STEPS = 2_000
TIMES = 5


def measure(bench: Bench) -> Round:
    if bench.journal is None:
        bench.journal = made(bench)
    argv = [sys.executable, "-m", "bench.workers.fold", str(bench.journal), str(TIMES)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(bench.folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasuredError(f"fold: {done.stderr[-1500:]}")
    found = json.loads(done.stdout)
    events = found.pop("events")
    bench.say(f"  {events} events: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in found.items()))
    return [{"name": name, "cpu_ms": ms, "events": events} for name, ms in found.items()]


def made(bench: Bench) -> Path:
    """The state directory of a run of enough steps."""
    steps = STEPS if max(bench.sizes) >= STEPS or not bench.quick else max(bench.sizes)
    bench.say(f"  a run of {steps} steps, for its journal")
    with scratch() as folder:
        run(bench.server, RUNNER, steps, folder)
        (folder / "state").rename(bench.folder / "long")
    return bench.folder / "long"


def events(rounds: Sequence[Round]) -> int:
    return int(over(rounds, lambda one: named(one, "fold", "events")) or 0)


def lines(rounds: Sequence[Round]) -> list[Line]:
    many = f"{events(rounds):,} events"
    return [
        beside(rounds, "fold", "parse", "cpu_ms", what=f"folding a journal of {many}, CPU"),
        beside(rounds, "read", "parse", "cpu_ms", what=f"reading {many} from the disk, CPU"),
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    many = events(rounds)
    measured = over(rounds, lambda one: ratio(one, "fold", "parse", "cpu_ms")) if many >= ENOUGH else None
    return [Promise(f"folding a journal ({many or EVENTS:,} events), of parsing it", 3, measured)]
