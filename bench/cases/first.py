"""From the start of a process to its first request, for a new run and for one that was killed in the middle."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import lineup
from bench.case import Bench, Line, Promise, Round, beside, middle, over, ratio
from bench.lineup import HTTPX, MINI, OPENAI, PLENTY, RUNNER, Contender, prepare
from bench.measure import NotMeasuredError, finish, launch, run, scratch, start

ABOUT = "time to first request, and from resume to first request"
REPEATS = 3
STEPS = 4
KILLED_AT = 10
RESUMED = "runner resume"


def measure(bench: Bench) -> Round:
    """One row for each contender: the medians of a few starts, alternating."""
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in range(1 if bench.tiny else 2 if bench.quick else REPEATS):
        for contender in (RUNNER, OPENAI, HTTPX, MINI):
            if contender is MINI and (turn or not lineup.peers_installed()):
                continue  # it takes seconds: once a round is enough
            with scratch() as folder:
                one = run(bench.server, contender, STEPS, folder)
            found.setdefault(contender.name, []).append((one.first_ms, one.first_cpu_ms))
        with scratch() as folder:
            found.setdefault(RESUMED, []).append(resumed(bench, RUNNER, folder))
    rows = [
        {"name": name, "ms": middle([wall for wall, _ in pairs]), "cpu_ms": middle([cpu for _, cpu in pairs])}
        for name, pairs in found.items()
    ]
    bench.say("  " + ", ".join(f"{row['name']} {row['ms']:.0f} ms" for row in rows))
    return rows


def resumed(bench: Bench, contender: Contender, folder: Path) -> tuple[float, float]:
    """Kill a run with a call in flight, go on with it, see it end. Start of `resume` to first byte, and its CPU; ms."""
    workspace = prepare(folder)
    steps = 2 * KILLED_AT
    key, process, _ = start(bench.server, contender, steps, folder, more={"hang_at": KILLED_AT})
    try:
        bench.server.wait(key, KILLED_AT + 1, process)
    finally:
        process.kill()
        process.wait()
    argv = [sys.executable, "-m", "runner", "resume", "last", "--prices", str(folder / "prices.toml")]
    begun, process = launch(bench.server, key, [*argv, "--max-cost", PLENTY], contender, folder)
    finish(process, folder, RESUMED)
    samples = bench.server.samples(key)
    turns = [sample.turns for sample in samples]
    if turns != [*range(KILLED_AT + 1), *range(KILLED_AT, steps + 1)]:
        raise NotMeasuredError(f"the resumed run did not go on where it was killed: {turns}")
    lines = (workspace / "f").read_text().split()[1::2]
    if lines != [str(number + 1) for number in range(steps)]:
        raise NotMeasuredError(f"a step was lost or done twice: {lines}")
    first = samples[KILLED_AT + 1]
    return (first.came - begun) / 1e6, first.cpu / 1e6


def lines(rounds: Sequence[Round]) -> list[Line]:
    return [
        beside(rounds, RUNNER.name, OPENAI.name, "ms", what="first request"),
        beside(rounds, RESUMED, OPENAI.name, "ms", what="resume after kill -9, to first request"),
        beside(rounds, RUNNER.name, OPENAI.name, "cpu_ms", what="first request, CPU"),
        beside(rounds, RESUMED, OPENAI.name, "cpu_ms", what="resume, to first request, CPU"),
        beside(rounds, HTTPX.name, OPENAI.name, "ms", what="first request of the bare httpx loop"),
        beside(rounds, MINI.name, OPENAI.name, "ms", what="first request of mini-swe-agent"),
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    return [
        Promise(
            "first request, of the bare openai SDK loop's",
            1.4,
            over(rounds, lambda one: ratio(one, RUNNER.name, OPENAI.name, "ms")),
        ),
        Promise(
            "resume to first request, of the bare openai SDK loop's",
            1.4,
            over(rounds, lambda one: ratio(one, RESUMED, OPENAI.name, "ms")),
        ),
    ]
