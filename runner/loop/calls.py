"""One model call: hold, send, settle. Every way it can go ends in exactly one fact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise, product

from runner.errors import LostError, ModelError, NeverSentError, NoReplyError, UnbilledError, UnpricedError
from runner.events.facts import (
    BoundViolated,
    CallDispatched,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    DispatchCall,
    Event,
    InputCounted,
)
from runner.loop.world import Engine, World, engine
from runner.policy.model import Policy
from runner.ports import Completion, Recorder
from runner.pricing.book import Entry
from runner.pricing.cost import Asks, affordable_output, cost, dearest, input_cost, worst
from runner.secrets import withhold
from runner.state import State
from runner.values import CallId, NanoUsd, Opaque, Reply, Usage

_LONGEST = 200
"""Characters of a name that a provider made up: request ids and classes of billing are far shorter."""

BYTES_PER_TOKEN = 3  # more tokens than text and code have; for the model's window alone: money is bounded


def call_model(call: CallId, policy: Policy, world: World, recorder: Recorder) -> None:
    """Hold the worst case, then send one request and book what came of it.

    Raises UnpricedError when a class of billing that requests ask for has no price.
    """
    using = engine(world, recorder.state)
    asked = _asked_output(policy, world, using, recorder.state)
    match recorder.record(_within_step(_proposal(call, asked, policy, world, using), policy)):
        case CallDispatched() as sent:
            for event in _send(sent, world, using, recorder):
                recorder.record(event)
        case _:
            pass  # refused: the state says why, and `decide` what follows


def count_input(call: CallId, policy: Policy, world: World, recorder: Recorder) -> None:
    """Let the provider count the request that comes next, and write down what it says. It costs nothing."""
    using = engine(world, recorder.state)
    body = world.conversation.body(_asked_output(policy, world, using, recorder.state))
    try:
        tokens = using.model.count(body, interrupt=recorder.interrupt)
    except ModelError:
        tokens = None  # our own bound stands
    recorder.record(InputCounted(call=call, tokens=tokens))


def _asked_output(policy: Policy, world: World, using: Engine, state: State) -> int:
    """The output to ask for: what model and policy allow, and the model's window has room for beside the input."""
    most = min(using.model.max_output, policy.max_output)
    if not (window := policy.window(state.engine)):
        return most
    known = 0 if state.iteration is None else state.iteration.context_estimate
    room = window - (known or len(world.conversation.body(most)) // BYTES_PER_TOKEN)
    return min(most, max(room, policy.min_output))


def _proposal(call: CallId, asked: int, policy: Policy, world: World, using: Engine) -> DispatchCall:
    entry, bound = using.entry, world.conversation.bound(asked)
    most = dearest(entry.price, using.asks, bound.tokens, entry.hold_multiplier)
    return DispatchCall(
        call=call,
        model=using.model.name,
        prices=world.prices,
        input_bound=bound.tokens,
        asked_output=asked,
        min_output=min(policy.min_output, asked),
        input_price=-(-most.input * using.hold_percent // 100),
        output_price=-(-most.output * using.hold_percent // 100),
        fees=-(-most.fees * using.hold_percent // 100),
        slack=most.slack,
        fresh_bound=0 if call.step == 1 else world.conversation.fresh_bound(asked),
        billing=entry.billing.value,
        bound_by=bound.by,
    )


def _within_step(call: DispatchCall, policy: Policy) -> DispatchCall | CallRefused:
    """The call with no more output than the policy's cap on one step buys; a refusal where that is too little."""
    if (cap := policy.step_usd) is None:
        return call

    def buys(bound: int) -> int:
        most = affordable_output(call.input_price, call.output_price, bound, cap, slack=call.slack, fees=call.fees)
        return call.asked_output if most is None else most

    output = min(call.asked_output, buys(call.input_bound))
    if output >= call.min_output:
        return replace(call, asked_output=output)
    need = worst(
        call.input_price, call.output_price, call.input_bound, call.min_output, slack=call.slack, fees=call.fees
    )
    fresh = bool(call.fresh_bound) and buys(call.fresh_bound) >= call.min_output
    return CallRefused(call=call.call, scope="the policy's step", need=need, headroom=cap, fresh=fresh)


def _send(sent: CallDispatched, world: World, using: Engine, recorder: Recorder) -> tuple[Event, ...]:
    body = world.conversation.body(sent.granted_output)
    began = time.monotonic()
    try:
        got = using.model.complete(sent.call, body, interrupt=recorder.interrupt, on_text=world.on_text)
    except NoReplyError as error:
        return (_released(sent, error, world, wait=None, reason=str(error)),)
    except (NeverSentError, UnbilledError) as error:
        again = error.retryable or recorder.interrupt.fired
        wait = _wait_ms(sent.call, error.retry_after_s, world) if again else None
        return (_released(sent, error, world, wait=wait, reason=error.message),)
    except LostError as error:
        return (
            CallUnknown(
                call=sent.call,
                reason=world.mask(error.message),
                retry_after_ms=_wait_ms(sent.call, error.retry_after_s, world) if error.retryable else None,
                cause=error.cause,
                request_id=_named(error.request_id, world.mask),
            ),
        )
    return _settled(sent, got, world, using.entry, time.monotonic() - began)


def _released(sent: CallDispatched, error: ModelError, world: World, *, wait: int | None, reason: str) -> CallReleased:
    return CallReleased(
        call=sent.call,
        reason=world.mask(reason),
        retry_after_ms=wait,
        cause=error.cause,
        request_id=_named(error.request_id, world.mask),
    )


def _settled(
    sent: CallDispatched, got: Completion, world: World, entry: Entry, seconds: float
) -> tuple[CallSettled] | tuple[BoundViolated, CallSettled]:
    """What the call came to. A class of billing without a price is booked at the dearest known, and ends the run."""
    unpriced, usage = "", _storable(got.usage, world.mask)
    try:
        spent = cost(entry.price, usage, entry.multiplier)
        of_input = input_cost(entry.price, usage, entry.multiplier)
    except UnpricedError as error:
        unpriced = world.mask(f"billed in a class without a price: {error.message}")
        spent = max(sent.hold, _dearest_known(entry, usage))
        of_input = min(spent, worst(entry.price.dearest_input, 0, usage.input_tokens, 0))
    settled = CallSettled(
        call=sent.call,
        usage=usage,
        cost=spent,
        input_cost=of_input,
        reply=_stored(got.reply, world.mask),
        request_id=_named(got.request_id, world.mask),
        seconds=round(seconds, 3),
    )
    if not unpriced:
        return (settled,)
    # in this order: after a crash between the two the call is lost, and the run still ends
    return BoundViolated(call=sent.call, held=sent.hold, billed=spent, what=unpriced), settled


def _dearest_known(entry: Entry, usage: Usage) -> NanoUsd:
    """What a usage costs in the dearest class that has a price."""
    price = entry.price
    fees = sum(uses * price.fees.get(kind, 0) for kind, uses in usage.fees)
    most = 0
    for service, geo, cache in product(("", *price.services), ("", *price.geo), ("", "1h", "12h")):
        with suppress(UnpricedError):
            one = dearest(price, Asks(service=service, geo=geo, cache=cache), usage.input_tokens, entry.multiplier)
            tokens = worst(one.input, one.output, usage.input_tokens, usage.output_tokens, slack=one.slack)
            most = max(most, tokens + fees)
    return most


def _storable(usage: Usage, mask: Callable[[str], str]) -> Usage:
    """A usage without a secret in a name the provider gave; a name that the price book knows stays as it is."""
    fees = tuple((_named(kind, mask), uses) for kind, uses in usage.fees)
    return replace(usage, service=_named(usage.service, mask), geo=_named(usage.geo, mask), fees=fees)


def _named(name: str, mask: Callable[[str], str]) -> str:
    return mask(_whole(name))[:_LONGEST] if name else ""


def _stored(reply: Reply, mask: Callable[[str], str]) -> Reply:
    """The reply as the run knows it from here on: no secret in it, and nothing a journal cannot hold.

    In a block that only its provider can read nothing can be masked: one that holds a secret is kept from the run with
    all others, and the reply counts as withheld.
    """
    calls = tuple(
        replace(one, name=mask(_whole(one.name)), arguments=_arguments(_whole(one.arguments), mask))
        for one in reply.tool_calls
    )
    text = mask(_whole(reply.text))
    if not reply.opaque:
        return replace(reply, text=text, tool_calls=calls)
    opaque = _placed(reply.opaque, reply.text, text, mask)
    if opaque is None or any(_arguments(_whole(one.data), mask) != one.data for one in opaque):
        return replace(reply, text=text, tool_calls=calls, opaque=(), ending="withheld")
    return replace(reply, text=text, tool_calls=calls, opaque=opaque)


def _placed(
    opaque: tuple[Opaque, ...], said: str, stored: str, mask: Callable[[str], str]
) -> tuple[Opaque, ...] | None:
    """The blocks at their places in the stored text; None when a secret lay across one of them."""
    if said == stored:
        return opaque
    places = [len(mask(_whole(said[: one.chars]))) for one in opaque]
    cuts = [0, *(one.chars for one in opaque), len(said)]
    pieces = (mask(_whole(said[start:end])) for start, end in pairwise(cuts))
    if "".join(pieces) != stored:
        return None
    return tuple(replace(one, chars=place) for one, place in zip(opaque, places, strict=True))


def _arguments(text: str, mask: Callable[[str], str]) -> str:
    """Arguments without secrets, also where JSON's escapes hide one; tools refuse what something was withheld from."""
    for written in (text, _unescaped(text)):
        if (masked := mask(written)) != written:
            return _whole(withhold(masked))
    return text


def _unescaped(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _whole(text: str) -> str:
    """Join the halves of surrogate pairs, which streams may part; a half alone becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _wait_ms(call: CallId, asked_s: float | None, world: World) -> int:
    """Wait as long as the provider asks, else longer with every attempt."""
    return round(1000 * (asked_s if asked_s is not None else world.backoff_s(call.attempt)))
