"""Chat Completions on the wire: one message to bytes, and bytes to a request body.

A message is encoded once; a body joins the bytes. Encoding is deterministic (key order fixed, compact, UTF-8),
so a resumed conversation is byte-equal. UTF-8 text costs at least one byte per token in every byte-level
vocabulary, so a body's length bounds its input tokens from above.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import assert_never

from runner.ports import Answered, Message, SystemText, ToolDefinition, ToolText, UserText
from runner.values import Opaque, Reply


def as_json(value: object) -> bytes:
    """Compact UTF-8 JSON. A lone surrogate, which UTF-8 cannot carry, becomes `?`."""
    return _encode(value).encode("utf-8", "replace")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode_message(message: Message, model: str = "") -> bytes:
    """One message as it stands in every body from now on. Of a reply's opaque blocks those of `model` are sent."""
    return as_json(as_chat(message, model))


def as_chat(message: Message, model: str = "") -> dict[str, object]:
    """One message as Chat Completions has it."""
    match message:
        case SystemText(text):
            return {"role": "system", "content": text}
        case UserText(text):
            return {"role": "user", "content": text}
        case ToolText(call_id, text):
            return {"role": "tool", "tool_call_id": call_id, "content": text}
        case Answered(reply):
            return _assistant(reply, model)
        case _:
            assert_never(message)


def _assistant(reply: Reply, model: str) -> dict[str, object]:
    # a reply that was cut never had its calls run, and a call without an answer is refused by providers
    if reply.cut or not reply.tool_calls:
        return {"role": "assistant", "content": reply.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]
    kept: dict[str, object] = {}
    for block in reply.opaque:
        if block.provider == model:
            kept |= json.loads(block.data)  # `thoughts` made an object of it
    return {"role": "assistant", "content": reply.text or None, **kept, "tool_calls": calls}


def thoughts(model: str, pieces: Sequence[str]) -> Opaque:
    """What `model` thought before its calls, to be sent again with them.

    Source: DeepSeek's guide to thinking mode, "Tool calls": without them in every later request it answers 400; Kimi
    and GLM ask for them too. Who does not know the field never sent it.
    """
    return Opaque(provider=model, chars=0, calls=0, data=json.dumps({"reasoning_content": "".join(pieces)}))


def encode_tools(tools: Sequence[ToolDefinition]) -> bytes:
    """The tool definitions as they stand in every body; empty when there are none."""
    if not tools:
        return b""
    return as_json(
        [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in tools
        ]
    )


def chat_body(
    model: str,
    messages: Sequence[bytes],
    *,
    tools: bytes,
    max_output: int,
    limit: bytes = b"max_completion_tokens",
    service: str = "",
) -> bytes:
    """A streamed request with usage, at most `max_output` output tokens, reasoning included.

    `limit` is what the server calls that limit, `service` the class of service ("": the server's own choice).
    """
    head = [
        b'{"model":' + as_json(model),
        b'"stream":true,"stream_options":{"include_usage":true}',
        b'"%s":%d' % (limit, max_output),
        *([b'"service_tier":' + as_json(service)] if service else []),
        *([b'"tools":' + tools] if tools else []),
        b'"messages":[',
    ]
    return joined(head, messages)


def joined(head: Sequence[bytes], items: Sequence[bytes]) -> bytes:
    """A body: its fields in `head`, of which the last opens a list, the list's encoded items, and the end of both."""
    # joined with the rest at once: each further copy of a long conversation costs as much again
    pieces = list(items) or [b""]
    pieces[0] = b",".join(head) + pieces[0]
    pieces[-1] += b"]}"
    return b",".join(pieces)
