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
from runner.state.model import Iteration, Overhead, State
from runner.values import Billing

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
                local_calls=state.money.local_calls + (event.billing == Billing.LOCAL),
                unmetered_calls=state.money.unmetered_calls + (event.billing == Billing.UNMETERED),
            )
            iteration = replace(
                iteration_of(state),
                attempt=event.call.attempt,
                bound=event.input_bound,
                refused=None,
                waiting_since=None,
                retry_at=0,
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
            counted = replace(iteration_of(state), refused=None, waiting_since=None, counted=event)
            return replace(state, iteration=counted)
        case ModelSwitched():
            return _switched(state, event)
        case CallReconciled():
            if (held := state.unknown_calls.get(str(event.call))) is None:
                return state
            money = replace(state.money, unknown=state.money.unknown - held, spent=state.money.spent + event.cost)
            left = {key: kept for key, kept in state.unknown_calls.items() if key != str(event.call)}
            return replace(state, money=money, unknown_calls=left)
    assert_never(event)


def _switched(state: State, event: ModelSwitched) -> State:
    iteration = state.iteration
    if iteration is not None:
        iteration = replace(
            iteration, failures=0, failed="", cause="", busy_since=None, retry_at=0, refused=None, counted=None,
            waiting_since=None,
        )  # fmt: skip
    return replace(state, model=event.model, engine=event.engine, iteration=iteration)


_ENDS = {"refused": "refused", "filtered": "refused", "withheld": "refused", "window": "context"}


def _settled(state: State, event: CallSettled) -> State:
    state, sent = _closed(state, str(event.call))
    reply, usage = event.reply, event.usage
    local = usage.total if sent is not None and sent.billing == Billing.LOCAL else 0
    money = replace(
        state.money,
        spent=state.money.spent + event.cost,
        tokens=state.money.tokens + usage.total,
        local_tokens=state.money.local_tokens + local,
    )
    ended = _ENDS.get(reply.ending, "")
    # what a limit, a refusal or a full window broke off may be half a call
    calls = () if reply.cut or ended else reply.tool_calls
    iteration = replace(
        iteration_of(state),
        steps=event.call.step,
        attempt=0,
        failures=0,
        failed="",
        cause="",
        busy_since=None,
        counted=None,
        pending=calls,
        answered=not calls and not reply.cut and not reply.ending,
        ended=ended,
        context_tokens=usage.total,
        new_bytes=0,
        last_text=reply.text,
    )
    overhead = state.overhead
    if event.call.step == 1:
        overhead = Overhead(
            calls=overhead.calls + 1,
            tokens=overhead.tokens + usage.input_tokens,
            cost=overhead.cost + event.input_cost,
        )
    return replace(
        state,
        money=money,
        overhead=overhead,
        iteration=iteration,
        steps=state.steps + 1,
        progress_ms=state.active_ms,
        dirty=state.dirty or bool(state.background),
    )


_BUSY = frozenset({"rate", "overload"})


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
    # whoever only says "later" bills nothing: that costs patience, not attempts
    busy = isinstance(event, CallReleased) and event.cause in _BUSY and not gave_up
    since = iteration.busy_since
    iteration = replace(
        iteration,
        failures=iteration.failures + (not busy),
        failed=event.reason if gave_up else "",
        trouble=event.reason,
        cause=event.cause,
        busy_since=state.at if busy and since is None else since,
        retry_at=0 if event.retry_after_ms is None else state.at + event.retry_after_ms,
    )
    return replace(state, iteration=iteration)
