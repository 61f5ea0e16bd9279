"""Fold a journal, and parse it: `python -m bench.workers.fold STATE TIMES`. Alternating, CPU of each; JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runner.events.codec import decode
from runner.store import journal
from runner.store.database import Database


def cpu_ms(act: Callable[[], object]) -> float:
    begun = time.process_time()
    act()
    return (time.process_time() - begun) * 1000


def main(state: Path, times: int) -> None:
    database = Database(state / "runner.db", read_only=True)
    run = journal.runs(database)[0].id
    rows = list(journal.rows(database, run))
    acts: dict[str, Callable[[], object]] = {
        "parse": lambda: [decode(row.kind, row.body) for row in rows],
        "fold": lambda: journal.fold(run, iter(rows)),
        "read": lambda: sum(1 for _ in journal.rows(database, run)),
    }
    found: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(-1, times):
        for name, act in acts.items():
            used = cpu_ms(act)
            if turn >= 0:
                found[name].append(used)
    folded = journal.fold(run, iter(rows))
    if folded.seq != rows[-1].seq:
        raise SystemExit(f"folded up to {folded.seq} of {rows[-1].seq}")
    print(json.dumps({"events": len(rows), **{name: statistics.median(times) for name, times in found.items()}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
