"""What is written for each step: bytes and fsyncs, seen by strace; the size of the log.

The figures are differences between runs of different length, so what a start or an end costs is in none of them.
Counting does not depend on how busy the machine is: the first round is enough.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bench import lineup
from bench.case import Bench, Line, Promise, Round, middle
from bench.lineup import HTTPX, MINI, OPENAI, RUNNER, STILL, Contender
from bench.measure import run, scratch

ABOUT = "bytes written and fsyncs per step (needs strace)"
TRACED = "fsync,fdatasync,sync_file_range,write,pwrite64,writev"
CALL = re.compile(r"^(\d+) +(?:(\w+)\((?:\d+<([^>]*)>)?|<\.\.\. (\w+) resumed>)(.*)$")
RESULT = re.compile(r"= (\d+)$")
SYNCS = {"fsync", "fdatasync", "sync_file_range"}


def measure(bench: Bench) -> Round:
    """A row for each contender and pair of sizes; none without strace or after the first round."""
    if bench.round:
        return []
    if shutil.which("strace") is None:
        bench.say("  strace is not installed: the bytes and fsyncs stay empty")
        return []
    rows = []
    for contender in (RUNNER, HTTPX) if bench.quick else (RUNNER, STILL, HTTPX, OPENAI, MINI):
        if contender.peer and not lineup.peers_installed():
            continue
        small = (4, 8) if bench.tiny else (20, 100, *((400,) if contender is RUNNER and not bench.quick else ()))
        seen = [(size, *counted(bench, contender, size)) for size in small]
        for (few, *before), (many, *after) in pairwise(seen):
            each = [(late - early) / (many - few) for early, late in zip(before, after, strict=True)]
            rows.append(
                {
                    "name": f"{contender.name} @{many}",
                    "contender": contender.name,
                    "from": few,
                    "steps": many,
                    "written": each[0],
                    "fsyncs": each[1],
                    "log": each[2],
                }
            )
            bench.say(
                f"  {contender.name}, steps {few} to {many}: {each[0]:.0f} B, {each[1]:.2f} fsyncs, log {each[2]:.0f} B"
            )
    return rows


def counted(bench: Bench, contender: Contender, steps: int) -> tuple[int, int, int]:
    """Bytes written to files, fsyncs, and the size of the log of a whole run, its children included."""
    with scratch() as folder:
        trace = folder / "trace.txt"
        watched = replace(
            contender,
            argv=lambda steps, folder: [
                *(
                    "strace",
                    "-f",
                    "-y",
                    "-qq",
                    "-s",
                    "0",
                    "--seccomp-bpf",
                    "-e",
                    f"trace={TRACED}",
                    "-e",
                    "signal=none",
                ),
                *("-o", str(trace), *contender.argv(steps, folder)),
            ],
        )
        run(bench.server, watched, steps, folder)
        written, fsyncs = read(trace, folder)
        logs = [*folder.glob("state/runs/*/log.jsonl"), *folder.glob("trajectory.json")]
        return written, fsyncs, sum(path.stat().st_size for path in logs)


def read(trace: Path, folder: Path) -> tuple[int, int]:
    """Sum up a trace: bytes written to regular files below `folder`, what the step itself writes aside; fsyncs."""
    written = fsyncs = 0
    under_way: dict[str, str] = {}
    own = {str(folder / "output.txt"), str(folder / "workspace" / "f"), str(folder / "f")}
    for line in trace.read_text(errors="replace").splitlines():
        if (call := CALL.match(line)) is None:
            continue
        thread, name, path, resumed, rest = call.groups()
        if name in SYNCS:
            fsyncs += 1
        if name is not None and rest.endswith("<unfinished ...>"):
            under_way[thread] = path or ""
            continue
        path = under_way.pop(thread, "") if resumed else path or ""
        if (name or resumed) in SYNCS or not path.startswith(str(folder)) or path in own:
            continue
        if (result := RESULT.search(rest)) is not None:
            written += int(result[1])
    return written, fsyncs


def lines(rounds: Sequence[Round]) -> list[Line]:
    rows = [row for one in rounds for row in one if row["log"]]
    return [
        Line(f"log of {row['contender']}, each of steps {row['from'] + 1} to {row['steps']}", row["log"], "B")
        for row in rows
    ]


def promises(rounds: Sequence[Round]) -> list[Promise]:
    """O(1): what steps 101 to 400 write, each, beside what steps 21 to 100 wrote."""
    rows = {row["steps"]: row for one in rounds for row in one if row["contender"] == RUNNER.name}
    early, late = rows.get(100), rows.get(400)
    grown = {
        figure: late[figure] / early[figure] if early and late else None for figure in ("log", "written", "fsyncs")
    }
    return [
        Promise("log bytes per step, steps 101-400 of those of 21-100", 1.1, middle([grown["log"]])),
        Promise("bytes written per step, steps 101-400 of those of 21-100", 1.1, middle([grown["written"]])),
        Promise("fsyncs per step, steps 101-400 of those of 21-100", 1.1, middle([grown["fsyncs"]])),
    ]
