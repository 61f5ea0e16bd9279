"""Puts the events of a Messages stream together into one reply with its usage.

Text and arguments are read. What only the provider can read (signed thinking, redacted thinking, blocks of kinds
unknown here) keeps the JSON it came in, put together from the very pieces, so that it is sent again unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from runner.models.anthropic_events import Delta, Event, text_in
from runner.models.anthropic_usage import Counts
from runner.models.fields import GarbledError, as_map, as_text
from runner.models.outcomes import cause_of
from runner.models.wire import as_json
from runner.ports import Completion
from runner.pricing.cost import Asks
from runner.values import Opaque, Reply, ToolCall, Usage

_ENDINGS: Mapping[str, str] = {
    "pause_turn": "paused",
    "refusal": "refused",
    "model_context_window_exceeded": "window",
}
_CUTS = frozenset({"max_tokens", "model_context_window_exceeded"})


@dataclass(slots=True)
class _Block:
    """A block under way: how it began, and the pieces that followed."""

    start: bytes
    kind: str
    texts: list[str] = field(default_factory=list[str])
    thinking: list[bytes] = field(default_factory=list[bytes])
    signature: list[bytes] = field(default_factory=list[bytes])
    ended: bool = False


class Assembly:
    """One reply under way. `add` each event, then ask for the `completion`. `provider` may read its opaque blocks."""

    def __init__(self, provider: str, on_text: Callable[[str], None]) -> None:
        self._provider, self._on_text = provider, on_text
        self._blocks: dict[int, _Block] = {}
        self._counts = Counts()
        self._reason = ""
        self._explanation = ""
        self._ended = False

    def add(self, event: object) -> None:
        """Take one event. Raises GarbledError for one that cannot be, and for an error that it reports."""
        if not isinstance(event, Event):
            raise GarbledError("a piece of the stream is not an event")
        match event.type:
            case "content_block_delta":
                self._piece(self._block(event.index), event.delta or Delta())
            case "content_block_start":
                self._blocks[event.index] = self._begun(event)
            case "content_block_stop":
                self._block(event.index).ended = True
            case "message_start":
                self._counts.start(as_map(event.message).get("usage"))
            case "message_delta":
                self._counts.add(event.usage)
                self._end(event.delta or Delta())
            case "message_stop":
                self._ended = True
            case "error":
                raise _reported(as_map(event.error))
            case _:
                pass  # pings, and kinds to come: none of them changes a reply

    def completion(self, request_id: str, asks: Asks, stand_in: Callable[[], Usage] | None = None) -> Completion:
        """The whole reply; raises GarbledError when the stream ended early or its usage cannot be believed.

        `stand_in` is the usage of a server of one's own that counts nothing.
        """
        if not self._ended or not self._reason:
            raise GarbledError("the stream ended before the reply did")
        cut = self._reason in _CUTS
        # a classifier may stop a reply anywhere, as the limit does
        broken_off = cut or self._reason == "refusal"
        if not broken_off and not all(block.ended for block in self._blocks.values()):
            raise GarbledError("a block of the reply did not end")
        texts: list[str] = []
        calls: list[ToolCall] = []
        opaque: list[Opaque] = []
        for block in (self._blocks[index] for index in sorted(self._blocks)):
            match block.kind:
                case "text":
                    texts.append(_whole("".join(block.texts)))
                case "tool_use":
                    calls.append(_call(block, cut=broken_off))
                case _ if block.ended:
                    at = sum(map(len, texts))
                    opaque.append(Opaque(provider=self._provider, chars=at, calls=len(calls), data=_json(block)))
                case _:
                    pass  # cut in the middle: without its end nobody can read it
        usage = self._counts.usage(asks, empty=not any((*texts, calls, opaque)), stand_in=stand_in)
        reply = Reply(
            text="".join(texts) or self._explanation,
            tool_calls=tuple(calls),
            cut=cut,
            opaque=tuple(opaque),
            ending=_ENDINGS.get(self._reason, ""),
        )
        return Completion(reply=reply, usage=usage, request_id=request_id)

    def _block(self, index: int) -> _Block:
        if (block := self._blocks.get(index)) is None:
            raise GarbledError("a piece of a block that did not begin")
        return block

    def _begun(self, event: Event) -> _Block:
        start = bytes(event.content_block)
        top = as_map(_decoded(start))
        if event.index in self._blocks or not isinstance(kind := top.get("type"), str):
            raise GarbledError("a block that is none, or twice the same")
        block = _Block(start, kind)
        if kind == "text" and isinstance(text := top.get("text"), str) and text:
            self._said(block, text)
        return block

    def _piece(self, block: _Block, delta: Delta) -> None:
        if block.kind == "text":
            if text := text_in(delta.text):
                self._said(block, text)
        elif block.kind == "thinking":
            block.thinking.append(_inside(delta.thinking))
            block.signature.append(_inside(delta.signature))
        else:
            block.texts.append(text_in(delta.partial_json))

    def _said(self, block: _Block, text: str) -> None:
        block.texts.append(text)
        self._on_text(text)

    def _end(self, delta: Delta) -> None:
        self._reason = delta.stop_reason or self._reason
        said = as_map(delta.stop_details).get("explanation")
        if isinstance(said, str):
            self._explanation = said


def _reported(error: Mapping[str, object]) -> GarbledError:
    """The provider's own error in the middle of a reply: what was made until then may be billed."""
    detail, kind = as_text(as_map(error.get("details")).get("error_code")), as_text(error.get("type"))
    named = f" ({detail or kind})" if detail or kind else ""
    # the kind of any refusal of a request, so that no status's cause may be read from it: here there is no status
    cause = "request" if kind == "invalid_request_error" else cause_of("anthropic", detail or kind)
    return GarbledError(f"the provider reported an error inside the stream{named}", cause=cause)


def _call(block: _Block, *, cut: bool) -> ToolCall:
    top = as_map(_decoded(block.start))
    made, name = top.get("id"), top.get("name")
    if not isinstance(made, str) or not isinstance(name, str) or not made or not name:
        raise GarbledError("a tool call without a name or an id")
    arguments = "".join(block.texts)
    if not arguments and not cut:
        # some servers send a call whole with its beginning
        arguments = as_json(top.get("input") or {}).decode()
    return ToolCall(made, name, arguments)


def _json(block: _Block) -> str:
    """An opaque block's JSON; pieces are put where its beginning has the empty value for them."""
    if block.kind == "thinking":
        start = _thought(block.start)
        thought = b"".join([_inside(start.thinking), *block.thinking])
        signature = b"".join([_inside(start.signature), *block.signature])
        whole = b'{"type":"thinking","thinking":"%s","signature":"%s"}' % (thought, signature)
    elif any(block.texts):
        whole = as_json(
            {**as_map(_decoded(block.start)), "input": _decoded("".join(block.texts).encode("utf-8", "replace"))}
        )
    else:
        whole = block.start
    try:
        return whole.decode()
    except UnicodeDecodeError:
        raise GarbledError("a block that is not UTF-8") from None


def _thought(start: bytes) -> Delta:
    try:
        return msgspec.json.decode(start, type=Delta)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise GarbledError("a block of thinking that is none") from None


def _inside(text: msgspec.Raw) -> bytes:
    """A JSON string without its quotes, escapes and all."""
    data = bytes(text).strip()
    if len(data) < 2 or not data.startswith(b'"') or not data.endswith(b'"'):
        raise GarbledError("a piece of thinking that is no text")
    return data[1:-1]


def _decoded(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise GarbledError("a block that is not JSON") from None


def _whole(text: str) -> str:
    """Join the halves of characters that pieces parted; a half alone becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
