"""When what happened in a run, read from its log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.measure import NotMeasuredError


@dataclass(frozen=True)
class Noted:
    """One event: its kind, and when it was recorded, ms since 1970."""

    kind: str
    at: float


def noted(state: Path) -> list[Noted]:
    """The events of the only run below a state directory, so far."""
    logs = list(state.glob("runs/*/log.jsonl"))
    if not logs:
        return []
    whole = logs[0].read_bytes().rpartition(b"\n")[0]
    lines = (json.loads(line) for line in whole.splitlines())
    return [Noted(line["kind"], datetime.fromisoformat(line["at"]).timestamp() * 1000) for line in lines]


def wait_for(state: Path, kind: str, count: int, alive: Callable[[], bool], timeout_s: float = 60) -> Noted:
    """Wait until the run has so many events of a kind; give the last. Raises NotMeasuredError when nobody drives it any more."""
    until = time.monotonic() + timeout_s
    while True:
        driven = alive()
        found = [one for one in noted(state) if one.kind == kind]
        if len(found) >= count:
            return found[count - 1]
        if not driven or time.monotonic() > until:
            raise NotMeasuredError(f"no {kind} number {count}: {[one.kind for one in noted(state)][-5:]}")
        time.sleep(0.01)
