"""What facts of model calls do to the state: money, attempts, replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, assert_never

from msgspec.structs import replace

from runner.events.facts import (
    BoundViolated,
    CallDispatched,
    CallReconciled,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    HoldsWaited,
    InputCounted,
    ModelSwitched,
)
from runner.state.model import Iteration, State

CallFact: TypeAlias = (
    CallDispatched | CallRefused | CallSettled | CallUnknown | CallReleased | BoundViolated | HoldsWaited
    | InputCounted | ModelSwitched | CallReconciled
)  # fmt: skip


def iteration_of(state: State) -> Iteration:
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


def call_fact(state: State, event: CallFact) -> State:
    """Apply one fact of a call."""
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
                iteration_of(state), attempt=event.call.attempt, refused=None, waiting_since=None, retry_at=0
            )
            opened = {**state.open_calls, str(event.call): event}
            return replace(state, money=money, iteration=iteration, open_calls=opened)
        case CallRefused():
            iteration = iteration_of(state)
            since = iteration.waiting_since if iteration.waiting_since is not None else state.at
            return replace(state, iteration=replace(iteration, refused=event, waiting_since=since))
        case HoldsWaited():
            kept = iteration_of(state).waiting_since
            return replace(
                state,
                iteration=replace(iteration_of(state), refused=None, waited_out=not event.room, waiting_since=kept),
            )
        case BoundViolated():
            return replace(state, violated=event)
        case CallSettled():
            return _settled(state, event)
        case CallUnknown() | CallReleased():
            return _not_settled(state, event)
        case InputCounted():
            return replace(state, iteration=replace(iteration_of(state), refused=None, counted=event))
        case ModelSwitched():
            fresh = replace(iteration_of(state), failures=0, failed="", retry_at=0, refused=None, counted=None)
            return replace(state, model=event.model, engine=event.engine, iteration=fresh)
        case CallReconciled():
            if (held := state.unknown_calls.get(str(event.call))) is None:
                return state
            money = replace(state.money, unknown=state.money.unknown - held, spent=state.money.spent + event.cost)
            left = {key: kept for key, kept in state.unknown_calls.items() if key != str(event.call)}
            return replace(state, money=money, unknown_calls=left)
    assert_never(event)


def _settled(state: State, event: CallSettled) -> State:
    state, _ = _closed(state, str(event.call))
    money = replace(state.money, spent=state.money.spent + event.cost, tokens=state.money.tokens + event.usage.total)
    calls = () if event.reply.cut else event.reply.tool_calls
    iteration = replace(
        iteration_of(state),
        steps=event.call.step,
        attempt=0,
        failures=0,
        failed="",
        counted=None,
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
        money = replace(state.money, unknown=state.money.unknown + sent.hold, tokens=tokens)
        unknown = {**state.unknown_calls, str(event.call): sent.hold}
        state = replace(state, money=money, unknown_calls=unknown)
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
