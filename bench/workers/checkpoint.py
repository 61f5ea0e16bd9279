"""One file changed, then kept: runner's checkpoint beside `git add -A && git commit -q` on the same tree.

`python -m bench.workers.checkpoint FOLDER FILES TIMES`: a process of its own, which holds the workspace open as the
loop does. Alternating; wall time and CPU (children included) of each, and of a look that finds nothing changed; JSON.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.lineup import commit
from runner.workspace.shadow import ShadowWorkspace

PER_FOLDER = 100
WHO = {f"GIT_{role}_{what}": "bench@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def plant(root: Path, files: int) -> None:
    """Make a repository of so many small source files, everything committed."""
    for number in range(files):
        path = root / f"package_{number // PER_FOLDER}" / f"module_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""Module {number}."""\n\n' + f"value = {number}\n" * 30)
    commit(root)


def change(root: Path, turn: int) -> None:
    with (root / "package_0" / "module_0.py").open("a") as file:
        file.write(f"changed = {turn}\n")


def cpu_s() -> float:
    """CPU of this process and of its children so far."""
    who = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in who)


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Wall time and CPU of one act, ms."""
    used, begun = cpu_s(), time.monotonic()
    act()
    return (time.monotonic() - begun) * 1000, (cpu_s() - used) * 1000


class Kept:
    """The workspace as a run holds it: locked, with its last checkpoint at hand."""

    def __init__(self, root: Path, state: Path) -> None:
        self.workspace = ShadowWorkspace(root, state)
        self.number, self.tree = 0, ""
        self.last: str | None = None

    def keep(self) -> None:
        """What the loop does after a step: look, and commit if the tree is another."""
        snapshot = self.workspace.snapshot()
        if snapshot.tree == self.tree:
            return
        self.last = self.workspace.commit(
            snapshot, run="bench", number=self.number, parent=self.last, at=time.time_ns() // 10**6, message="step"
        )
        self.number, self.tree = self.number + 1, snapshot.tree


def git(root: Path) -> None:
    for words in (["add", "-A"], ["commit", "-q", "-m", "step"]):
        subprocess.run(["git", *words], cwd=root, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **WHO})


def main(folder: Path, files: int, times: int) -> None:
    mine, plain = folder / "mine", folder / "plain"
    for root in (mine, plain):
        plant(root, files)
    kept = Kept(mine, folder / "state")
    found: dict[str, list[tuple[float, float]]] = {"first": [], "runner": [], "git": [], "unchanged": []}
    with kept.workspace.lock():
        kept.workspace.forget()
        found["first"].append(timed(kept.keep))
        for turn in range(-1, times):  # the first turn pays for what is loaded late, on both sides
            for name, root, act in (("runner", mine, kept.keep), ("git", plain, lambda: git(plain))):
                change(root, turn)
                found[name].append(timed(act))
            made = kept.number
            found["unchanged"].append(timed(kept.keep))
            if kept.number != made or made != turn + 3:
                raise SystemExit(f"{kept.number} checkpoints after {turn + 2} changes: not one for each change")
            if turn < 0:
                for name in ("runner", "git", "unchanged"):
                    found[name].clear()
    middle = {name: [statistics.median(part) for part in zip(*pairs, strict=True)] for name, pairs in found.items()}
    print(json.dumps({name: {"ms": wall, "cpu_ms": cpu} for name, (wall, cpu) in middle.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
