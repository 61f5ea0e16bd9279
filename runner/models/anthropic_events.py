"""The events of a Messages stream, decoded in one pass. Texts stay JSON: a piece may end in half a character."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from runner.models.fields import GarbledError, as_map
from runner.models.sse import data_of

_EMPTY = msgspec.Raw(b'""')
_ABSENT = msgspec.Raw(b"null")


class Delta(msgspec.Struct):
    """A piece of a block, or how the message ended."""

    text: msgspec.Raw = _EMPTY
    thinking: msgspec.Raw = _EMPTY
    signature: msgspec.Raw = _EMPTY
    partial_json: msgspec.Raw = _EMPTY
    stop_reason: str | None = None
    stop_details: object = None


class Event(msgspec.Struct):
    """One event: every field that some kind of it has."""

    type: str = ""
    index: int = -1
    delta: Delta | None = None
    content_block: msgspec.Raw = _ABSENT
    message: object = None
    usage: object = None
    error: object = None


_DECODER = msgspec.json.Decoder(Event)


def events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """Each event in order, up to the message's end. Raises GarbledError when one is none.

    `pieces` are the bytes of the body as they come, cut anywhere.
    """
    for one in data_of(pieces):
        try:
            event = _DECODER.decode(one)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            event = _leniently(one)
        yield event
        if event.type == "message_stop":
            return


def text_in(raw: msgspec.Raw) -> str:
    """The text in a JSON string, which may begin or end with half a character."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeError):
        value = _any(bytes(raw))
    if not isinstance(value, str):
        raise GarbledError("a piece of the stream that is no text")
    return value


def _leniently(one: bytes) -> Event:
    """What only Python's own reader takes: half of a character, whose other half comes with the next piece."""
    top = as_map(_any(one))
    delta = as_map(top.get("delta"))
    kind, index = top.get("type"), top.get("index")
    if kind != "content_block_delta" or not isinstance(index, int):
        raise GarbledError("a piece of the stream is not an event")
    text, thinking, signature, arguments = (
        msgspec.Raw(json.dumps(delta.get(key, "")).encode())
        for key in ("text", "thinking", "signature", "partial_json")
    )
    return Event("content_block_delta", index, Delta(text, thinking, signature, arguments))


def _any(data: bytes) -> object:
    try:
        found: object = json.loads(data.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise GarbledError("a piece of the stream is not JSON") from None
    return found


def _no_number(name: str) -> object:
    """NaN and its like are not JSON, whatever Python's reader takes."""
    raise ValueError(name)
