"""OpenAI's Responses on the wire: one message to the bytes of its input items, and bytes to a request body.

Nothing is kept at the provider: every request carries the whole conversation, reasoning included, which only the model
that wrote it can read. It is kept and sent again as it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import assert_never

from runner.models.fields import as_map, as_text
from runner.models.wire import as_json, joined
from runner.ports import Answered, Message, SystemText, ToolDefinition, ToolText, UserText
from runner.values import Reply

LIMIT = b'"max_output_tokens":'
_KEPT = b'"store":false,"include":["reasoning.encrypted_content"]'


def exact(item: object) -> str:
    """A JSON value as text that gives the same value back, whatever halves of characters it holds."""
    return json.dumps(item, separators=(",", ":"))


def encode_items(message: Message, model: str) -> bytes:
    """The input items of one message, joined. Of a reply's opaque blocks those of `model` are sent."""
    match message:
        case SystemText(text):
            return as_json({"role": "system", "content": text})
        case UserText(text):
            return as_json({"role": "user", "content": text})
        case ToolText(call_id, text):
            return as_json({"type": "function_call_output", "call_id": call_id, "output": text})
        case Answered(reply):
            return b",".join(_answered(reply, model))
        case _:
            assert_never(message)


def _answered(reply: Reply, model: str) -> Iterator[bytes]:
    """A reply's items in the order they came: text, calls, and what was between them."""
    # a reply that was cut never had its calls run, and what was thought before something that is missing is refused
    whole = not reply.cut and not reply.ending
    calls = [
        as_json({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments})
        for call in (reply.tool_calls if whole else ())
    ]
    opaque = [block for block in reply.opaque if block.provider == model] if whole else []
    chars = given = 0
    phase = ""
    for block in opaque:
        if block.chars > chars:
            yield _said(reply.text[chars : block.chars], phase)
        yield from calls[given : block.calls]
        chars, given = block.chars, block.calls
        phase = phase_of(block.data)
        if not phase and (chars < len(reply.text) or given < len(calls)):
            yield block.data.encode()
    if chars < len(reply.text) or not (reply.text or calls):
        yield _said(reply.text[chars:], phase)
    yield from calls[given:]


def _said(text: str, phase: str) -> bytes:
    return as_json({"role": "assistant", "content": text, **({"phase": phase} if phase else {})})


def phase_of(data: str) -> str:
    """The phase that the text after a block belongs to; "" for a block that is a reasoning item."""
    item = as_map(json.loads(data))
    return as_text(item.get("phase")) if item.get("type") == "message" else ""


def encode_tools(tools: Sequence[ToolDefinition]) -> bytes:
    """The tool definitions as they stand in every body; empty when there are none."""
    if not tools:
        return b""
    return as_json(
        [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                # strict schemas allow no optional arguments, and strict is what the provider takes without a word
                "strict": False,
            }
            for tool in tools
        ]
    )


def responses_body(model: str, items: Sequence[bytes], *, tools: bytes, max_output: int, service: str = "") -> bytes:
    """A streamed request of which nothing is stored, with at most `max_output` output tokens, reasoning included.

    `service` is the class of service ("": the server's own choice).
    """
    head = [
        _model(model),
        b'"stream":true,' + _KEPT,
        *([b'"service_tier":' + as_json(service)] if service else []),
        LIMIT + b"%d" % max_output,
        *([b'"tools":' + tools] if tools else []),
        b'"input":[',
    ]
    return joined(head, items)


def count_body(model: str, body: bytes) -> bytes:
    """The part of a body that makes up its input, as the provider's count takes it."""
    # the first one is ours: before it there is only the model's name, in whose JSON every quote is escaped
    start = body.index(b",", body.index(LIMIT))
    return _model(model) + body[start:]


def _model(model: str) -> bytes:
    return b'{"model":' + as_json(model)
