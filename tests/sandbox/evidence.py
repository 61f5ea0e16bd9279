"""`python -m tests.sandbox.evidence`: makes every attempt on every backend, and writes `docs/evidence/sandbox.*`."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from runner.sandbox import landlock
from runner.sandbox.gaps import open_here
from tests.sandbox import files, network, processes
from tests.sandbox.machine import ROOT, results
from tests.sandbox.scene import ATTEMPTS

EVIDENCE = ROOT / "docs" / "evidence"
COLUMNS = [(backend, root) for backend in ("none", "bubblewrap", "landlock") for root in (True, False)]
_WORDS = {True: "**out**", False: "held", None: "–"}


def main() -> int:
    """Make all attempts; 1 where something is not as documented."""
    assert all((files, network, processes))  # importing them enters their attempts
    found = {f"{backend}, {_user(root)}": results(backend, root=root) for backend, root in COLUMNS}
    wrong = [name for name, column in found.items() if _succeeded(column) != _documented(name, set(column))]
    about = {
        "at": datetime.now(UTC).date().isoformat(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "bubblewrap": _said("bwrap", "--version"),
        "landlock_abi": landlock.abi(),
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"),
        "attempts": len(ATTEMPTS),
        "wrong": wrong,
    }
    outcome = {name: {row: success for row, (success, _) in column.items()} for name, column in found.items()}
    (EVIDENCE / "sandbox.json").write_text(json.dumps({**about, "succeeded": outcome}, indent=1) + "\n", "utf-8")
    (EVIDENCE / "sandbox.md").write_text(_page(about, outcome), "utf-8")
    print(f"{len(ATTEMPTS)} attempts, {len(COLUMNS)} columns, not as documented: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


def _user(root: bool) -> str:
    return "root" if root else "ordinary user"


def _succeeded(column: Mapping[str, tuple[bool, str]]) -> set[str]:
    return {row for row, (success, _) in column.items() if success}


def _documented(name: str, rows: set[str]) -> set[str]:
    """What gets out by the documentation. Without walls that is all but what a keeper ends anyway."""
    backend, _, user = name.partition(", ")
    if backend == "none":
        return rows - {"outlive-command"}
    gaps = open_here(backend, own=user != "root", abi=landlock.abi())
    return rows & {row for gap in gaps for row in gap.rows}


def _said(*words: str) -> str:
    program = shutil.which(words[0])
    if program is None:
        return "not installed"
    return subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False).stdout.strip()


def _page(about: Mapping[str, object], outcome: Mapping[str, Mapping[str, bool]]) -> str:
    lines = [
        "# `make test-sandbox`, last result",
        "",
        "{at}, commit {commit}, Python {python}.".format_map(about),
        "Linux {kernel} ({machine}), {bubblewrap}, Landlock ABI {landlock_abi}.".format_map(about),
        "",
        "Each attempt is a program that tries to get out, started like any command of a model. **out**: it succeeded,",
        "judged from outside. `none` shows that the attempts are real. Behind Landlock root's commands run as",
        "`sandbox.run_as`. –: this user cannot make the attempt at all.",
        "",
        "| attempt | " + " | ".join(outcome) + " |",
        "|---" * (len(outcome) + 1) + "|",
    ]
    for name, one in ATTEMPTS.items():
        words = [_WORDS[column.get(name)] for column in outcome.values()]
        lines.append(f"| {one.what} (`{name}`) | {' | '.join(words)} |")
    totals = [f"{sum(column.values())} of {len(column)}" for column in outcome.values()]
    lines += [f"| **succeeded** | {' | '.join(totals)} |", ""]
    return "\n".join([*lines, f"Verdict: **{'red' if about['wrong'] else 'green'}**.", ""])


if __name__ == "__main__":
    sys.exit(main())
