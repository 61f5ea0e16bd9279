"""What one decision under a policy of 1,000 rules costs, beside 100 compiled regular expressions. CPU time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from bench.case import Bench, Line, Promise, Round, beside, named, over, ratio
from bench.lineup import ROOT
from bench.measure import NotMeasuredError

ABOUT = "deciding a tool call by 1,000 rules beside 100 compiled fullmatch"
RULES = 1_000
TIMES = 7


def measure(bench: Bench) -> Round:
    rules = 50 if bench.tiny else RULES
    argv = [sys.executable, "-m", "bench.workers.decision", str(rules), str(TIMES)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(bench.folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasuredError(f"decision: {done.stderr[-1500:]}")
    found = json.loads(done.stdout)
    count = found.pop("rules")
    bench.say(f"  {count} rules: " + ", ".join(f"{name} {us:.1f} µs" for name, us in found.items()))
    return [{"name": name, "cpu_us": us, "rules": count} for name, us in found.items()]


def rules(rounds: Sequence[Round]) -> int:
    return int(over(rounds, lambda one: named(one, "decision", "rules")) or 0)


def lines(rounds: Sequence[Round]) -> list[Line]:
    what = f"a decision by {rules(rounds):,} rules, beside 100 fullmatch, CPU"
    return [beside(rounds, "decision", "fullmatch", "cpu_us", what=what, unit="µs")]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    enough = rules(rounds) >= RULES
    measured = over(rounds, lambda one: ratio(one, "decision", "fullmatch", "cpu_us")) if enough else None
    return [Promise(f"a decision by {RULES:,} rules, of 100 compiled fullmatch", 25, measured)]
