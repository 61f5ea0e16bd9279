"""What a checkpoint costs, with one file changed, beside git's own add and commit on the same tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from bench.case import Bench, Line, Promise, Round, beside, middle, named, over, ratio
from bench.lineup import ROOT
from bench.measure import NotMeasuredError, scratch

ABOUT = "checkpoint of 200 and 10,000 files beside git add -A && git commit"
SIZES = (200, 10_000)
TIMES = 7


def measure(bench: Bench) -> Round:
    rows: Round = []
    for files, times in ((50, 1), (200, 1)) if bench.tiny else tuple((files, TIMES) for files in SIZES):
        with scratch() as folder:
            argv = [sys.executable, "-m", "bench.workers.checkpoint", str(folder), str(files), str(times)]
            environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
            done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasuredError(f"checkpoint of {files} files: {done.stderr[-1500:]}")
        found = json.loads(done.stdout)
        rows += [{"name": f"{name} @{files}", "files": files, **figures} for name, figures in found.items()]
        bench.say(f"  {files} files: " + ", ".join(f"{name} {one['ms']:.1f} ms" for name, one in found.items()))
    return rows


def lines(rounds: Sequence[Round]) -> list[Line]:
    found = []
    for files in sorted({row["files"] for one in rounds for row in one}):
        mine, its = f"runner @{files}", f"git @{files}"
        found += [
            beside(rounds, mine, its, "ms", what=f"checkpoint, {files:,} files, one changed"),
            beside(rounds, mine, its, "cpu_ms", what=f"checkpoint, {files:,} files, CPU with children"),
            beside(rounds, f"unchanged @{files}", its, "ms", what=f"checkpoint, {files:,} files, none changed"),
        ]
        first = middle([named(one, f"first @{files}", "ms") for one in rounds])
        found.append(Line(f"checkpoint 0, {files:,} files", first, "ms"))
    return found


def promises(rounds: Sequence[Round]) -> list[Promise]:
    measured = over(rounds, lambda one: ratio(one, "runner @10000", "git @10000", "ms"))
    return [Promise("checkpoint of 10,000 files, one changed, of git add -A and commit", 1.3, measured)]
