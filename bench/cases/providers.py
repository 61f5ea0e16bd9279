"""What a step costs on every adapter, at its beginning and after 400 steps; and the first request, beside the same SDK."""

from __future__ import annotations

from collections.abc import Sequence

from bench.case import Bench, Line, Promise, Round, beside, middle, over, ratio
from bench.lineup import ANTHROPIC, LITELLM, ON_ANTHROPIC, ON_DESK, ON_LITELLM, OPENAI, RUNNER, Contender
from bench.measure import around, run, scratch

ABOUT = "CPU per step on each adapter, and the first request"
STEPS = 400
QUICK_STEPS = 100
REPEATS = 3
FEW = 4
GROWING = (RUNNER, ON_DESK, ON_ANTHROPIC)
STARTING = (ON_ANTHROPIC, ANTHROPIC, ON_DESK, OPENAI)


def measure(bench: Bench) -> Round:
    """A row for each contender: CPU per step early and late, and the median of a few starts."""
    steps = max(bench.sizes) if bench.tiny else QUICK_STEPS if bench.quick else STEPS
    rows = {one.name: _long(bench, one, steps) for one in (*GROWING, ON_LITELLM, LITELLM)}
    starts: dict[str, list[tuple[float, float]]] = {}
    # where nothing is to be learned, those that have run need not start again
    starting = [one for one in STARTING if not (bench.tiny and one.name in rows)]
    for _ in range(1 if bench.tiny or bench.quick else REPEATS):
        for contender in starting:
            with scratch() as folder:
                one = run(bench.server, contender, FEW, folder)
            starts.setdefault(contender.name, []).append((one.first_ms, one.first_cpu_ms))
    for name, pairs in starts.items():
        first = {"first_ms": middle([ms for ms, _ in pairs]), "first_cpu_ms": middle([cpu for _, cpu in pairs])}
        rows[name] = {**rows.get(name, {"name": name, "early": None, "late": None, "steps": 0}), **first}
    return list(rows.values())


def _long(bench: Bench, contender: Contender, steps: int) -> dict:
    with scratch() as folder:
        one = run(bench.server, contender, steps, folder)
    cpu = one.step_cpu_ms()
    row = {
        "name": contender.name,
        "steps": steps,
        "early": around(cpu, min(20, steps // 2)),
        "late": around(cpu, steps),
        "first_ms": one.first_ms,
        "first_cpu_ms": one.first_cpu_ms,
    }
    bench.say(f"  {contender.name}, {steps} steps: {row['early']:.2f} -> {row['late']:.2f} ms a step")
    return row


def grown(one: Round, contender: Contender) -> float | None:
    """CPU of the last steps over that of step 20, where the run was long enough to tell."""
    row = next((row for row in one if row["name"] == contender.name), None)
    return row["late"] / row["early"] if row and row["steps"] >= STEPS and row["early"] else None


def _litellm(one: Round) -> float | None:
    row = next((row for row in one if row["name"] == LITELLM.name), None)
    return ratio(one, ON_LITELLM.name, LITELLM.name, "late") if row and row["steps"] >= QUICK_STEPS else None


def lines(rounds: Sequence[Round]) -> list[Line]:
    steps = max((row["steps"] for one in rounds for row in one), default=STEPS)
    return [
        *(
            Line(
                what=f"CPU per step at step {steps}, {contender.name}",
                value=over(rounds, lambda one, name=contender.name: _of(one, name, "late")),
                unit="ms",
                reference="at step 20",
                beside=over(rounds, lambda one, name=contender.name: _of(one, name, "early")),
                ratio=over(rounds, lambda one, who=contender: _ratio(one, who)),
            )
            for contender in GROWING
        ),
        beside(rounds, ON_LITELLM.name, LITELLM.name, "late", what=f"CPU per step at step {steps}, runner through litellm"),
        beside(rounds, ON_ANTHROPIC.name, ANTHROPIC.name, "first_ms", what="first request, anthropic"),
        beside(rounds, ON_DESK.name, OPENAI.name, "first_ms", what="first request, a compatible server"),
    ]  # fmt: skip


def _of(one: Round, name: str, figure: str) -> float | None:
    return next((row[figure] for row in one if row["name"] == name), None)


def _ratio(one: Round, contender: Contender) -> float | None:
    late, early = _of(one, contender.name, "late"), _of(one, contender.name, "early")
    return late / early if late and early else None


def promises(rounds: Sequence[Round]) -> list[Promise]:
    return [
        *(
            Promise(
                f"CPU per step at step 400, of that at step 20, {kind}",
                1.5,
                over(rounds, lambda one, who=contender: grown(one, who)),
            )
            for kind, contender in (("compatible", ON_DESK), ("anthropic", ON_ANTHROPIC))
        ),
        Promise("CPU per step through litellm, of bare litellm's", 1.2, over(rounds, _litellm)),
        Promise(
            "first request on anthropic, of the bare anthropic SDK loop's",
            1.4,
            over(rounds, lambda one: ratio(one, ON_ANTHROPIC.name, ANTHROPIC.name, "first_ms")),
        ),
    ]
