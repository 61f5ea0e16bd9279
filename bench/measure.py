"""Start a contender against the server, and read off what it cost."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from bench.lineup import BENCH, Contender, prepare
from bench.server import Sample, cpu_ns

WINDOW = 20
TIMEOUT_S = 1800


class NotMeasuredError(RuntimeError):
    """A contender that did not do its work: nothing may be concluded from its numbers."""


class Server:
    """The scripted server, as a process of its own while the `with` block runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(BENCH / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.port = int(self._out.readline())
        self._number = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._in.close()
        self._process.wait()

    def _order(self, do: str, **more: object):
        with self._lock:
            self._in.write(json.dumps({"do": do, **more}) + "\n")
            self._in.flush()
            return json.loads(self._out.readline())

    def add(self, steps: int, **scenario: object) -> str:
        """Begin a scenario; its key is the first part of the URL's path."""
        with self._lock:
            self._number += 1
            key = f"k{self._number}"
        self._order("add", key=key, steps=steps, **scenario)
        return key

    def url(self, key: str) -> str:
        return f"http://127.0.0.1:{self.port}/{key}"

    def set(self, key: str, **values: object) -> None:
        self._order("set", key=key, values=values)

    def samples(self, key: str) -> list[Sample]:
        return [Sample(**one) for one in self._order("samples", key=key)]

    def wait(self, key: str, requests: int, process: subprocess.Popen, timeout_s: float = 120) -> None:
        """Wait for so many requests. Raises NotMeasuredError when the client ends before."""
        until = time.monotonic() + timeout_s
        while self._order("count", key=key) < requests:
            if process.poll() is not None or time.monotonic() > until:
                raise NotMeasuredError(f"the client ended or hung before request {requests}")
            time.sleep(0.005)


@dataclass
class Run:
    """One run of one contender: where its files are, when it was started, what the server saw."""

    contender: str
    steps: int
    folder: Path
    begun: int
    samples: list[Sample]
    cpu_total: int
    wall_s: float

    def step_cpu_ms(self) -> list[float]:
        """CPU of each step, request to request."""
        cpu = [sample.cpu for sample in self.samples]
        return [(after - before) / 1e6 for before, after in pairwise(cpu)]

    def step_wall_ms(self) -> list[float]:
        """Wall time of each step: reply sent to next request read. The server's own time is left out."""
        return [(after.read - before.sent) / 1e6 for before, after in pairwise(self.samples)]

    def cpu_at(self, step: int) -> float:
        """CPU per step around a step, ms: the mean of the WINDOW steps around it, or of the last ones up to it."""
        return around(self.step_cpu_ms(), step)

    @property
    def peak_mb(self) -> float:
        return max(sample.peak_kb for sample in self.samples) / 1024

    @property
    def first_ms(self) -> float:
        """Process start to the first byte at the server."""
        return (self.samples[0].came - self.begun) / 1e6

    @property
    def first_cpu_ms(self) -> float:
        """CPU until the first request was sent."""
        return self.samples[0].cpu / 1e6


def around(values: Sequence[float], step: int) -> float:
    """Mean of the values of the WINDOW steps around `step` (the first step is 1; it pays for what is loaded late)."""
    window = min(WINDOW, max(4, len(values) // 2))
    last = min(len(values), step + window // 2)
    first = max(1, last - window)
    return statistics.fmean(values[first:last])


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


@contextmanager
def scratch() -> Generator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="runner-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(
    server: Server, contender: Contender, steps: int, folder: Path, *, more: Mapping[str, object] | None = None
) -> tuple[str, subprocess.Popen[bytes], int]:
    """Begin a run in a prepared folder: the scenario's key, the process, and when it was started."""
    key = server.add(steps, **{**contender.scenario, **(more or {})})
    begun, process = launch(server, key, contender.argv(steps, folder), contender, folder)
    return key, process, begun


def launch(
    server: Server, key: str, argv: Sequence[str], contender: Contender, folder: Path
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a process whose CPU the server samples; its output goes to a file, as under cron."""
    if contender.config:
        place = folder / "home" / ".config" / "runner" / "config.toml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(contender.config.format(url=server.url(key)))
    with (folder / "output.txt").open("ab") as output:
        begun = time.monotonic_ns()
        process = subprocess.Popen(
            argv,
            cwd=folder / "workspace",
            env=contender.environment(server.url(key), folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    server.set(key, pid=process.pid)
    return begun, process


def finish(process: subprocess.Popen[bytes], folder: Path, name: str, expected: int = 0) -> int:
    """Wait for the end; its whole CPU, children aside. Raises NotMeasuredError with its last words when it did not end well."""
    watchdog = threading.Timer(TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its clock can be read until it is reaped
        used = cpu_ns(process.pid)
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        watchdog.cancel()
    if code != expected:
        words = ""
        with suppress(OSError):
            words = (folder / "output.txt").read_text(errors="replace")[-1500:]
        raise NotMeasuredError(f"{name}: exit code {code}\n{words}")
    return used


def run(
    server: Server, contender: Contender, steps: int, folder: Path, *, more: Mapping[str, object] | None = None
) -> Run:
    """One whole run in a fresh folder; checked to have done every step."""
    workspace = prepare(folder)
    key, process, begun = start(server, contender, steps, folder, more=more)
    cpu = finish(process, folder, contender.name)
    wall = (time.monotonic_ns() - begun) / 1e9
    samples = server.samples(key)
    check(contender, steps, samples, workspace)
    return Run(contender.name, steps, folder, begun, samples, cpu, wall)


def check(contender: Contender, steps: int, samples: Sequence[Sample], workspace: Path) -> None:
    """Every step was asked for once, in order, and carried out once."""
    turns = [sample.turns for sample in samples]
    if turns != list(range(steps + 1)):
        raise NotMeasuredError(
            f"{contender.name}: asked {len(turns)} times for {steps} steps: {turns[:5]} … {turns[-5:]}"
        )
    file = (workspace / str(contender.scenario.get("command", "f")).rpartition(" ")[2]).resolve()
    lines = file.read_text().split()[1::2]
    if lines != [str(number + 1) for number in range(steps)]:
        raise NotMeasuredError(f"{contender.name}: {file.name} holds {len(lines)} lines instead of {steps}")
