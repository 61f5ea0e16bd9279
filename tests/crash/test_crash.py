"""The soak's own code at a hundredth of its size: real processes, `kill -9`, and nothing lost. `make soak-crash`."""

import random
from pathlib import Path

import pytest

from tests.soak import crash, scenes, story
from tests.soak.cases import After, At, Case, Stage
from tests.soak.common import Machine


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    made = Stage(Machine.make(tmp_path_factory.mktemp("crash") / "machine", story.files()))
    made.reference = made.play(Case("reference", "reference", ()))
    assert made.reference.problems == []
    return made


def place(stage: Stage, kind: str, number: int) -> int:
    """Where the undisturbed run has its `number`-th event of a kind."""
    assert stage.reference is not None
    return [seq for seq, one in enumerate(stage.reference.kinds, start=1) if one == kind][number]


@pytest.mark.parametrize(
    ("how", "kind", "number"),
    [
        ("before", "CallSettled", 3),  # paid for, and nobody has written it down
        ("after", "ToolStarted", 4),  # a command at the door
        ("before", "CheckpointMade", 2),  # committed, and nobody has written it down
        ("before", "ChecksFinished", 1),
        ("torn", "TreeUnchanged", 0),  # a background command is at work, half a line in the log
    ],
)
def test_killed_at_a_boundary_it_ends_as_if_nothing_had_been(stage: Stage, how: str, kind: str, number: int) -> None:
    blow = At(how, place(stage, kind, number))
    result = stage.play(Case(f"{how}-{kind}", "boundary", (blow,)))
    assert result.problems == []
    assert result.kills == 1
    assert result.repaired == (how == "torn")


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_random_moment_it_ends_as_if_nothing_had_been(stage: Stage, seed: int) -> None:
    assert stage.reference is not None
    moment = random.Random(seed).uniform(0.3, 0.9) * stage.reference.seconds
    result = stage.play(Case(f"random-{seed}", "random", (After(round(moment, 3)),), worktree=seed == 1))
    assert result.problems == []


def test_killed_five_times_also_while_resuming_it_ends_as_if_nothing_had_been(stage: Stage) -> None:
    blows = (At("before", 24), At("after", 1), At("before", 2), At("torn", 12), At("before", 9))
    result = stage.play(Case("five", "five", blows))
    assert result.problems == []
    assert result.kills == 5


SOME = (
    "a late write",
    "a late write of a grandchild",
    "edited between checkpoint and event",
    "edited, and the resume killed before it keeps that",
    "a setup under way",
    "a torn log",
    "a command at the door",
)


@pytest.mark.parametrize("name", SOME)
def test_a_scene_of_its_own(tmp_path: Path, name: str) -> None:
    assert scenes.SCENES[name](tmp_path / "scene") == []


def test_the_soak_covers_both_sides_of_every_event() -> None:
    cases = crash.boundaries(3)
    assert {case.kills for case in cases} == {(At(how, n),) for how in ("before", "after") for n in (1, 2, 3)}


def test_a_failure_can_be_played_again_as_it_is_printed() -> None:
    case = Case("five-004", "again", (At("torn", 12), After(0.75), At("before", 2)), worktree=True)
    assert Case.parse(str(case)) == case


# ---- the harness itself: each of these bugs must be noticed ------------------------------------------------


def test_a_refund_of_a_call_nobody_heard_of_again_is_noticed(tmp_path: Path) -> None:
    stage = Stage(Machine.make(tmp_path / "machine", story.files()))
    stage.machine.seed_bug(
        "loop/perform.py",
        'recorder.record(CallUnknown(call=sent.call, reason="the driver died during the call", retry_after_ms=0))',
        "from runner.events.facts import CallReleased\n"
        '            recorder.record(CallReleased(call=sent.call, reason="", retry_after_ms=0))',
    )
    found = stage.play(Case("refund", "seeded", (At("before", 7),))).problems
    assert any("billed" in problem for problem in found), found


def test_a_counter_that_starts_anew_is_noticed(tmp_path: Path) -> None:
    stage = Stage(Machine.make(tmp_path / "machine", story.files()))
    stage.machine.seed_bug("state/fold.py", "epoch=event.epoch,", "epoch=event.epoch, steps=0,")
    found = stage.play(Case("reset", "seeded", (At("before", 40),))).problems
    assert any("summary" in problem for problem in found), found


def test_a_command_that_is_silently_run_again_is_noticed(tmp_path: Path) -> None:
    def prepare(machine: Machine) -> None:
        machine.seed_bug("tools/builtin.py", "return outcome_of_lost(ended)", "return None")

    found = scenes.late(tmp_path / "scene", scenes.LATE, prepare=prepare)
    assert "late was written" in found
