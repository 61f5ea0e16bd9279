"""One model call: hold, send, settle. Every way it can go ends in exactly one fact."""

from __future__ import annotations

import time
from dataclasses import replace

from runner.errors import LostError, NeverSentError, NoReplyError, UnbilledError
from runner.events.facts import CallDispatched, CallReleased, CallSettled, CallUnknown, DispatchCall, Event
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Completion, Recorder
from runner.pricing.cost import cost
from runner.values import CallId


def call_model(call: CallId, policy: Policy, world: World, recorder: Recorder) -> None:
    """Hold the worst case, then send one request and book what came of it."""
    asked = min(world.model.max_output, policy.max_output)
    price = world.price
    proposal = DispatchCall(
        call=call,
        model=world.model.name,
        prices=world.prices,
        input_bound=world.conversation.input_bound(asked) + world.allowance,
        asked_output=asked,
        min_output=min(policy.min_output, asked),
        input_price=-(-price.dearest_input * world.hold_percent // 100),
        output_price=-(-price.output * world.hold_percent // 100),
    )
    match recorder.record(proposal):
        case CallDispatched() as sent:
            recorder.record(_send(sent, world, recorder))
        case _:
            pass  # refused: the state says why, and `decide` what follows


def _send(sent: CallDispatched, world: World, recorder: Recorder) -> Event:
    body = world.conversation.body(sent.granted_output)
    began = time.monotonic()
    try:
        got = world.model.complete(sent.call, body, interrupt=recorder.interrupt, on_text=world.on_text)
    except NoReplyError as error:
        return CallReleased(call=sent.call, reason=world.mask(str(error)))
    except (NeverSentError, UnbilledError) as error:
        again = error.retryable or recorder.interrupt.fired
        wait = _wait_ms(sent.call, error.retry_after_s, world) if again else None
        return CallReleased(call=sent.call, reason=world.mask(error.message), retry_after_ms=wait)
    except LostError as error:
        wait = _wait_ms(sent.call, error.retry_after_s, world) if error.retryable else None
        return CallUnknown(call=sent.call, reason=world.mask(error.message), retry_after_ms=wait)
    return _settled(sent, got, world, time.monotonic() - began)


def _settled(sent: CallDispatched, got: Completion, world: World, seconds: float) -> CallSettled:
    reply = replace(got.reply, text=world.mask(got.reply.text))
    return CallSettled(
        call=sent.call,
        usage=got.usage,
        cost=cost(world.price, got.usage),
        reply=reply,
        request_id=got.request_id,
        seconds=round(seconds, 3),
    )


def _wait_ms(call: CallId, asked_s: float | None, world: World) -> int:
    """Wait as long as the provider asks, else longer with every attempt."""
    return round(1000 * (asked_s if asked_s is not None else world.backoff_s(call.attempt)))
