"""One tool call: prepared, written down, done, written down."""

from __future__ import annotations

import time

from runner.events.facts import StartTool, ToolFinished, ToolRefused, ToolStarted
from runner.loop import trees
from runner.loop.world import World
from runner.ports import Prepared, Recorder, ToolOutcome
from runner.values import Effect, ToolCall


def run_tool(call: ToolCall, world: World, recorder: Recorder) -> None:
    """Run one tool the model asked for; a call that is not sound is answered, not run."""
    prepared = world.tools.prepare(call)
    if isinstance(prepared, str):
        recorder.record(ToolRefused(call=call, reason=prepared))
        return
    try:
        if prepared.started.effect is not Effect.READS:
            trees.attribute("other", world, recorder)
        answer = recorder.record(StartTool(started=prepared.started))
    except BaseException:
        prepared.abandon()
        raise
    if isinstance(answer, ToolStarted):
        _act(answer, prepared, world, recorder)
    else:
        prepared.abandon()


def _act(started: ToolStarted, prepared: Prepared, world: World, recorder: Recorder) -> None:
    began = time.monotonic()
    outcome = prepared.act(recorder.interrupt)
    if started.effect is not Effect.READS:
        trees.attribute("agent", world, recorder)
    recorder.record(_finished(started, outcome, time.monotonic() - began))


def _finished(started: ToolStarted, outcome: ToolOutcome, seconds: float) -> ToolFinished:
    return ToolFinished(
        call_id=started.call.id,
        name=started.call.name,
        text=outcome.text,
        ok=outcome.ok,
        effect=started.effect,
        artefact=outcome.artefact,
        seconds=round(seconds, 3),
        interrupted=outcome.interrupted,
        left_behind=outcome.left_behind,
    )


def recover(started: ToolStarted, world: World, recorder: Recorder) -> None:
    """After a crash: what is left of the tool is ended; what is safe runs again, the rest is told as interrupted."""
    outcome = world.tools.recover(started)
    if outcome is None:
        prepared = world.tools.prepare(started.call)
        if isinstance(prepared, str):
            recorder.record(ToolRefused(call=started.call, reason=prepared))
            return
        outcome = prepared.act(recorder.interrupt)
    if started.effect is not Effect.READS:
        trees.attribute("agent", world, recorder)
    recorder.record(_finished(started, outcome, 0.0))
