"""`perform`: the only impure part. It proposes facts and acts on what came back.

One function per command; each is a few lines of "write it down, then do it". A model call's way:
`CallModel` → `record(DispatchCall)` holds its worst case on disk → `Model.complete` sends it → `record(CallSettled)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from runner.agent.prompt import NOTE_CAP, SYSTEM, opening
from runner.checks import setup_inputs
from runner.decide import (
    AskApproval,
    CallModel,
    CloseApproval,
    CloseCall,
    Command,
    CompareWorkspace,
    CountInput,
    FinishIteration,
    MakeCheckpoint,
    RecoverTool,
    RemindApproval,
    RunChecks,
    RunSetup,
    RunTool,
    StartIteration,
    Stop,
    SwitchModel,
    WaitForHolds,
    WaitUntil,
)
from runner.events.facts import (
    ApprovalDecided,
    ApprovalReminded,
    CallUnknown,
    HoldsWaited,
    IterationFinished,
    IterationStarted,
    ModelSwitched,
    ProtectedAccepted,
    RunStopped,
    SpecBodyChanged,
)
from runner.loop import approving, calls, tooling, trees
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Recorder
from runner.values import Ms, NanoUsd

_WHY = {
    "steps": "at its limit of steps",
    "handoff": "because its conversation had become too dear to go on with",
    "context": "because its conversation had become too long for the model",
    "refused": "because the model would not go on",
}
_SLICE_S = 0.2
_HOLDS_SLICE_S = 0.05


def perform(command: Command, policy: Policy, world: World, recorder: Recorder) -> None:
    """Carry out one command. What it did is in the journal when it returns."""
    match command:
        case CallModel(call=call):
            calls.call_model(call, policy, world, recorder)
        case CountInput(call=call):
            calls.count_input(call, policy, world, recorder)
        case SwitchModel(engine=number, reason=why):
            recorder.record(ModelSwitched(model=world.engines[number].name, engine=number, reason=why))
        case RunTool(call=tool):
            tooling.run_tool(tool, policy, world, recorder)
        case AskApproval(approval=name):
            approving.ask(name, world, recorder)
        case RemindApproval(approval=name):
            recorder.record(ApprovalReminded(approval=name))
        case CloseApproval():
            recorder.record(_closed(command))
        case MakeCheckpoint(reason=reason):
            trees.checkpoint(reason, world.workspace, recorder)
        case StartIteration():
            _start_iteration(policy, world, recorder)
        case FinishIteration(ending=ending):
            _finish_iteration(ending, world, recorder)
        case RunChecks():
            trees.run_checks(world, recorder)
        case WaitUntil(until=until):
            _wait(until, world, recorder)
        case WaitForHolds(need=need, until=until):
            _wait_for_holds(need, until, world, recorder)
        case RunSetup():
            _set_up(world, recorder)
        case CloseCall(sent=sent):
            recorder.record(CallUnknown(call=sent.call, reason="the driver died during the call", retry_after_ms=0))
        case RecoverTool(started=started):
            tooling.recover(started, world, recorder)
        case CompareWorkspace():
            trees.compare(world, recorder)
        case Stop(reason=why):
            if recorder.state.background:
                _end_tools(world, recorder)
                trees.checkpoint("background commands ended", world.workspace, recorder)
            recorder.record(
                RunStopped(
                    kind=why.kind, rule=why.rule, detail=why.detail, verified=why.verified, resume_at=why.resume_at or 0
                )
            )
        case _:
            assert_never(command)


def _closed(command: CloseApproval) -> ApprovalDecided:
    return ApprovalDecided(
        approval=command.approval,
        outcome=command.outcome,
        why=command.why,
        approver=command.approver,
        arguments=command.arguments,
    )


def _set_up(world: World, recorder: Recorder) -> None:
    """Run the setup. One that a stop ended has not failed: it runs again."""
    finished = world.setup(recorder.interrupt)
    if recorder.interrupt.fired and not finished.ok:
        recorder.drain()
        return
    # as setup leaves them: one that writes its own inputs does not run for ever
    tree = world.workspace.snapshot().tree if world.spec.setup_inputs else ""
    recorder.record(replace(finished, inputs=setup_inputs(world.spec, world.workspace, tree)))


def _start_iteration(policy: Policy, world: World, recorder: Recorder) -> None:
    trees.attribute("other", world, recorder)
    before, now = recorder.state.setup, recorder.state.checkpoint
    if before is not None and now is not None and setup_inputs(world.spec, world.workspace, now.tree) != before.inputs:
        _set_up(world, recorder)
        return
    if (edited := world.texts.edited_spec(recorder.state)) is not None:
        # in this order: after a crash between the two the edit is found again
        change = recorder.state.protected.get(world.texts.spec_path)
        if change is not None:
            recorder.record(ProtectedAccepted(path=change.path, digest=change.digest))
        recorder.record(SpecBodyChanged(text=edited))
    state = recorder.state
    prompt = opening(state, policy, world.texts.brief(state))
    recorder.record(IterationStarted(iteration=state.iterations + 1, system=SYSTEM, prompt=prompt))


def _finish_iteration(ending: str, world: World, recorder: Recorder) -> None:
    left = _end_tools(world, recorder)
    iteration = recorder.state.iteration
    text = iteration.last_text if iteration else ""
    note = text[-NOTE_CAP:]
    if ending in _WHY:
        note += f"\n[The iteration ended {_WHY[ending]}.]"
    if left:
        note += f"\n[Background commands were ended: {', '.join(left)}]"
    claimed = ending == "answered" and world.texts.claims(text)
    recorder.record(
        IterationFinished(iteration=recorder.state.iterations, ending=ending, claimed=claimed, note=note.strip())
    )


def _end_tools(world: World, recorder: Recorder) -> tuple[str, ...]:
    """End background commands and name what they changed; names of those that were running."""
    left = world.tools.end_iteration()
    if recorder.state.background:
        trees.attribute("agent", world, recorder)
    return left


def _wait(until: Ms, world: World, recorder: Recorder) -> None:
    """Sleep in slices; somebody's word or a jump of the clock ends the wait, and `decide` is asked again."""
    while world.clock.now() < until and not recorder.has_news():
        if recorder.interrupt.wait(_SLICE_S):
            break
    recorder.drain()


def _wait_for_holds(need: NanoUsd, until: Ms, world: World, recorder: Recorder) -> None:
    while not recorder.has_news():
        if recorder.room(need):
            recorder.record(HoldsWaited(room=True))
            return
        if world.clock.now() >= until:
            recorder.record(HoldsWaited(room=False))
            return
        recorder.interrupt.wait(_HOLDS_SLICE_S)
    recorder.drain()
