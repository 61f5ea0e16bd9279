"""Every benchmark, one command: `make bench`. Figures are ratios within one run; the machine is part of them."""

from __future__ import annotations

import argparse
import sys

from bench import lineup
from bench.cases import steps
from bench.measure import Server

def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", default="20,100,400")
    parser.add_argument("--who", default="runner,runner, tree unchanged")
    options = parser.parse_args()
    chosen = [one for one in lineup.ALL if any(one.name.startswith(w) for w in options.who.split(","))]
    with Server() as server:
        for _ in range(options.rounds):
            steps.measured(server, chosen, [int(n) for n in options.steps.split(",")], full=False, say=print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
