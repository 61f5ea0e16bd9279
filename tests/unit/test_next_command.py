"""The command that is named to a person whose run stopped does what they need."""

import pytest

from runner.app.look import resume_command
from runner.values import StopKind, StopReason

RUN = "20261122-090400-abcdef"


@pytest.mark.parametrize(
    ("kind", "rule", "flag"),
    [
        (StopKind.BUDGET, f"budget.usd of run:{RUN}", " --max-cost USD"),
        (StopKind.BUDGET, f"budget.tokens of run:{RUN}", " --max-tokens N"),
        (StopKind.BUDGET, "budget.usd of project:app per day (2026-11-22 UTC)", ""),
        (StopKind.LIMIT, "budget.calls", " --max-calls N"),
        (StopKind.LIMIT, "budget.iterations", " --max-iterations N"),
        (StopKind.LIMIT, "budget.duration", " --max-duration TIME"),
        (StopKind.LIMIT, "budget.deadline", " --deadline WHEN"),
        (StopKind.STALLED, "stall.tree", ""),
    ],
)
def test_the_flag_named_raises_what_stopped_the_run(kind: StopKind, rule: str, flag: str) -> None:
    assert resume_command(RUN, StopReason(kind=kind, rule=rule)) == f"runner resume {RUN}{flag}"
