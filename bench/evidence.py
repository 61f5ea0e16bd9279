"""What a run of the benchmark leaves behind: `docs/evidence/bench.md` and `bench.json`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.case import Promise, Round
from bench.lineup import PEERS, ROOT, peers_installed

EVIDENCE = ROOT / "docs" / "evidence"


def circumstances(rounds: int) -> dict[str, Any]:
    """When, of what, on what: without it the figures say nothing."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _said("git", "rev-parse", "--short=12", "HEAD"),
        "changed": bool(_said("git", "status", "--porcelain", "--", "runner")),
        "rounds": rounds,
        "machine": f"{os.cpu_count()} × {_processor()}, {platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "git": _said("git", "--version").rpartition(" ")[2],
        "versions": {name: metadata.version(name) for name in ("openai", "httpx")},
        "peers": _peers(),
    }


def _said(*argv: str) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _peers() -> dict[str, str]:
    if not peers_installed():
        return {}
    program = "import importlib.metadata as m; print(*[m.version(n) for n in ('mini-swe-agent', 'litellm', 'openai')])"
    found = _said(str(PEERS / "bin" / "python"), "-c", program).split()
    return dict(zip(("mini-swe-agent", "litellm", "openai"), found, strict=False))


def heading(about: Mapping[str, Any]) -> str:
    """The circumstances in two lines."""
    own = f"Python {about['python']}, git {about['git']}, {_listed(about['versions'])}"
    peers = f"; the peer's environment: {_listed(about['peers'])}" if about["peers"] else ""
    changed = ", with changes that are not committed" if about["changed"] else ""
    return (
        f"{about['date']}, commit {about['commit']}{changed}; rounds: {about['rounds']}, interleaved; {about['machine']}.\n"
        f"{own}{peers}."
    )


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {said}" for name, said in versions.items())


def write(
    about: Mapping[str, Any], text: str, promises: Sequence[Promise], results: Mapping[str, Sequence[Round]]
) -> None:
    """Write the page and the figures behind it."""
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    tables, _, verdicts = text.rpartition("\n\n")
    listed = "\n".join(f"- {line.removeprefix('promise: ')}" for line in verdicts.splitlines())
    page = f"""\
# `make bench`, last result

{heading(about)}

How it measures, and what the columns mean: [Benchmarks](../reference/benchmarks.md).

{tables}

## Promises

{listed}
"""
    (EVIDENCE / "bench.md").write_text(page)
    kept = {**about, "promises": [promise_of(one) for one in promises], "results": results}
    (EVIDENCE / "bench.json").write_text(json.dumps(rounded(kept), indent=1) + "\n")


def promise_of(promise: Promise) -> dict[str, object]:
    return {
        "text": promise.text,
        "limit": promise.limit,
        "unit": promise.unit,
        "measured": promise.measured,
        "holds": promise.holds,
    }


def rounded(value: object) -> object:
    """The same with figures of four digits: more would be noise."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [rounded(one) for one in value]
        case _:
            return value
