"""`kill -9` at every event boundary and at random moments: nothing is lost, nothing is paid beyond the call in flight.

`python -m tests.soak.crash [--runs N] [--seed S] [--only CASE]`; writes `docs/evidence/crash.json` and `crash.md` when
it ran at full size. See `docs/design/crash.md` for what is killed where, and what must hold afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.soak import scenes, story
from tests.soak.cases import After, At, Case, Result, Stage
from tests.soak.common import Machine, remove

FULL = 200
WORKERS = 2
EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"


def boundaries(events: int, *, every: int = 1, how: Sequence[str] = ("before", "after")) -> list[Case]:
    """A run for each side of each event of the undisturbed run."""
    return [
        Case(f"{one}-{count:03}", f"boundary, {one} the commit", (At(one, count),))
        for count in range(1, events + 1, every)
        for one in how
    ]


def torn(events: int, dice: random.Random, number: int) -> list[Case]:
    """Killed in the middle of a line of the log."""
    counts = dice.sample(range(3, events), number)
    return [Case(f"torn-{count:03}", "in the middle of a log line", (At("torn", count),)) for count in counts]


def moments(seconds: float, dice: random.Random, number: int) -> list[Case]:
    """Killed from outside at random moments; every eighth run works in a clone of its own."""
    return [
        Case(
            f"random-{place:03}", "random moment", (After(round(dice.uniform(0, seconds), 3)),), worktree=place % 8 == 7
        )
        for place in range(number)
    ]


def fives(seconds: float, dice: random.Random, number: int) -> list[Case]:
    """Killed five times each, by either hand."""

    def blow() -> At | After:
        if dice.random() < 0.5:
            return At(dice.choice(("before", "after", "torn")), dice.randint(2, 14))
        return After(round(dice.uniform(0.3, 0.3 + seconds / 4), 3))

    return [
        Case(f"five-{place:03}", "five kills", tuple(blow() for _ in range(5)), worktree=place % 5 == 4)
        for place in range(number)
    ]


def resuming(events: int, dice: random.Random, number: int) -> list[Case]:
    """Killed once anywhere, then again while it resumes: at one of the first events, or as it starts."""

    def again() -> At | After:
        if dice.random() < 0.3:
            return After(round(dice.uniform(0.1, 1.2), 3))
        return At(dice.choice(("before", "after", "torn")), dice.randint(1, 4))

    return [
        Case(
            f"resume-{place:03}",
            "while resuming",
            (
                At(dice.choice(("before", "after")), dice.randint(4, events)),
                *(again() for _ in range(dice.randint(1, 2))),
            ),
        )
        for place in range(number)
    ]


def plan(reference: Result, seed: int, runs: int) -> list[Case]:
    """Every case of a soak; `runs` random moments, the rest in proportion below the full size."""
    dice = random.Random(seed)
    part = min(1.0, runs / FULL)
    scaled: Callable[[int], int] = lambda full: max(1, round(full * part))  # noqa: E731  # a word for it, twice below
    every = 1 if part == 1 else max(1, round(1 / part))
    return [
        *boundaries(reference.events, every=every),
        *torn(reference.events, dice, scaled(20)),
        *moments(reference.seconds, dice, runs),
        *fives(reference.seconds, dice, scaled(20)),
        *resuming(reference.events, dice, scaled(20)),
    ]


@dataclass(frozen=True, slots=True)
class Group:
    """One line of the table."""

    name: str
    results: tuple[Result, ...]

    def row(self) -> dict[str, object]:
        results = self.results
        return {
            "group": self.name,
            "runs": len(results),
            "kills": sum(one.kills for one in results),
            "failed": sum(bool(one.problems) for one in results),
            "calls": sum(one.calls for one in results),
            "billed_nano_usd": sum(one.billed for one in results),
            "spent_nano_usd": sum(one.spent for one in results),
            "unknown_nano_usd": sum(one.unknown for one in results),
            "log_repairs": sum(one.repaired for one in results),
        }


def run(cases: Sequence[Case], stage: Stage) -> list[Result]:
    """Play the cases, two at a time, saying what goes wrong when it does."""
    began, done = time.monotonic(), 0
    results: list[Result] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for played in pool.map(stage.strike, cases):
            results += played
            done += 1
            for problem in (f"{one.case}: {found}" for one in played for found in one.problems):
                print(f"FAILED {problem}", flush=True)
            if done % 20 == 0 or done == len(cases):
                failed = sum(bool(one.problems) for one in results)
                print(f"{done}/{len(cases)} runs, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    return results


def uncovered(reference: Result, results: Sequence[Result]) -> list[int]:
    """Boundaries of the undisturbed run at which no process died."""
    died = {head for one in results for head in one.heads}
    return [seq for seq in range(reference.events + 1) if seq not in died]


def project(stage: Stage, results: Sequence[Result]) -> list[str]:
    """All runs are of clones of one repository: their project's budget must hold the sum of them."""
    with stage.machine.reading() as tx:
        rows = tx.execute("SELECT name, spent, unknown, held FROM budget WHERE kind = 'project'").fetchall()
    if len(rows) != 1:
        return [f"{len(rows)} projects instead of one: {rows}"]
    (_, spent, unknown, held) = rows[0]
    wanted = (sum(one.spent for one in results), sum(one.unknown for one in results), 0)
    return [] if (spent, unknown, held) == wanted else [f"the project's budget is {rows[0]}, its runs are {wanted}"]


