"""What every case of the benchmark has: a name, a round that measures, lines and promises drawn from the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from bench.measure import Server

Round: TypeAlias = list[dict]
"""What one round of one case found: rows of plain values, as they stand in the JSON."""


@dataclass
class Bench:
    """What the cases share while the benchmark runs. `folder` outlives the rounds; `sizes` are numbers of steps."""

    server: Server
    folder: Path
    sizes: Sequence[int]
    quick: bool = False
    full: bool = False
    say: Callable[[str], None] = print
    who: Sequence[str] = ()
    round: int = 0
    journal: Path | None = None

    @property
    def tiny(self) -> bool:
        """Whether nothing is to be learned but that everything works."""
        return max(self.sizes) < 20


@dataclass(frozen=True)
class Line:
    """One figure that is no cost per step: what, how much (None: not measured), beside what, how many times that."""

    what: str
    value: float | None
    unit: str
    reference: str = ""
    beside: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Promise:
    """One number the project stands for. `measured` None: this run did not measure it."""

    text: str
    limit: float
    measured: float | None
    unit: str = "×"

    @property
    def holds(self) -> bool | None:
        return None if self.measured is None else self.measured <= self.limit

    def __str__(self) -> str:
        limit = f"promise: {self.text}: limit {self.limit:g} {self.unit}".rstrip()
        if self.measured is None:
            return f"{limit}, not measured"
        measured = f"{self.measured:.3g} {self.unit}".rstrip()
        return f"{limit}, measured {measured}, {'holds' if self.holds else 'DOES NOT HOLD'}"


class Case(Protocol):
    """A module of `bench.cases`."""

    ABOUT: str

    def measure(self, bench: Bench) -> Round: ...

    def lines(self, rounds: Sequence[Round]) -> list[Line]: ...

    def promises(self, rounds: Sequence[Round]) -> list[Promise]: ...


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what was measured; None when nothing was."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def over(rounds: Sequence[Round], pick: Callable[[Round], float | None]) -> float | None:
    """The median over the rounds of a figure picked from each."""
    return middle([pick(one) for one in rounds])


def named(one: Round, name: str, figure: str) -> float | None:
    """A figure of the row called `name`; None where the round has no such row."""
    return next((row[figure] for row in one if row["name"] == name), None)


def ratio(one: Round, name: str, reference: str, figure: str) -> float | None:
    """A figure of one row over the same figure of another, of the same round."""
    above, below = named(one, name, figure), named(one, reference, figure)
    return None if above is None or not below else above / below


def beside(rounds: Sequence[Round], name: str, reference: str, figure: str, *, what: str, unit: str = "ms") -> Line:
    """The line of a row and its reference."""
    return Line(
        what=what,
        value=over(rounds, lambda one: named(one, name, figure)),
        unit=unit,
        reference=reference,
        beside=over(rounds, lambda one: named(one, reference, figure)),
        ratio=over(rounds, lambda one: ratio(one, name, reference, figure)),
    )
