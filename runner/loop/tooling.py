"""One tool call: decided, prepared, written down, done, written down."""

from __future__ import annotations

import dataclasses
import time

from runner.events.facts import StartTool, ToolFinished, ToolRefused, ToolStarted
from runner.loop import approving, judging, trees
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Prepared, Recorder, ToolOutcome
from runner.values import Effect, Ruling, ToolCall


def run_tool(call: ToolCall, policy: Policy, world: World, recorder: Recorder) -> None:
    """Run one tool the model asked for; a call that is denied, not approved, or not sound, is answered, not run."""
    decision, approval = None, ""
    if world.judge is not None:
        judged = world.judge.decide(call)
        decision = judged.decision
        if decision.ruling is Ruling.DENY:
            judging.refuse(call, decision, recorder)
            return
        if decision.ruling is Ruling.ASK:
            if not (approval := approving.approved(judged, recorder.state)):
                approving.request(call, judged, policy, world, recorder)
                return
            decision = dataclasses.replace(decision, approver=recorder.state.approvals[approval].approver)
    prepared = world.tools.prepare(call)
    if isinstance(prepared, str):
        recorder.record(ToolRefused(call=call, reason=prepared))
        return
    try:
        if prepared.started.effect is not Effect.READS:
            trees.attribute("other", world, recorder)
        started = dataclasses.replace(prepared.started, decision=decision, approval=approval)
        answer = recorder.record(StartTool(started=started))
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
    recorder.record(_finished(started, outcome, time.monotonic() - began, approving.amended(started, recorder.state)))


def _finished(started: ToolStarted, outcome: ToolOutcome, seconds: float, note: str = "") -> ToolFinished:
    return ToolFinished(
        call_id=started.call.id,
        name=started.call.name,
        text=note + outcome.text,
        ok=outcome.ok,
        effect=started.effect,
        artefact=outcome.artefact,
        seconds=round(seconds, 3),
        interrupted=outcome.interrupted,
        left_behind=outcome.left_behind,
    )


def recover(started: ToolStarted, world: World, recorder: Recorder) -> None:
    """After a crash: what is left of the tool is ended; what is safe, and allowed now, runs again, the rest is told."""
    outcome = world.tools.recover(started)
    if outcome is None and started.approval:
        outcome = ToolOutcome(text=_USED_UP, ok=False, interrupted=True)
    if outcome is None:
        decision = None if world.judge is None else world.judge.decide(started.call).decision
        if decision is not None and decision.ruling is not Ruling.ALLOW:
            judging.refuse(started.call, decision, recorder)
            return
        prepared = world.tools.prepare(started.call)
        if isinstance(prepared, str):
            recorder.record(ToolRefused(call=started.call, reason=prepared))
            return
        outcome = prepared.act(recorder.interrupt)
    if started.effect is not Effect.READS:
        trees.attribute("agent", world, recorder)
    recorder.record(_finished(started, outcome, 0.0))


_USED_UP = "interrupted: runner was ended as this began, and its approval was for that one start. Look, then ask again."
