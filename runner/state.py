"""The fold of a run's facts. `evolve` applies one fact; it never decides and never fails.

What is copied with every fact is a Struct: copying a frozen dataclass of thirty fields takes ten times as long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from runner.events.facts import (
    BoundViolated,
    CallDispatched,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    CheckpointMade,
    ChecksFinished,
    ClockJumped,
    Event,
    HoldsWaited,
    ItemTicked,
    IterationFinished,
    IterationStarted,
    LimitsSet,
    LogRepaired,
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
from runner.values import Effect, Limits, Ms, NanoUsd, StopReason, ToolCall


class Money(Struct, frozen=True, kw_only=True):
    """The run's own sums. An unknown call keeps its full hold in `unknown` until evidence lowers it."""

    spent: NanoUsd = 0
    unknown: NanoUsd = 0
    held: NanoUsd = 0
    tokens: int = 0
    tokens_held: int = 0
    calls: int = 0


class Iteration(Struct, frozen=True, kw_only=True):
    """The iteration under way. `steps` counts settled replies, `attempt` the tries at the next one."""

    number: int
    started_at: Ms
    steps: int = 0
    attempt: int = 0
    retry_at: Ms = 0
    failures: int = 0
    failed: str = ""
    trouble: str = ""
    refused: CallRefused | None = None
    waiting_since: Ms | None = None
    waited_out: bool = False
    pending: tuple[ToolCall, ...] = ()
    answered: bool = False
    last_text: str = ""
    finished: IterationFinished | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What an iteration came to."""

    iteration: int
    score: float | None
    tree: str
    failures: str
    claimed: bool
    unticked: tuple[str, ...]
    tampered: tuple[str, ...]
    foreign: tuple[str, ...]
    checkpoint: int
    spent: NanoUsd


class State(Struct, frozen=True, kw_only=True):
    """Everything decisions rest on. Texts of the conversation stay in the journal.

    `acted` are the tools that may have changed the tree since the last checkpoint, `background` those of them that may
    still be at it. `excused` scored iterations lay behind when a user resumed an ended run: these stop it no more.
    """

    created: RunCreated | None = None
    seq: int = 0
    at: Ms = 0
    epoch: int = 0
    model: str = ""
    running: bool = False
    active_ms: int = 0
    progress_ms: int = 0
    limits: Limits = field(default_factory=Limits)
    limit_sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    spec_text: str = ""
    money: Money = field(default_factory=Money)
    iterations: int = 0
    steps: int = 0
    iteration: Iteration | None = None
    note: str = ""
    scored: tuple[Scored, ...] = ()
    checks: ChecksFinished | None = None
    open_calls: Mapping[str, CallDispatched] = field(default_factory=lambda: MappingProxyType({}))
    open_tools: Mapping[str, ToolStarted] = field(default_factory=lambda: MappingProxyType({}))
    checkpoint: CheckpointMade | None = None
    base: CheckpointMade | None = None
    dirty: bool = False
    acted: tuple[ToolStarted, ...] = ()
    background: tuple[ToolStarted, ...] = ()
    must_compare: bool = False
    setup: SetupFinished | None = None
    ticked: tuple[str, ...] = ()
    warned: frozenset[str] = frozenset()
    protected: Mapping[str, ProtectedChanged] = field(default_factory=lambda: MappingProxyType({}))
    accepted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    violated: BoundViolated | None = None
    exhausted: CallRefused | None = None
    excused: int = 0
    stop_asked: StopAsked | None = None
    stopped: StopReason | None = None

    @property
    def best(self) -> Scored | None:
        """The first iteration with the highest score."""
        scored = [one for one in self.scored if one.score is not None]
        return max(scored, key=lambda one: (one.score or 0.0, -one.iteration), default=None)


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
    | ClockJumped | LogRepaired
)  # fmt: skip
_CallFact: TypeAlias = (
    CallDispatched | CallRefused | CallSettled | CallUnknown | CallReleased | BoundViolated | HoldsWaited
)
_ToolFact: TypeAlias = ToolStarted | ToolRefused | ToolFinished | ItemTicked
_TreeFact: TypeAlias = (
    CheckpointMade | TreeUnchanged | WorkspaceChanged | WorkspaceCompared | RolledBack | ProtectedChanged
    | ProtectedAccepted
)  # fmt: skip


def _apply(state: State, event: Event) -> State:
    # the frequent kinds first
    if isinstance(event, _CallFact):
        return _call_fact(state, event)
    if isinstance(event, _ToolFact):
        return _tool_fact(state, event)
    if isinstance(event, _TreeFact):
        return _tree_fact(state, event)
    if isinstance(event, _RunFact):
        return _run_fact(state, event)
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
            )
        case RunResumed():
            return replace(
                state,
                epoch=event.epoch,
                model=event.model or state.model,
                running=True,
                stopped=None,
                stop_asked=None,
                excused=state.excused if state.stopped is None or state.stopped.is_open else len(state.scored),
                exhausted=None,
                must_compare=state.checkpoint is not None,
                background=(),
                setup=state.setup if state.setup is not None and state.setup.ok else None,
                progress_ms=state.active_ms,
                iteration=_fresh_start(state.iteration),
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
            reason = StopReason(kind=event.kind, rule=event.rule, detail=event.detail, verified=event.verified)
            # whoever stops a run ends its background commands and keeps what they did: later changes are not theirs
            acted = tuple(dataclasses.replace(one, background=False) for one in state.acted) if state.dirty else ()
            return replace(state, stopped=reason, running=False, acted=acted, background=())
        case ClockJumped():
            # a forward jump was counted as elapsed just now, though nobody worked
            return replace(state, active_ms=max(0, state.active_ms - max(0, event.by_ms)))
        case LogRepaired():
            return state
    assert_never(event)


def _fresh_start(iteration: Iteration | None) -> Iteration | None:
    """A resume tries again what an earlier driver gave up on; every counter stays."""
    if iteration is None:
        return None
    return replace(iteration, failed="", failures=0, refused=None, waiting_since=None, waited_out=False, retry_at=0)


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
                progress_ms=state.active_ms,
            )
        case IterationFinished():
            closing = replace(_iteration(state), finished=event, pending=())
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
            return replace(state, iteration=None, checks=event, scored=(*state.scored, scored))
    assert_never(event)


def failure_signature(event: ChecksFinished) -> str:
    """Name which checks failed and how, without timings; "" when none did."""
    failed = [one for one in event.results if one.score < 1.0]
    return "; ".join(f"{one.name}={one.exit_code}:{','.join(sorted(one.failures))}" for one in failed)


def _iteration(state: State) -> Iteration:
    """The open iteration; a journal always opens one before it speaks of its calls."""
    return state.iteration or Iteration(number=state.iterations, started_at=state.at)


def _without(calls: Mapping[str, CallDispatched], call: str) -> dict[str, CallDispatched]:
    return {key: value for key, value in calls.items() if key != call}


def _closed(state: State, call: str) -> tuple[State, CallDispatched | None]:
    """Take a call off the open ones together with its holds."""
    sent = state.open_calls.get(call)
    if sent is None:
        return state, None
    money = replace(
        state.money,
        held=state.money.held - sent.hold,
        tokens_held=state.money.tokens_held - sent.input_bound - sent.granted_output,
    )
    return replace(state, open_calls=_without(state.open_calls, call), money=money), sent


def _call_fact(state: State, event: _CallFact) -> State:
    match event:
        case CallDispatched():
            state, _ = _closed(state, str(event.call))
            money = replace(
                state.money,
                held=state.money.held + event.hold,
                tokens_held=state.money.tokens_held + event.input_bound + event.granted_output,
                calls=state.money.calls + 1,
            )
            iteration = replace(
                _iteration(state), attempt=event.call.attempt, refused=None, waiting_since=None, retry_at=0
            )
            opened = {**state.open_calls, str(event.call): event}
            return replace(state, money=money, iteration=iteration, open_calls=opened)
        case CallRefused():
            iteration = _iteration(state)
            since = iteration.waiting_since if iteration.waiting_since is not None else state.at
            return replace(state, iteration=replace(iteration, refused=event, waiting_since=since))
        case HoldsWaited():
            kept = _iteration(state).waiting_since
            return replace(
                state,
                iteration=replace(_iteration(state), refused=None, waited_out=not event.room, waiting_since=kept),
            )
        case BoundViolated():
            return replace(state, violated=event)
        case CallSettled():
            return _settled(state, event)
        case CallUnknown() | CallReleased():
            return _not_settled(state, event)
    assert_never(event)


def _settled(state: State, event: CallSettled) -> State:
    state, _ = _closed(state, str(event.call))
    money = replace(state.money, spent=state.money.spent + event.cost, tokens=state.money.tokens + event.usage.total)
    calls = () if event.reply.cut else event.reply.tool_calls
    iteration = replace(
        _iteration(state),
        steps=event.call.step,
        attempt=0,
        failures=0,
        failed="",
        pending=calls,
        answered=not calls and not event.reply.cut,
        last_text=event.reply.text,
    )
    return replace(
        state,
        money=money,
        iteration=iteration,
        steps=state.steps + 1,
        progress_ms=state.active_ms,
        dirty=state.dirty or bool(state.background),
    )


def _not_settled(state: State, event: CallUnknown | CallReleased) -> State:
    state, sent = _closed(state, str(event.call))
    if sent is not None and isinstance(event, CallUnknown):
        tokens = state.money.tokens + sent.input_bound + sent.granted_output
        state = replace(state, money=replace(state.money, unknown=state.money.unknown + sent.hold, tokens=tokens))
    if (iteration := state.iteration) is None:
        return state  # a rollback ended the iteration of a call that a dead driver left open
    gave_up = event.retry_after_ms is None
    iteration = replace(
        iteration,
        failures=iteration.failures + 1,
        failed=event.reason if gave_up else "",
        trouble=event.reason,
        retry_at=0 if event.retry_after_ms is None else state.at + event.retry_after_ms,
    )
    return replace(state, iteration=iteration)


def _tool_fact(state: State, event: _ToolFact) -> State:
    match event:
        case ToolStarted():
            acts = event.effect is not Effect.READS
            return replace(
                state,
                open_tools={**state.open_tools, event.call.id: event},
                dirty=state.dirty or acts,
                acted=(*state.acted, event) if acts else state.acted,
                background=(*state.background, event) if event.background else state.background,
            )
        case ToolRefused():
            return _tool_over(state, event.call.id)
        case ToolFinished():
            return replace(_tool_over(state, event.call_id), progress_ms=state.active_ms)
        case ItemTicked():
            return replace(state, ticked=(*state.ticked, event.item))
    assert_never(event)


def _tool_over(state: State, call_id: str) -> State:
    iteration = _iteration(state)
    first = next((index for index, call in enumerate(iteration.pending) if call.id == call_id), None)
    pending = iteration.pending if first is None else iteration.pending[:first] + iteration.pending[first + 1 :]
    still = {key: value for key, value in state.open_tools.items() if key != call_id}
    return replace(state, open_tools=still, iteration=replace(iteration, pending=pending))


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
