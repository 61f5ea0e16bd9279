"""What lies between two iterations: last reply of one to first request of the next, checks and checkpoint aside.

The server sees the whole gap. The run's log says when each event was recorded: from the event before a checkpoint
(or a look that found the tree unchanged) or a verdict to that event itself is time that is theirs. The times have a
resolution of 1 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from bench.case import Bench, Line, Promise, Round, middle, named, over
from bench.journal import Noted, noted
from bench.lineup import RUNNER, prepare
from bench.measure import NotMeasuredError, finish, scratch, start

ABOUT = "time between iterations"
ITERATIONS = 9
STEPS = 2
SPEC = """\
---
checks: ["false"]
stall: none
---
# Lines

Write one line after the other into the file f. It is never done.
"""
ASIDE = {"CheckpointMade", "TreeUnchanged", "ChecksFinished"}
AT_THE_LIMIT = 4


def measure(bench: Bench) -> Round:
    iterations = 3 if bench.tiny else ITERATIONS
    runner = replace(RUNNER, argv=lambda steps, folder: [*RUNNER.argv(steps, folder), "-n", str(iterations)])
    with scratch() as folder:
        prepare(folder, SPEC)
        key, process, _ = start(bench.server, runner, STEPS, folder, more={"word": "Not yet."})
        finish(process, folder, runner.name, expected=AT_THE_LIMIT)
        samples = bench.server.samples(key)
        aside = checks_and_checkpoints(noted(folder / "state"))
    each = STEPS + 1
    if len(samples) != each * iterations or len(aside) != iterations - 1:
        raise NotMeasuredError(f"{len(samples)} requests and {len(aside)} gaps in {iterations} iterations")
    whole = [(samples[at].came - samples[at - 1].sent) / 1e6 for at in range(each, len(samples), each)]
    cpu = [(samples[at].cpu - samples[at - 1].cpu) / 1e6 for at in range(each, len(samples), each)]
    rest = [all_of_it - theirs for all_of_it, theirs in zip(whole, aside, strict=True)]
    row = {"name": "gap", "whole": middle(whole), "aside": middle(aside), "rest": middle(rest), "cpu_ms": middle(cpu)}
    bench.say(f"  gap {row['whole']:.1f} ms, checks and checkpoints {row['aside']:.1f} ms of it")
    return [row]


def checks_and_checkpoints(events: Sequence[Noted]) -> list[float]:
    """For each gap between two iterations, the time of its checks and looks at the tree, ms."""
    found: list[float] = []
    theirs, fresh = 0.0, False
    iterations = 0
    for before, event in pairwise(events):
        match event.kind:
            case "CallSettled":
                theirs = 0.0
            case "IterationStarted":
                iterations += 1
                fresh = iterations > 1
            case "CallDispatched" if fresh:
                found.append(theirs)
                fresh = False
            case kind if kind in ASIDE:
                theirs += event.at - before.at
            case _:
                pass
    return found


def lines(rounds: Sequence[Round]) -> list[Line]:
    def figure(name: str) -> float | None:
        return over(rounds, lambda one: named(one, "gap", name))

    return [
        Line("between iterations, all", figure("whole"), "ms"),
        Line("between iterations, checks and checkpoint aside", figure("rest"), "ms"),
        Line("between iterations, runner's own CPU", figure("cpu_ms"), "ms"),
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    gap = over(rounds, lambda one: named(one, "gap", "rest"))
    return [Promise("between iterations, checks and checkpoint aside", 20, gap, unit="ms")]