def report(summary: dict[str, object], groups: Sequence[Group]) -> str:
    """The result for people."""
    lines = [
        "# `make soak-crash`, last result",
        "",
        f"Seed {summary['seed']}, {summary['when']}, commit {summary['commit']}.",
        f"{summary['seconds']} s on {summary['machine']}.",
        "",
        "| where it is killed | runs | kills | failed | calls | log repairs |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['group']} | {row['runs']} | {row['kills']} | {row['failed']} | {row['calls']} | {row['log_repairs']} |"
            for row in (group.row() for group in groups)
        ),
        "",
        f"Undisturbed: {summary['events']} events, {summary['reference_calls']} calls.",
        f"Boundaries at which no process died: {summary['uncovered'] or 'none'}.",
        f"Scenes: {summary['scenes']}.",
        f"Verdict: **{summary['verdict']}**.",
        "",
    ]
    return "\n".join(lines)


def soak(root: Path, *, runs: int, seed: int, only: str | None = None) -> tuple[dict[str, object], str]:
    """One whole soak below `root`; the summary as data and as text."""
    began = time.monotonic()
    stage = Stage(Machine.make(root / "machine", story.files()))
    first = stage.play(Case("reference", "reference", ()))
    stage.reference = first
    second = stage.play(Case("reference-again", "reference", ()))
    cases = plan(first, seed, runs)
    chosen = cases if only is None else [Case.parse(only)]
    print(
        f"seed {seed}: undisturbed {first.events} events, {first.calls} calls, {first.seconds:.1f} s; "
        f"{len(chosen)} runs to kill",
        flush=True,
    )
    problems = [f"undisturbed: {problem}" for one in (first, second) for problem in one.problems]
    results = run(chosen, stage)
    told = scenes.play(root / "scenes") if only is None else {}
    lost = uncovered(first, results) if runs >= FULL and only is None else []
    problems += [f"{one.case}: {problem}" for one in results for problem in one.problems]
    problems += [f"boundary {seq} was never hit" for seq in lost]
    problems += project(stage, [first, second, *results])
    problems += [f"{name}: {problem}" for name, found in told.items() for problem in found]
    names = list(dict.fromkeys(one.group for one in chosen))
    groups = [Group(name, tuple(one for one in results if one.case.group == name)) for name in names]
    summary: dict[str, object] = {
        "verdict": "green" if not problems else f"{len(problems)} problems",
        "when": time.strftime("%Y-%m-%d", time.gmtime()),
        "seed": seed,
        "runs": len(results),
        "kills": sum(one.kills for one in results),
        "seconds": round(time.monotonic() - began),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
        "events": first.events,
        "reference_calls": first.calls,
        "uncovered": lost,
        "groups": [group.row() for group in groups],
        "scenes": {name: "ok" if not found else "failed" for name, found in told.items()},
        "problems": problems,
    }
    return summary, report({**summary, "scenes": _scenes(told)}, groups)


def _commit() -> str:
    """What was tested: the commit, with `+` when files differ from it."""
    said = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    return subprocess.run(said, cwd=EVIDENCE.parents[1], capture_output=True, text=True, check=False).stdout.strip()


def _scenes(told: dict[str, list[str]]) -> str:
    return ", ".join(f"{name} {'ok' if not found else 'FAILED'}" for name, found in told.items()) or "none"


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 when everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.crash", description=__doc__)
    parser.add_argument("--runs", type=int, default=FULL, help=f"random moments (full: {FULL}); the rest in proportion")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", help="one case, as a failure prints it: 'random-007 [1.250s]'")
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="runner-crash-"))
    summary, text = soak(root, runs=options.runs, seed=options.seed, only=options.only)
    print(text)
    for problem in summary["problems"] if isinstance(summary["problems"], list) else []:
        print(f"PROBLEM {problem}")
    if summary["problems"]:
        print(f"kept: {root}")
        print("one of them again: python -m tests.soak.crash --only 'NAME [WHERE IT IS KILLED]', as printed above")
    else:
        remove(root)
    if options.runs >= FULL and options.only is None:
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        (EVIDENCE / "crash.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
        (EVIDENCE / "crash.md").write_text(text, "utf-8")
    return 1 if summary["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
