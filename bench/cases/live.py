"""What the live view costs: the CPU of a run on a terminal, beside that of the same run with plain lines.

Both run at the same time, so that whatever else the machine does meets both alike: the difference looked for is small.
The terminal is a pty of 100 by 30, drained as fast as it is written; for plain lines the same with `--plain`. CPU of
runner's own threads from the first request to the last, children aside.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.case import Bench, Line, Promise, Round, beside, named, over, ratio
from bench.lineup import RUNNER, prepare
from bench.measure import NotMeasuredError, check, finish, scratch

ABOUT = "CPU of a run with the live view beside plain lines"
STEPS = 2_000
QUICK_STEPS = 400
COLUMNS, ROWS = 100, 30
LIVE, PLAIN = "live view", "plain lines"


def measure(bench: Bench) -> Round:
    steps = min(QUICK_STEPS if bench.quick else STEPS, max(bench.sizes))
    order = [LIVE, PLAIN]
    if bench.round % 2:
        order.reverse()
    with ThreadPoolExecutor(len(order)) as pool:
        runs = [pool.submit(watched, bench, name, steps) for name in order]
        rows = [{"name": name, "steps": steps, **run.result()} for name, run in zip(order, runs, strict=True)]
    bench.say("  " + ", ".join(f"{row['name']} {row['cpu_ms']:.0f} ms, {row['shown']} bytes shown" for row in rows))
    return rows


def watched(bench: Bench, how: str, steps: int) -> dict[str, float]:
    """One run whose output is drained; its CPU between first and last request and as a whole, ms."""
    with scratch() as folder:
        workspace = prepare(folder)
        key = bench.server.add(steps, **RUNNER.scenario)
        reading, writing = terminal()
        shown = Drain(reading)
        argv = [*RUNNER.argv(steps, folder), *(["--plain"] if how == PLAIN else [])]
        environ = {**RUNNER.environment(bench.server.url(key), folder), "TERM": "xterm-256color"}
        process = subprocess.Popen(
            argv,
            cwd=workspace,
            env=environ,
            stdin=writing,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
        os.close(writing)
        bench.server.set(key, pid=process.pid)
        try:
            whole = finish(process, folder, how) / 1e6
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{error}\n{shown.tail.decode(errors='replace')}") from error
        shown.join()
        samples = bench.server.samples(key)
        check(RUNNER, steps, samples, workspace)
        return {"cpu_ms": (samples[-1].cpu - samples[0].cpu) / 1e6, "whole_cpu_ms": whole, "shown": shown.bytes}


def terminal() -> tuple[int, int]:
    """A pty of the size a terminal has: the end to read, the end to be run on."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    return reading, writing


class Drain(threading.Thread):
    """Reads what a process shows, to its end."""

    def __init__(self, reading: int) -> None:
        super().__init__(daemon=True)
        self.reading, self.bytes, self.tail = reading, 0, b""
        self.start()

    def run(self) -> None:
        while True:
            try:
                data = os.read(self.reading, 65536)
            except OSError:  # so a pty says that nobody has its other end
                break
            if not data:
                break
            self.bytes += len(data)
            self.tail = (self.tail + data)[-2000:]
        os.close(self.reading)


def lines(rounds: Sequence[Round]) -> list[Line]:
    steps = int(over(rounds, lambda one: named(one, LIVE, "steps")) or 0)
    return [
        beside(rounds, LIVE, PLAIN, "cpu_ms", what=f"CPU of {steps:,} steps with the live view"),
        Line("shown by the live view", over(rounds, lambda one: named(one, LIVE, "shown")), "B"),
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    steps = int(over(rounds, lambda one: named(one, LIVE, "steps")) or STEPS)
    measured = over(rounds, lambda one: ratio(one, LIVE, PLAIN, "cpu_ms")) if steps >= QUICK_STEPS else None
    return [Promise(f"CPU of {steps:,} steps with the live view, of plain lines", 1.05, measured)]
