"""What next, for a run that failed or stalled: the detail says what happened, this says what usually helps."""

from __future__ import annotations

from collections.abc import Iterator

from runner.state import State
from runner.values import StopKind, StopReason

_TAIL = 5

# by words of the reason, the first that fits; a provider's own words stand beside it
_PROVIDER = (
    ("HTTP status 401", "check OPENAI_API_KEY, and that it belongs to the server at OPENAI_BASE_URL"),
    ("HTTP status 403", "the key may not use this model or this server: check both"),
    ("model_not_found", "check the model's name: --model openai/NAME"),
    ("HTTP status 404", "check the model's name and OPENAI_BASE_URL, which usually ends in /v1"),
    ("insufficient_quota", "the account has no credit left: add some where the key comes from, then go on"),
    ("web page", "OPENAI_BASE_URL is no address of an API; one usually ends in /v1"),
    ("no connection to", "check the network, and that the server at OPENAI_BASE_URL is up"),
    ("no reply for this request", "the recording does not fit this spec: record it anew, or name another"),
)


def advice(stop: StopReason, state: State) -> Iterator[str]:
    """Lines for people; none where the reason says it all."""
    if stop.rule == "stall.repeats" and state.created is not None:
        yield f"  help: see what was refused: runner log {state.created.run}; say in the spec how to do without it"
    elif stop.kind is StopKind.STALLED and state.created is not None:
        yield f"  help: see why: runner log {state.created.run}; change the spec or take another --model, then go on"
    if stop.kind is not StopKind.FAILED:
        return
    if stop.rule == "setup" and state.setup is not None:
        yield from (f"  | {line}".rstrip() for line in state.setup.tail.splitlines()[-_TAIL:])
        yield "  help: correct `setup:` in the spec, or what it needs, and start again"
        return
    helped = next((help_ for words, help_ in _PROVIDER if words in stop.detail), None)
    if helped is not None:
        yield f"  help: {helped}"
