"""One model call: hold, send, settle. Every way it can go ends in exactly one fact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

from runner.errors import LostError, NeverSentError, NoReplyError, UnbilledError
from runner.events.facts import CallDispatched, CallReleased, CallSettled, CallUnknown, DispatchCall, Event
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Completion, Recorder
from runner.pricing.cost import cost
from runner.secrets import withhold
from runner.values import CallId, Reply


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
    reply = _stored(got.reply, world.mask)
    return CallSettled(
        call=sent.call,
        usage=got.usage,
        cost=cost(world.price, got.usage),
        reply=reply,
        request_id=got.request_id,
        seconds=round(seconds, 3),
    )


def _stored(reply: Reply, mask: Callable[[str], str]) -> Reply:
    """The reply as the run knows it from here on: no secret in it, and nothing a journal cannot hold."""
    calls = tuple(
        replace(one, name=mask(_whole(one.name)), arguments=_arguments(_whole(one.arguments), mask))
        for one in reply.tool_calls
    )
    return replace(reply, text=mask(_whole(reply.text)), tool_calls=calls)


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
