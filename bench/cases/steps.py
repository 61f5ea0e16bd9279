"""What a step costs: CPU at the start and at the end, wall time, memory. Every contender at every size."""

from __future__ import annotations

from collections.abc import Sequence

from bench import lineup
from bench.lineup import Contender
from bench.measure import Run, Server, around, median, run, scratch

LIGHT_ONLY_ABOVE = 400
MARKS = (20, 100, 400, 2000)


def measured(
    server: Server, contenders: Sequence[Contender], sizes: Sequence[int], *, full: bool, say
) -> list[dict[str, object]]:
    """One round: a row for each contender and size. Those whose every call walks everything stop at 400 steps."""
    rows = []
    for size in sizes:
        for contender in contenders:
            if contender.quadratic and size > LIGHT_ONLY_ABOVE and not full:
                continue
            if contender.peer and not lineup.peers_installed():
                continue
            with scratch() as folder:
                rows.append(row(run(server, contender, size, folder)))
            say(f"{contender.name}, {size} steps: {rows[-1]['start']:.2f} -> {rows[-1]['end']:.2f} ms")
    return rows


def row(one: Run) -> dict[str, object]:
    """The figures of one run."""
    cpu, wall = one.step_cpu_ms(), one.step_wall_ms()
    return {
        "contender": one.contender,
        "steps": one.steps,
        "start": around(cpu, min(20, one.steps // 2)),
        "end": around(cpu, one.steps),
        "at": {str(mark): around(cpu, mark) for mark in MARKS if mark <= one.steps},
        "wall": median(wall),
        "wall_end": around(wall, one.steps),
        "peak_mb": one.peak_mb,
        "first_ms": one.first_ms,
        "first_cpu_ms": one.first_cpu_ms,
        "cpu_s": one.cpu_total / 1e9,
        "wall_s": one.wall_s,
    }
