"""The checks of the specs we ship are red before the work and green after it."""

import subprocess
from pathlib import Path

import pytest

from runner.spec.model import Spec
from runner.spec.parse import parse_spec
from runner.spec.starter import starter

SPECS = Path(__file__).resolve().parents[2] / "specs"

GREET = '# greet.sh [NAME]: greet somebody\necho "Hello, ${1:-World}!"\n'
PEAKS = "sort -k2,2nr -k1,1\n"


def read(text: str) -> Spec:
    return parse_spec(text, "spec.md", on_path=lambda program: program in {"sh", "printf"}, now=0)


def outcomes(spec: Spec, folder: Path) -> list[bool]:
    return [
        subprocess.run(check.argv, cwd=folder, check=False, capture_output=True, timeout=20).returncode == 0
        for check in spec.checks
    ]


@pytest.mark.parametrize(
    ("text", "name", "work"),
    [
        (starter(), "greet.sh", GREET),
        ((SPECS / "example-checks.md").read_text("utf-8"), "peaks.sh", PEAKS),
    ],
    ids=["starter", "example-checks"],
)
def test_checks_turn_from_red_to_green_by_the_work_alone(tmp_path: Path, text: str, name: str, work: str) -> None:
    spec = read(text)
    assert outcomes(spec, tmp_path) == [False] * len(spec.checks)
    (tmp_path / name).write_text(work, "utf-8")
    assert outcomes(spec, tmp_path) == [True] * len(spec.checks)
    (tmp_path / name).write_text("echo something else\n", "utf-8")
    assert not any(outcomes(spec, tmp_path))
