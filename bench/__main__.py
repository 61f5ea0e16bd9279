"""Every benchmark, one command: `make bench`. Figures are ratios within one run; the machine is part of them.

    python -m bench --quick                     about three minutes: one round, what takes long left out
    python -m bench --only steps --steps 400    one case, one size
    python -m bench --rounds 5 --write          the whole, kept in docs/evidence

Exit code 1 when a promise does not hold, 2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench import evidence, lineup, table
from bench.case import Bench, Case, Promise, Round
from bench.measure import NotMeasuredError, Server, scratch

CASES = (
    "light",
    "steps",
    "log",
    "first",
    "gap",
    "replay",
    "checkpoint",
    "fold",
    "live",
    "providers",
    "reply",
    "sandboxed",
    "decision",
)
SIZES = (20, 100, 400, 2000)
QUICK_SIZES = (20, 400)


def case(name: str) -> Case:
    # a module with these three functions is one
    return cast("Case", importlib.import_module(f"bench.cases.{name}"))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5; with --quick 1)")
    parser.add_argument("--only", default=",".join(CASES), metavar="CASES", help=f"some of {','.join(CASES)}")
    parser.add_argument("--steps", metavar="SIZES", help=f"sizes of runs (default {','.join(map(str, SIZES))})")
    parser.add_argument(
        "--who", default="", metavar="NAMES", help="only contenders whose name begins with one of these"
    )
    parser.add_argument("--quick", action="store_true", help="one round, the long parts left out")
    parser.add_argument("--full", action="store_true", help="the quadratic ones at 2,000 steps too (an hour)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--write", action="store_true", help="write docs/evidence/bench.md and bench.json")
    options = parser.parse_args(argv)
    unknown = set(options.only.split(",")) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.write and (options.quick or options.who or options.steps or options.only != ",".join(CASES)):
        parser.error("--write keeps the whole benchmark: not with --quick, --only, --steps or --who")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, judge the promises."""
    options = arguments(argv)
    rounds: int = options.rounds or (1 if options.quick else 5)
    names = [name for name in CASES if name in options.only.split(",")]
    sizes = (
        [int(size) for size in options.steps.split(",")] if options.steps else QUICK_SIZES if options.quick else SIZES
    )
    if sys.platform != "linux":
        say("the benchmark reads the CPU clocks of other processes as Linux has them: it runs on Linux only")
        return 2
    if not lineup.peers_installed():
        say("mini-swe-agent is not installed (make bench installs it): its rows stay empty")
    about = evidence.circumstances(rounds)
    say(evidence.heading(about))
    results: dict[str, list[Round]] = {name: [] for name in names}
    with Server() as server, scratch() as folder:
        bench = Bench(
            server=server,
            folder=folder,
            sizes=sizes,
            quick=options.quick,
            full=options.full,
            who=tuple(name for name in options.who.split(",") if name),
            say=say,
        )
        broken = measured(bench, names, rounds, results)
    text, promises = table.whole(results, {name: case(name) for name in names})
    print(text)
    if options.json:
        options.json.write_text(json.dumps({**about, "results": results}))
    if options.write and not broken:
        evidence.write(about, text, promises, results)
    return verdict(promises, broken)


def measured(bench: Bench, names: Sequence[str], rounds: int, results: dict[str, list[Round]]) -> list[str]:
    """Every case once a round, so that what the machine does meanwhile meets all alike; what failed, in words."""
    broken = []
    for number in range(rounds):
        bench.round = number
        for name in names:
            begun = time.monotonic()
            say(f"round {number + 1} of {rounds}, {name}: {case(name).ABOUT}")
            try:
                results[name].append(case(name).measure(bench))
            except NotMeasuredError as error:
                broken.append(f"{name}: {error}")
                say(f"NOT MEASURED {broken[-1]}")
            say(f"  ({time.monotonic() - begun:.0f} s)")
    return broken


def verdict(promises: Sequence[Promise], broken: Sequence[str]) -> int:
    """2: something could not be measured; 1: a promise does not hold."""
    for one in broken:
        say(f"NOT MEASURED {one}")
    if broken:
        return 2
    return int(any(promise.holds is False for promise in promises))


def say(words: str) -> None:
    """How far it is, apart from the result."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
