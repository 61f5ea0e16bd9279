"""Decide calls by a policy of many rules, and match plain expressions: `python -m bench.workers.decision RULES TIMES`.

Alternating, CPU of one decision and of 100 compiled `fullmatch`, in microseconds; JSON.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable

from runner.policy.document import parse
from runner.policy.facts import Facts, Program
from runner.policy.merge import merge

PROGRAMS = 97
LOOPS = 200


def policy(rules: int) -> str:
    """A policy of a large organisation: two thirds deny, a fifth ask, the rest allow; of programs, paths and hosts."""
    lines = ["apiVersion: runner/v1", "kind: Policy", "rules:"]
    for number in range(rules):
        effect = ("deny", "deny", "ask", "deny", "allow")[number % 5]
        what = (
            f"command: {{program: [tool{number % PROGRAMS}, x{number}], any_flag: [--f{number}]}}",
            f"command: {{program: 't?ol{number % PROGRAMS}*', arg: 'p{number}-*'}}",
            f"paths: ['**/area{number}/**', 'd{number}/*.key']",
            f"command: {{program: tool{number % PROGRAMS}, subcommand: s{number}, no_flag: [-q]}}",
            f"hosts: ['*.h{number}.example.com']",
        )[number % 5 if number % 7 else 0]
        lines.append(f"  - {{id: r{number}, tool: shell, {what}, effect: {effect}}}")
    return "\n".join(lines) + "\n"


def calls() -> list[Facts]:
    """Calls of one to three programs, with paths, a host and suspects."""
    found = []
    for number in range(20):
        programs = tuple(
            Program(name=f"tool{number + each}", argv=("x", "status", "-v"), subcommand="status", flags=("-v",))
            for each in range(number % 3 + 1)
        )
        found.append(
            Facts(
                tool="shell",
                programs=programs,
                suspects=programs[: number % 2],
                reads=("src/app.py", "docs/area/notes.md"),
                writes=("build/out.txt",),
                hosts=("packages.example.com",),
            )
        )
    return found


def main(rules: int, times: int) -> None:
    book = merge([parse(policy(rules), "bench.yaml", "org")])
    asked = calls()
    expressions = [re.compile(rf"(?:\S+\s+)?tool{number}\s+.*--f{number}\b.*") for number in range(100)]
    text = "git commit -m 'a message of the usual length' --no-verify src/app.py"
    acts: dict[str, Callable[[], object]] = {
        "decision": lambda: [book.decide(facts) for facts in asked],
        "fullmatch": lambda: [each.fullmatch(text) for each in expressions],
    }
    per = {"decision": len(asked), "fullmatch": 1}
    found: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(-1, times):
        for name, act in acts.items():
            loops = max(1, LOOPS // per[name])
            begun = time.process_time()
            for _ in range(loops):
                act()
            if turn >= 0:
                found[name].append((time.process_time() - begun) * 1e6 / loops / per[name])
    if any(book.decide(facts).rule.startswith("builtin:") for facts in asked):
        raise SystemExit("a decision failed")
    print(json.dumps({"rules": len(book.rules), **{name: statistics.median(us) for name, us in found.items()}}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
