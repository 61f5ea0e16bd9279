"""The loop: decide, perform, record, until the run stands still."""

from __future__ import annotations

from runner.decide import decide
from runner.loop.perform import perform
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Recorder
from runner.values import StopReason

__all__ = ["World", "run"]


def run(recorder: Recorder, policy: Policy, world: World) -> StopReason:
    """Drive a run to its end. Call it again after a crash and it carries on."""
    while (stop := recorder.state.stopped) is None:
        perform(decide(recorder.state, policy, world.clock.now()), policy, world, recorder)
    return stop
