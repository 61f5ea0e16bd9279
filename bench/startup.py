"""CPU of `runner --help` beside an empty typer application, measured alternately in one go: `python -m bench.startup`.

Both are whole processes; what counts is the CPU time the kernel charged them (user and system), not the wall clock.
The empty application is the cheaper of its two kinds: it prints plain help, as runner does, and imports no rich.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

ROUNDS = 30
AT_MOST = 1.5

EMPTY = """
import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
@app.command()
def main() -> None:
    pass
app()
"""
COMMANDS = {
    "empty typer app": ["-c", EMPTY, "--help"],
    "runner --help": ["-m", "runner", "--help"],
    "runner runs": ["-m", "runner", "runs"],
    "runner show": ["-m", "runner", "show"],
}


def cpu_ms(arguments: list[str]) -> float:
    """Run one process and give its CPU time in milliseconds."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return (used.ru_utime + used.ru_stime) * 1000


def measured(rounds: int) -> dict[str, list[float]]:
    """The CPU times of each command; one of each before the second of any, so that noise hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        cpu_ms(arguments)  # byte code is written, files are read from the disk
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            found[name].append(cpu_ms(arguments))
    return found


def main() -> int:
    """Print the table; 1 if `--help` costs more than it may."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    found = {name: statistics.median(times) for name, times in measured(rounds).items()}
    base = found["empty typer app"]
    print(f"median CPU of {rounds} alternating runs, Python {sys.version.split()[0]}")
    for name, time in found.items():
        print(f"  {name:<16} {time:6.1f} ms  {time / base:5.2f} x")
    return int(found["runner --help"] > AT_MOST * base)


if __name__ == "__main__":
    sys.exit(main())
