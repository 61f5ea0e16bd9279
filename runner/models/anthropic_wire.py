"""Anthropic's Messages on the wire: one message to bytes, and bytes to a request body.

A message is encoded once; a body joins the bytes. Whatever changes from call to call stands before the tools, so that
from there on each body of a conversation begins with the one before: the prefix that a provider's cache looks for. (One
more mark, after a step of many calls, is no part of what is cached.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

import msgspec

from runner.models.wire import as_json
from runner.ports import Answered, Message, SystemText, ToolDefinition, ToolText, UserText
from runner.values import Reply, ToolCall

NOTHING = "(nothing)"
"""Stands for an empty text, which the provider refuses."""

_MODEL = b'"model":'
_ANSWER = b'{"role":"user","content":[{"type":"tool_result"'
_MOST_NEAR = 7
"""Answers of one step with which the end of the request before is surely among the last twenty blocks, which are all
that a prefix is looked for in (Anthropic, "Prompt caching"): each has its call, and there may be text and thinking."""
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64


class Encoder:
    """Encodes for one provider: another one's opaque blocks mean nothing to it and are left out.

    `mark` is the JSON of a cache breakpoint, b"" for none. It stands on the system text, which with the tools before it
    is the same in every iteration; the conversation's end is marked by the request's own field, not in any message.
    """

    def __init__(self, provider: str, mark: bytes) -> None:
        self._provider, self._mark = provider, mark

    def encode(self, message: Message) -> bytes:
        """One message as it stands in every body from now on; a system text is an array of blocks."""
        match message:
            case SystemText(text):
                end = b',"cache_control":%s}]' % self._mark if self._mark else b"}]"
                return b"[" + _text(text)[:-1] + end
            case UserText(text):
                return _message(b"user", [_text(text)])
            case ToolText(call_id, text):
                return _message(b"user", [_result(call_id, text)])
            case Answered(reply):
                return _message(b"assistant", list(self._blocks(reply)) or [_text("")])
            case _:
                assert_never(message)

    def _blocks(self, reply: Reply) -> Iterator[bytes]:
        """The reply's blocks, each opaque one where it stood."""
        # a reply that was cut never had its calls run, and a call without an answer is refused
        calls = () if reply.cut else reply.tool_calls
        chars = given = 0
        for block in () if reply.cut else (one for one in reply.opaque if one.provider == self._provider):
            yield from _between(reply.text[chars : block.chars], calls[given : block.calls])
            chars, given = max(chars, block.chars), max(given, block.calls)
            yield block.data.encode()
        yield from _between(reply.text[chars:], calls[given:])


def encode_tools(tools: Sequence[ToolDefinition]) -> bytes:
    """The tool definitions as they stand in every body; empty when there are none."""
    if not tools:
        return b""
    return as_json(
        [{"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools]
    )


def messages_body(messages: Sequence[bytes], *, max_output: int, fields: Sequence[bytes], mark: bytes) -> bytes:
    """A streamed request of at most `max_output` output tokens, thinking included.

    `fields` are further ones, each `"name":value`, with those that counting does not take before the model's name.
    System texts come first in `messages`. After a step of many calls, `mark` (b"": none) stands where the request
    before it ended as well: from the end alone, the provider would not look back so far.
    """
    first = 0
    while first < len(messages) and messages[first].startswith(b"["):
        first += 1
    head = [b'{"max_tokens":%d' % max_output, b'"stream":true', *(field for field in fields if field)]
    if first:
        head.append(b'"system":[%s]' % b",".join(part[1:-1] for part in messages[:first]))
    head.append(b'"messages":[')
    # joined with the rest at once: each further copy of a long conversation costs as much again
    pieces = list(messages[first:]) or [b""]
    if mark and (before := _long_step(pieces)):
        pieces[before - 1] = pieces[before - 1][:-3] + b',"cache_control":%s}]}' % mark
    pieces[0] = b",".join(head) + pieces[0]
    pieces[-1] += b"]}"
    return b",".join(pieces)


def _long_step(pieces: Sequence[bytes]) -> int:
    """Where the last reply stands, if so many of its calls were answered that the request before is far; else 0."""
    place = len(pieces) - 1
    while place > 0 and pieces[place].startswith(_ANSWER):
        place -= 1
    return place if len(pieces) - 1 - place > _MOST_NEAR else 0


def model_field(model: str) -> bytes:
    """The model's name, the first of the fields that counting takes too."""
    return _MODEL + as_json(model)


def counting(body: bytes) -> bytes:
    """The same request as counting its input takes it: without what only sending has."""
    return b"{" + body[body.index(_MODEL) :]


def _message(role: bytes, blocks: Sequence[bytes]) -> bytes:
    return b'{"role":"%s","content":[%s]}' % (role, b",".join(blocks))


def _text(text: str) -> bytes:
    return b'{"type":"text","text":%s}' % as_json(text if text.strip() else NOTHING)


def _result(call_id: str, text: str) -> bytes:
    return b'{"type":"tool_result","tool_use_id":%s,"content":%s}' % (
        as_json(_name(call_id)),
        as_json(text if text.strip() else NOTHING),
    )


def _between(text: str, calls: Sequence[ToolCall]) -> Iterator[bytes]:
    if text.strip():
        yield _text(text)
    for call in calls:
        yield b'{"type":"tool_use","id":%s,"name":%s,"input":%s}' % (
            as_json(_name(call.id)),
            as_json(_name(call.name)[:_LONGEST_NAME]),
            _input(call.arguments),
        )


def _name(text: str) -> str:
    """An id or a tool's name with only the characters that the provider takes: another one's may have more."""
    return _NO_NAME.sub("_", text) or "_"


def _input(arguments: str) -> bytes:
    """A call's arguments, as the model wrote them where they are an object; else the text in one."""
    data = arguments.encode("utf-8", "replace")
    try:
        msgspec.json.decode(data, type=Mapping[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b'{"arguments":%s}' % as_json(arguments) if arguments.strip() else b"{}"
    return data.strip()
