"""With a recording: process start to the first dispatch on record, beside an interpreter that imports what it needs.

Both are whole processes on the wall clock. The dispatch is the event of the run's log (a resolution of 1 ms). No key
is in the environment, as in `make demo`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.case import Bench, Line, Promise, Round, beside, middle, over, ratio
from bench.journal import noted, wait_for
from bench.lineup import PLENTY, RUNNER, prepare
from bench.measure import NotMeasuredError, scratch

ABOUT = "first dispatch with replay:, and on resume, beside the imports alone"
IMPORTS = "import typer, structlog, pydantic, ruamel.yaml"
REPEATS = 5
KILLED_AT = 4
NEVER_MS = 3_600_000
FRESH, RESUMED, REFERENCE = "replay", "replay, resumed", "imports"


def measure(bench: Bench) -> Round:
    found: dict[str, list[float]] = {REFERENCE: [], FRESH: [], RESUMED: []}
    for turn in range(0 if bench.tiny else -1, 1 if bench.tiny else 2 if bench.quick else REPEATS):
        with scratch() as folder:
            figures = one_of_each(folder)
        if turn >= 0:  # the first warms the files' cache and writes byte code
            for name, figure in figures.items():
                found[name].append(figure)
    rows = [{"name": name, "ms": middle(figures)} for name, figures in found.items()]
    bench.say("  " + ", ".join(f"{row['name']} {row['ms']:.0f} ms" for row in rows))
    return rows


def one_of_each(folder: Path) -> dict[str, float]:
    """The imports, a new run, and the same run gone on with after a kill -9 in its fourth call; ms."""
    workspace = prepare(folder)
    environ = RUNNER.environment("http://127.0.0.1:9", folder)
    del environ["OPENAI_API_KEY"], environ["OPENAI_BASE_URL"]
    begun = time.monotonic_ns()
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=workspace, env=environ, check=True)
    imports = (time.monotonic_ns() - begun) / 1e6
    recording(folder / "recording.jsonl")
    limits = ["--prices", str(folder / "prices.toml"), "--max-cost", PLENTY]
    fresh = [
        sys.executable,
        "-m",
        "runner",
        "loop",
        "spec.md",
        "--model",
        f"replay:{folder / 'recording.jsonl'}",
        *limits,
    ]
    again = [sys.executable, "-m", "runner", "resume", "last", *limits]
    first = dispatched(fresh, environ, folder, 1, KILLED_AT)
    resumed = dispatched(again, environ, folder, KILLED_AT + 1, KILLED_AT + 1)
    return {REFERENCE: imports, FRESH: first, RESUMED: resumed}


def recording(path: Path) -> None:
    """A model that asks for one command a step, and never answers the fourth request."""
    lines: list[dict[str, object]] = [{"recording": 1, "model": "openai/bench"}]
    for step in range(1, KILLED_AT + 1):
        tools = [{"name": "shell", "arguments": {"command": f"echo step {step} >> f"}}]
        delay = {"delay_ms": NEVER_MS} if step == KILLED_AT else {}
        lines.append({"step": step, "text": f"Step {step}.", "tools": tools, **delay})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def dispatched(argv: Sequence[str], environ: dict[str, str], folder: Path, number: int, until: int) -> float:
    """Start a process and kill it once dispatch `until` is on record; ms from its start to dispatch `number`."""
    state = folder / "state"
    with (folder / "output.txt").open("ab") as output:
        begun = time.time_ns() / 1e6
        process = subprocess.Popen(
            argv, cwd=folder / "workspace", env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_for(state, "CallDispatched", until, lambda: process.poll() is None)
    except NotMeasuredError as error:
        raise NotMeasuredError(f"{error}\n{(folder / 'output.txt').read_text()[-1500:]}") from error
    finally:
        process.kill()
        process.wait()
    times = [event.at for event in noted(state) if event.kind == "CallDispatched"]
    return times[number - 1] - begun


def lines(rounds: Sequence[Round]) -> list[Line]:
    return [
        beside(rounds, FRESH, REFERENCE, "ms", what="first dispatch with replay:"),
        beside(rounds, RESUMED, REFERENCE, "ms", what="first dispatch of a resumed replay:"),
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    return [
        Promise(f"first dispatch with replay:, of python -c '{IMPORTS}'", 2, over(rounds, _of(FRESH))),
        Promise("the same when resumed after kill -9", 2, over(rounds, _of(RESUMED))),
    ]


def _of(name: str):
    return lambda one: ratio(one, name, REFERENCE, "ms")
