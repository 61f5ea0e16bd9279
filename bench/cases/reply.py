"""A reply of 4,000 tokens, each an event of its own: the step that reads it, beside the SDK alone."""

from __future__ import annotations

from collections.abc import Sequence

from bench.case import Bench, Line, Promise, Round, beside, middle, over, ratio
from bench.lineup import ANTHROPIC, ON_ANTHROPIC, OPENAI, RUNNER
from bench.measure import run, scratch

ABOUT = "a step whose reply is streamed in 4,000 tokens"
WORDS = 4_000
FEW_WORDS = 200
LONG_AT = 4
STEPS = 7
REPEATS = 3
PAIRS = ((RUNNER, OPENAI), (ON_ANTHROPIC, ANTHROPIC))


def measure(bench: Bench) -> Round:
    """A row for each contender: the CPU of the step with the long reply, the median of a few runs."""
    words = FEW_WORDS if bench.tiny else WORDS
    found: dict[str, list[float]] = {}
    for _ in range(1 if bench.tiny else REPEATS):
        for contender in (one for pair in PAIRS for one in pair):
            with scratch() as folder:
                one = run(bench.server, contender, STEPS, folder, more={"long_at": LONG_AT, "words": words})
            found.setdefault(contender.name, []).append(one.step_cpu_ms()[LONG_AT])
    rows = [{"name": name, "words": words, "cpu_ms": middle(each)} for name, each in found.items()]
    bench.say("  " + ", ".join(f"{row['name']} {row['cpu_ms']:.0f} ms" for row in rows))
    return rows


def lines(rounds: Sequence[Round]) -> list[Line]:
    return [
        beside(rounds, mine.name, its.name, "cpu_ms", what=f"CPU of a step with a long reply, {mine.name}")
        for mine, its in PAIRS
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    return [
        Promise(
            f"CPU of a step whose reply has 4,000 tokens, {mine.name}, of the bare {its.name} loop's",
            1.5,
            over(rounds, lambda one, a=mine.name, b=its.name: _whole(one, a, b)),
        )
        for mine, its in PAIRS
    ]


def _whole(one: Round, name: str, reference: str) -> float | None:
    """Only a reply of the full length says anything."""
    return ratio(one, name, reference, "cpu_ms") if all(row["words"] == WORDS for row in one) else None
