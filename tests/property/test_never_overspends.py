"""The overspend harness at a small size: real processes, one budget, faults, kill -9, and three bugs it must see."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "size",
    [
        ("--only", "rough,clean,tight", "--drivers", "light", "--trials", "1"),
        ("--only", "rough", "--drivers", "real", "--processes", "1", "--trials", "1"),
        ("--only", "tight", "--drivers", "real", "--trials", "1"),
    ],
    ids=["light-drivers", "runner-loop-killed", "runner-loop-under-a-tight-cap"],
)
def test_processes_that_share_a_budget_are_never_billed_above_it(size: tuple[str, ...]):
    soak(*size)


def test_a_late_check_a_missing_hold_and_a_refunded_loss_are_seen():
    said = soak("--only", "mutants", "--trials", "1")
    assert said.count("seen in trial") >= 3


def soak(*options: str) -> str:
    """Run the harness; it ends with 0 when every promise held and every bug was seen."""
    argv = [sys.executable, "-m", "tests.soak.spend", *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
