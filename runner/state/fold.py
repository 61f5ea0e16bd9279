"""The fold of a run's facts. `evolve` applies one fact; it never decides and never fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias, assert_never

from msgspec.structs import replace

from runner.events.facts import (
    CheckpointMade,
    ChecksFinished,
    ClockJumped,
    Event,
    ItemTicked,
    IterationFinished,
    IterationStarted,
    LimitsSet,
    LogRepaired,
    PolicyPinned,
    ProtectedAccepted,
    ProtectedChanged,
    RolledBack,
    RunCreated,
    RunResumed,
    RunStopped,
    SetupFinished,
    SpecBodyChanged,
    StopAsked,
    ToolFinished,
    ToolRefused,
    ToolStarted,
    TreeUnchanged,
    Warned,
    WorkspaceChanged,
    WorkspaceCompared,
)
from runner.state.approvals import ApprovalFact, approval_fact, asked_anew, consumed, refused
from runner.state.calls import CallFact, call_fact, iteration_of
from runner.state.model import Iteration, Scored, State
from runner.values import Effect, Ms, StopReason

_NOTHING_DENIED: Mapping[str, int] = MappingProxyType({})
_NEW_DRIVER = (RunResumed, LogRepaired)


def evolve(state: State, event: Event, at: Ms, seq: int) -> State:
    """Apply one fact. Active time runs while a driver does: dead and parked time does not count."""
    # what lies before a new driver's first words is dead time, also after a crash that nobody wrote down
    alive = state.running and state.at and not isinstance(event, _NEW_DRIVER)
    now = max(state.at, at)
    active_ms = state.active_ms + now - state.at if alive else state.active_ms
    return _apply(replace(state, at=now, seq=seq, active_ms=active_ms), event)


def pass_over(state: State, seq: int) -> State:
    """Go past a stored event of a kind this version does not know."""
    return replace(state, seq=seq)


_RunFact: TypeAlias = (
    RunCreated | RunResumed | LimitsSet | SpecBodyChanged | Warned | SetupFinished | StopAsked | RunStopped
    | ClockJumped | LogRepaired | PolicyPinned
)  # fmt: skip
_ToolFact: TypeAlias = ToolStarted | ToolRefused | ToolFinished | ItemTicked
_TreeFact: TypeAlias = (
    CheckpointMade | TreeUnchanged | WorkspaceChanged | WorkspaceCompared | RolledBack | ProtectedChanged
    | ProtectedAccepted
)  # fmt: skip


def _apply(state: State, event: Event) -> State:
    # the frequent kinds first
    if isinstance(event, CallFact):
        return call_fact(state, event)
    if isinstance(event, _ToolFact):
        return _tool_fact(state, event)
    if isinstance(event, _TreeFact):
        return _tree_fact(state, event)
    if isinstance(event, _RunFact):
        return _run_fact(state, event)
    if isinstance(event, ApprovalFact):
        return approval_fact(state, event)
    return _iteration_fact(state, event)


def _run_fact(state: State, event: _RunFact) -> State:
    match event:
        case RunCreated():
            return replace(
                state,
                created=event,
                limits=event.limits,
                limit_sources=event.limit_sources,
                spec_text=event.spec_text,
                model=event.model,
                policy=event.policy,
            )
        case RunResumed():
            return replace(
                state,
                epoch=event.epoch,
                model=event.model or state.model,
                policy=event.policy or state.policy,
                engine=0,
                running=True,
                stopped=None,
                stop_asked=None,
                parked=None if event.now else _parked(state),
                excused=state.excused if state.stopped is None or state.stopped.is_open else len(state.scored),
                exhausted=None,
                must_compare=state.checkpoint is not None,
                background=(),
                setup=state.setup if state.setup is not None and state.setup.ok else None,
                progress_ms=state.active_ms,
                iteration=_fresh_start(state.iteration, now=event.now),
                approvals=asked_anew(state),
            )
        case LimitsSet():
            return replace(state, limits=event.limits, limit_sources=event.sources)
        case SpecBodyChanged():
            return replace(state, spec_text=event.text)
        case Warned():
            return replace(state, warned=state.warned | {event.topic})
        case SetupFinished():
            return replace(state, setup=event, dirty=True)
        case StopAsked():
            sooner = state.stop_asked is None or event.now
            return replace(state, stop_asked=event) if sooner else state
        case RunStopped():
            reason = StopReason(
                kind=event.kind,
                rule=event.rule,
                detail=event.detail,
                verified=event.verified,
                resume_at=event.resume_at or None,
            )
            # whoever stops a run ends its background commands and keeps what they did: later changes are not theirs
            acted = tuple(dataclasses.replace(one, background=False) for one in state.acted) if state.dirty else ()
            return replace(state, stopped=reason, running=False, acted=acted, background=())
        case ClockJumped():
            # a forward jump was counted as elapsed just now, though nobody worked
            return replace(state, active_ms=max(0, state.active_ms - max(0, event.by_ms)))
        case LogRepaired():
            return state
        case PolicyPinned():
            return replace(state, policy=event.policy, sandbox=event.sandbox or state.sandbox)
    assert_never(event)


def _parked(state: State) -> StopReason | None:
    """What the run was parked for until some time, also where a driver died since."""
    return state.parked if state.stopped is None or state.stopped.resume_at is None else state.stopped


def _fresh_start(iteration: Iteration | None, *, now: bool) -> Iteration | None:
    """A resume tries again what an earlier driver gave up on; every counter stays.

    So does the time a provider asked to wait for, unless somebody wants no more waiting: a command that comes around
    every few minutes must not ask it again each time.
    """
    if iteration is None:
        return None
    return replace(
        iteration,
        failed="",
        failures=0,
        refused=None,
        waiting_since=None,
        waited_out=False,
        busy_since=None,
        counted=None,
        retry_at=0 if now else iteration.retry_at,
    )


def _iteration_fact(state: State, event: IterationStarted | IterationFinished | ChecksFinished) -> State:
    match event:
        case IterationStarted():
            opened = Iteration(number=event.iteration, started_at=state.at)
            return replace(
                state,
                iteration=opened,
                iterations=state.iterations + 1,
                acted=(),
                background=(),
                denied=_NOTHING_DENIED,  # its context is fresh: what was denied is told anew
                repeats=0,
                refused_by="",
                progress_ms=state.active_ms,
            )
        case IterationFinished():
            closing = replace(iteration_of(state), finished=event, pending=())
            short = closing.refused if event.ending == "money" else None
            dirty = state.dirty or bool(state.background)
            return replace(state, iteration=closing, note=event.note, exhausted=short, dirty=dirty, background=())
        case ChecksFinished():
            finished = state.iteration.finished if state.iteration else None
            scored = Scored(
                iteration=event.iteration,
                score=event.score,
                tree=event.tree,
                failures=failure_signature(event),
                claimed=finished is not None and finished.claimed,
                unticked=event.unticked,
                tampered=event.tampered,
                foreign=event.foreign,
                checkpoint=state.checkpoint.number if state.checkpoint else 0,
                spent=state.money.spent + state.money.unknown,
            )
            best = state.best
            if scored.score is not None and (best is None or scored.score > (best.score or 0.0)):
                best = scored
            return replace(state, iteration=None, checks=event, scored=(*state.scored, scored), best=best)
    assert_never(event)


def failure_signature(event: ChecksFinished) -> str:
    """Name which checks failed and how, without timings; "" when none did."""
    failed = [one for one in event.results if one.score < 1.0]
    return "; ".join(f"{one.name}={one.exit_code}:{','.join(sorted(one.failures))}" for one in failed)


def _tool_fact(state: State, event: _ToolFact) -> State:
    match event:
        case ToolStarted():
            acts = event.effect is not Effect.READS
            return replace(
                consumed(state, event.approval) if event.approval else state,
                open_tools={**state.open_tools, event.call.id: event},
                dirty=state.dirty or acts,
                acted=(*state.acted, event) if acts else state.acted,
                background=(*state.background, event) if event.background else state.background,
            )
        case ToolRefused():
            return _tool_over(refused(state, event), event.call.id, event.reason)
        case ToolFinished():
            return replace(
                _tool_over(state, event.call_id, event.text), progress_ms=state.active_ms, repeats=0, refused_by=""
            )
        case ItemTicked():
            return replace(state, ticked=(*state.ticked, event.item))
    assert_never(event)


def _tool_over(state: State, call_id: str, said: str) -> State:
    iteration = iteration_of(state)
    first = next((index for index, call in enumerate(iteration.pending) if call.id == call_id), None)
    pending = iteration.pending if first is None else iteration.pending[:first] + iteration.pending[first + 1 :]
    still = {key: value for key, value in state.open_tools.items() if key != call_id}
    more = iteration.new_bytes + (len(said) if said.isascii() else len(said.encode("utf-8", "replace")))
    return replace(state, open_tools=still, iteration=replace(iteration, pending=pending, new_bytes=more))


def _tree_fact(state: State, event: _TreeFact) -> State:
    match event:
        case CheckpointMade():
            return replace(state, checkpoint=event, base=state.base or event, dirty=False, acted=state.background)
        case TreeUnchanged():
            return replace(state, dirty=False, acted=state.background)
        case WorkspaceCompared():
            differs = state.checkpoint is not None and event.tree != state.checkpoint.tree
            return replace(state, must_compare=False, dirty=state.dirty or differs)
        case WorkspaceChanged():
            shown = ", ".join(event.paths[:20])
            note = f"Somebody else changed the workspace meanwhile: {shown}" if event.paths else state.note
            return replace(
                state,
                must_compare=False,
                iteration=None,
                open_tools={},
                note=note,
                dirty=True,
                acted=(),
                background=(),
            )
        case RolledBack():
            note = f"The workspace was set back to checkpoint {event.to}."
            return replace(state, iteration=None, open_tools={}, acted=(), background=(), note=note)
        case ProtectedChanged():
            return replace(state, protected={**state.protected, event.path: event})
        case ProtectedAccepted():
            rest = {path: change for path, change in state.protected.items() if path != event.path}
            return replace(state, protected=rest, accepted={**state.accepted, event.path: event.digest})
    assert_never(event)
