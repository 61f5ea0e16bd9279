"""What commands cost that only look or help: CPU of whole processes beside an empty typer application."""

from __future__ import annotations

from collections.abc import Sequence

from bench import startup
from bench.case import Bench, Line, Promise, Round, beside, middle, over, ratio

ABOUT = "CPU of --help and of commands that only look, beside an empty typer application"
EMPTY, HELP = "empty typer app", "runner --help"


def measure(bench: Bench) -> Round:
    found = startup.measured(1 if bench.tiny else 5 if bench.quick else 10)
    bench.say("  " + ", ".join(f"{name} {middle(times):.0f} ms" for name, times in found.items()))
    return [{"name": name, "cpu_ms": middle(times)} for name, times in found.items()]


def lines(rounds: Sequence[Round]) -> list[Line]:
    names = [name for name in startup.COMMANDS if name != EMPTY]
    return [beside(rounds, name, EMPTY, "cpu_ms", what=f"{name}, CPU") for name in names]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    measured = over(rounds, lambda one: ratio(one, HELP, EMPTY, "cpu_ms"))
    return [Promise("CPU of runner --help, of an empty typer application's", startup.AT_MOST, measured)]
