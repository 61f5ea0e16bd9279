"""The command that is named to a person whose run stopped does what they need, as it stands."""

import time

import pytest

from runner.app.goon import resume_command
from runner.config.limits import FLAGS, limit_flag
from runner.events.facts import CallRefused
from runner.state import Money, State
from runner.values import NANO, CallId, Limits, StopKind, StopReason

RUN = "20261122-090400-abcdef"
NOW = 1_900_000_000_000
LIMITS = Limits(usd=3_800_000, tokens=9_000, calls=4, iterations=3, duration_s=5400, deadline=NOW)
STATE = State(at=NOW + 5, limits=LIMITS, iterations=3, money=Money(spent=2_000_000, tokens=4_000, calls=4))


def refused(need: int, unit: str) -> CallRefused:
    return CallRefused(
        call=CallId(iteration=3, step=1, attempt=1), scope=f"run:{RUN}", need=need, headroom=0, unit=unit
    )


@pytest.mark.parametrize(
    ("kind", "rule", "flag"),
    [
        (StopKind.BUDGET, f"budget.usd of run:{RUN}", " --max-cost 0.01"),
        (StopKind.BUDGET, f"budget.tokens of run:{RUN}", " --max-tokens 18000"),
        (StopKind.BUDGET, "budget.usd of project:app per day (2026-11-22 UTC)", ""),
        (StopKind.LIMIT, "budget.calls", " --max-calls 8"),
        (StopKind.LIMIT, "budget.iterations", " --max-iterations 28"),
        (StopKind.LIMIT, "budget.duration", " --max-duration 3h"),
        (StopKind.STALLED, "stall.tree", ""),
    ],
)
def test_the_flag_named_raises_what_stopped_the_run(kind: StopKind, rule: str, flag: str) -> None:
    assert resume_command(RUN, StopReason(kind=kind, rule=rule), STATE) == f"runner resume {RUN}{flag}"


@pytest.mark.parametrize(
    ("unit", "need", "flag"), [("usd", 5 * NANO, "--max-cost 5.01"), ("tokens", 20_000, "--max-tokens 24000")]
)
def test_the_next_call_fits_the_limit_named(unit: str, need: int, flag: str) -> None:
    state = State(at=NOW, limits=LIMITS, money=STATE.money, exhausted=refused(need, unit))
    stop = StopReason(kind=StopKind.BUDGET, rule=f"budget.{unit} of run:{RUN}")
    assert resume_command(RUN, stop, state).endswith(flag)


def test_a_deadline_is_named_a_day_later_as_its_flag_reads_it() -> None:
    stop = StopReason(kind=StopKind.LIMIT, rule="budget.deadline")
    *_, flag, text = resume_command(RUN, stop, STATE).split()
    assert flag == FLAGS["deadline"]
    minute = 60_000
    assert limit_flag("deadline", text, now=int(time.time() * 1000)) == (NOW + 5 + 86_400_000) // minute * minute
