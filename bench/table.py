"""The table: a row for each contender and size, then the other figures, then the promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.case import Case, Line, Promise, Round, middle
from bench.lineup import ALL, HTTPX, WALKS_ALL_UP_TO

NONE = "—"
HEAD = (
    "contender",
    "steps",
    "CPU/step at start",
    "at end",
    "grown",
    "of bare httpx",
    "wall/step",
    "peak memory",
    "written/step",
    "fsyncs/step",
)
BESIDE = ("what", "measured", "reference", "its", "ratio")


def contenders(results: Mapping[str, Sequence[Round]]) -> list[list[str]]:
    """The rows of the table; a dash where nothing was measured, no row where nothing was at all, nor left out by rule."""
    rows = []
    for size in sorted({row["steps"] for name in ("steps", "log") for one in results.get(name, []) for row in one}):
        for contender in ALL:
            name = f"{contender.name} @{size}"
            found = [row for one in results.get("steps", []) for row in one if row["name"] == name]
            wrote = [row for one in results.get("log", []) for row in one if row["name"] == name]
            if not found and not wrote and not (contender.quadratic and size > WALKS_ALL_UP_TO):
                continue
            rows.append(
                [
                    contender.name,
                    f"{size:,}",
                    _ms(middle([row["start"] for row in found])),
                    _ms(middle([row["end"] for row in found])),
                    _times(middle([row["end"] / row["start"] for row in found])),
                    _times(middle(_against_httpx(results, name, size))),
                    _ms(middle([row["wall"] for row in found])),
                    _shown(middle([row["peak_mb"] for row in found]), "{:.0f} MB"),
                    _shown(middle([row["written"] for row in wrote]), "{:,.0f} B"),
                    _shown(middle([row["fsyncs"] for row in wrote]), "{:.1f}"),
                ]
            )
    return rows


def _against_httpx(results: Mapping[str, Sequence[Round]], name: str, size: int) -> list[float | None]:
    """CPU at the end over that of the bare httpx loop, round by round."""
    ratios: list[float | None] = []
    for one in results.get("steps", []):
        ends = {row["name"]: row["end"] for row in one}
        base = ends.get(f"{HTTPX.name} @{size}")
        ratios.append(ends[name] / base if base and name in ends else None)
    return ratios


def others(lines: Sequence[Line]) -> list[list[str]]:
    return [
        [
            line.what,
            _amount(line.value, line.unit),
            line.reference or NONE,
            NONE if line.beside is None else _amount(line.beside, line.unit),
            _times(line.ratio),
        ]
        for line in lines
        if line.value is not None
    ]


def _amount(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _shown(value: float | None, form: str) -> str:
    return NONE if value is None else form.format(value)


def _ms(value: float | None) -> str:
    return _shown(value, "{:.2f} ms")


def _times(value: float | None) -> str:
    return _shown(value, "{:.2f} ×")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned table that reads the same in a terminal and on a page."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        shown = [
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(shown)} |"

    rule = "|".join("-" * (width + 2) if not at else "-" * (width + 1) + ":" for at, width in enumerate(widths))
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def whole(results: Mapping[str, Sequence[Round]], cases: Mapping[str, Case]) -> tuple[str, list[Promise]]:
    """Everything that was measured, as text, and the promises with their verdicts."""
    parts = []
    if "steps" in results or "log" in results:
        parts.append(markdown(HEAD, contenders(results)))
    lines = [line for name, rounds in results.items() if any(rounds) for line in cases[name].lines(rounds)]
    if lines:
        parts.append(markdown(BESIDE, others(lines)))
    promises = [promise for name, rounds in results.items() for promise in cases[name].promises(rounds)]
    parts.append("\n".join(map(str, promises)))
    return "\n\n".join(parts), promises
