"""The overspend harness: many processes, one budget, a provider that misbehaves. `make soak-spend`.

`rough`: 1, 8 and 32 processes share a project's budget; the provider bills a random amount up to each call's bound and
fails in every way; drivers are killed at random. Billed stays at or below the limit, and the ledger knows of it.
`clean`: nothing fails; nothing is wasted. `tight`: a cap for 1.5 times the true cost and 0.2 times the worst cases;
all finish. `mutants`: three bugs put in on purpose; each must be seen.

Most trials use a light driver (`spend_driver.py`); a share of `rough` and `tight` uses `python -m runner loop`.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.soak import common, spend_real, spend_trial
from tests.soak.spend_mutants import MUTANTS
from tests.soak.spend_trial import Result

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"
PROCESSES = (1, 8, 32)
KINDS = ("rough", "clean", "tight", "mutants")
FULL = 50
_MUTANT_TRIALS = 8
# how many of 50 trials run the real command: it takes a second of CPU to start each
_REAL = {1: 8, 8: 4, 32: 2}


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial to come: what it is called and how to run it in a directory."""

    name: str
    run: Callable[[Path, str], Result]


def planned(trials: int, only: Sequence[str], processes: Sequence[int], drivers: str) -> Iterator[Trial]:
    """Every trial of `rough`, `clean` and `tight`; where a share runs the real command, it comes last."""
    for count in processes if "rough" in only else ():
        real = {"light": 0, "real": trials}.get(drivers, -(-_REAL[count] * trials // FULL))
        for number in range(trials):
            run = spend_trial.rough if number < trials - real else spend_real.rough
            yield Trial(f"rough:{count}:{number}", partial(_sized, run, count))
    for count in processes if "clean" in only else ():
        for number in range(-(-trials * 2 // 5)):
            yield Trial(f"clean:{count}:{number}", partial(_sized, spend_trial.clean, count))
    if "tight" in only:
        for number in range(-(-trials * 2 // 5) if drivers != "real" else 0):
            yield Trial(f"tight:8:{number}", partial(_sized, spend_trial.tight, 8))
        for number in range(-(-trials // 25) if drivers != "light" else 0):
            yield Trial(f"tight:8:real{number}", partial(_sized, spend_real.tight, 8))


def _sized(run: Callable[[Path, int, str], Result], processes: int, folder: Path, seed: str) -> Result:
    return run(folder, processes, seed)


def run(trial: Trial, seed: int) -> Result:
    """Run one trial in a directory of its own, gone afterwards unless something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="soak-spend-"))
    result = trial.run(folder, f"{seed}:{trial.name}")
    if result.wrong:
        print(f"  WRONG {trial.name} (kept: {folder})", *(f"    {line}" for line in result.wrong), sep="\n", flush=True)
    else:
        common.remove(folder)
    return result


def hunt(mutant: str, seed: int) -> tuple[int, str]:
    """Trials with one bug inside until the provider billed too much: how many it took (0: never), and what was seen."""
    for number in range(1, _MUTANT_TRIALS + 1):
        folder = Path(tempfile.mkdtemp(prefix="soak-spend-"))
        trial = spend_trial.clean if number % 2 else spend_trial.rough
        result = trial(folder, 8, f"{seed}:{mutant}:{number}", mutant=mutant)
        common.remove(folder)
        if seen := [line for line in result.wrong if line.startswith("billed")]:
            return number, seen[0]
    return 0, "nothing"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.spend", description=__doc__)
    parser.add_argument("--trials", type=int, default=FULL, help="trials of each kind and size")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--only", default=",".join(KINDS), help=f"comma-separated, of {', '.join(KINDS)}")
    parser.add_argument("--processes", default=",".join(map(str, PROCESSES)), help="comma-separated, of 1, 8, 32")
    parser.add_argument("--drivers", choices=("mixed", "light", "real"), default="mixed", help="which drivers to use")
    parser.add_argument("--evidence", type=Path, help=f"where results go (a full run: {EVIDENCE})")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it all; 0 when every promise held and every mutant was seen."""
    options = arguments(argv)
    only = tuple(options.only.split(","))
    processes = tuple(int(one) for one in options.processes.split(","))
    seed: int = options.seed
    began = time.monotonic()
    print(f"seed {seed}, {options.trials} trials of each kind and size", flush=True)
    results: list[Result] = []
    for trial in planned(options.trials, only, processes, options.drivers):
        results.append(result := run(trial, seed))
        print(f"  {trial.name:14} {result.drivers:11} {result.requests:4} requests, {result.kills:2} kills, "
              f"billed {result.billed / result.limit:6.1%} of the limit, {result.seconds:5.1f} s", flush=True)  # fmt: skip
    caught = {name: hunt(name, seed) for name in MUTANTS} if "mutants" in only else {}
    for name, (number, seen) in caught.items():
        print(f"  mutant {name}: {f'seen in trial {number}: {seen}' if number else 'NOT SEEN'}", flush=True)
    report = Report(seed, options.trials, round(time.monotonic() - began), tuple(results), caught)
    print(report.table())
    if (target := options.evidence) is None and options == arguments(["--seed", str(seed)]):
        target = EVIDENCE
    if target is not None:
        report.write(target)
    return 0 if report.green else 1


@dataclass(frozen=True, slots=True)
class Report:
    """What a whole run came to."""

    seed: int
    trials: int
    seconds: int
    results: tuple[Result, ...]
    caught: dict[str, tuple[int, str]]

    @property
    def green(self) -> bool:
        return not any(result.wrong for result in self.results) and all(number for number, _ in self.caught.values())

    def table(self) -> str:
        """One line for each kind, driver and size."""
        lines = [
            "| trials of | driver | processes | trials | requests | kills | most billed of the limit | least | wrong |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        groups: dict[tuple[str, str, int], list[Result]] = {}
        for result in self.results:
            groups.setdefault((result.kind, result.drivers, result.processes), []).append(result)
        for (kind, drivers, processes), group in groups.items():
            shares = [result.billed / result.limit for result in group]
            requests, kills = sum(one.requests for one in group), sum(one.kills for one in group)
            wrong = sum(bool(one.wrong) for one in group)
            lines.append(
                f"| {kind} | {drivers} | {processes} | {len(group)} | {requests} | {kills}"
                f" | {max(shares):.2%} | {min(shares):.2%} | {wrong} |"
            )
        lines += ["", *(f"- Bug put in on purpose, {name}: {f'seen in trial {number} ({seen})' if number else 'not seen'}"
                        for name, (number, seen) in self.caught.items())]  # fmt: skip
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Leave the evidence: every trial as JSON, and a page to read."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "commit": _commit(),
            "seed": self.seed,
            "trials": self.trials,
            "seconds": self.seconds,
            "green": self.green,
            "mutants": {name: {"seen_in_trial": number, "seen": seen} for name, (number, seen) in self.caught.items()},
            "results": [asdict(result) for result in self.results],
        }
        (folder / "spend.json").write_text(json.dumps(facts, indent=1) + "\n")
        when = time.strftime("%Y-%m-%d", time.gmtime())
        command = f"python -m tests.soak.spend --trials {self.trials} --seed {self.seed}"
        (folder / "spend.md").write_text(
            f"# Never overspends: the last full run\n\n{when}, commit {_commit()}, `{command}`, {self.seconds} s,"
            f" {'every promise held' if self.green else 'RED'}. What the trials do stands in `tests/soak/spend.py`;"
            f" each one's figures are in `spend.json`.\n\n{self.table()}\n"
        )


def _commit() -> str:
    """The commit that was tried, `+` where files differ from it; empty outside a repository."""
    argv = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(argv, cwd=EVIDENCE.parents[1], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
