"""Anthropic's Messages API: blocks, signed thinking, explicit cache marks, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from runner.models.replay import pieces
from runner.models.wire import as_json
from runner.testing.dialects.asked import (
    Asked,
    BadRequestError,
    Block,
    Turn,
    limit,
    mapping,
    objects,
    plain,
    request,
    sealed,
    text_of,
    thought,
    top_of,
)
from runner.testing.dialects.chat import service_of
from runner.testing.script import Fault
from runner.values import Reply, ToolCall, Usage

_LEAST_THINKING = 1024
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Messages:
    """`POST …/messages`."""

    provider = "anthropic"
    id_header = "request-id"

    def read(self, body: bytes, *, counting: bool = False) -> Asked:
        top = top_of(body)
        messages = objects(top.get("messages"), "messages")
        tools = objects(top.get("tools") or [], "tools")
        granted = 1 if counting else limit(top, "max_tokens")
        blocks = [*_system(top.get("system")), *_contents(messages)]
        listed = [*(Block(plain(_bare(tool)), _life(tool)) for tool in tools), *blocks]
        if (whole := _life(top)) and listed:
            listed[-1] = Block(listed[-1].text, listed[-1].life or whole)
        replies = [place for place, one in enumerate(messages) if one.get("role") == "assistant"]
        latest = _parts(messages[replies[-1] + 1 :]) if replies else []
        users = (text_of(one.get("content")) for one in messages if one.get("role") == "user")
        return Asked(
            request=request(
                prompt=next(users, ""),
                replies=len(replies),
                answered=[text_of(part.get("content")) for part in latest if part.get("type") == "tool_result"],
                size=len(body),
                granted=granted,
            ),
            model=str(top.get("model")),
            tools=tuple(str(tool.get("name")) for tool in tools),
            streamed=bool(top.get("stream")),
            blocks=tuple(listed),
            lives=tuple(sorted({block.life for block in listed if block.life})),
            thinks=_thinks(top, granted, counting=counting),
            service="fast" if top.get("speed") == "fast" else service_of(top),
            geo="" if top.get("inference_geo") in (None, "global") else str(top["inference_geo"]),
        )

    def stream(self, turn: Turn) -> Iterator[bytes]:
        reply = turn.reply
        start = {**_usage(turn, begun=True)} if turn.fault is not Fault.NO_USAGE else {}
        head = {**_message(turn), "content": (), "stop_reason": None, "usage": start}
        yield _event({"type": "message_start", "message": head})
        yield _event({"type": "ping"})
        for index, block in enumerate(_blocks(turn)):
            begun, deltas = _deltas(block)
            yield _event({"type": "content_block_start", "index": index, "content_block": begun})
            for delta in deltas:
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        ended = {"stop_reason": _stop(reply), "stop_sequence": None}
        final = {} if turn.fault is Fault.NO_USAGE else {"usage": _usage(turn, begun=False)}
        yield _event({"type": "message_delta", "delta": ended, **final})
        yield _event({"type": "message_stop"})

    def broken(self) -> bytes:
        return _event({"type": "error", "error": {"type": "overloaded_error", "message": "as the script says"}})

    def whole(self, turn: Turn) -> bytes:
        usage = {} if turn.fault is Fault.NO_USAGE else {"usage": {**_usage(turn, begun=True), **_output(turn)}}
        return as_json({**_message(turn), "content": _blocks(turn), "stop_reason": _stop(turn.reply), **usage})

    def error(self, status: int, message: str, number: int) -> bytes:
        error = {"type": _KINDS.get(status, "api_error"), "message": message}
        return as_json({"type": "error", "error": error, "request_id": f"req_{number}"})

    def resets(self, seconds: int) -> Mapping[str, str]:
        at = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": at}

    def counted(self, tokens: int) -> bytes:
        return as_json({"input_tokens": tokens})


def _life(table: Mapping[str, object]) -> str:
    mark = table.get("cache_control")
    return "" if mark is None else str(mapping(mark).get("ttl") or "5m")


def _bare(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if key != "cache_control"}


def _system(value: object) -> list[Block]:
    if value is None:
        return []
    if isinstance(value, str):
        return [Block(plain(value))]
    return [Block(plain(_bare(block)), _life(block)) for block in objects(value, "system")]


def _parts(messages: list[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """The content blocks of messages; a text alone is one block."""
    return [
        part
        for one in messages
        for part in (
            [{"type": "text", "text": one["content"]}]
            if isinstance(one.get("content"), str)
            else objects(one.get("content"), "content")
        )
    ]


def _contents(messages: list[Mapping[str, object]]) -> list[Block]:
    """The blocks of a conversation, each checked as the real API checks it."""
    found: list[Block] = []
    asked: set[str] = set()
    for message in messages:
        role = message.get("role")
        if role not in {"user", "assistant"}:
            msg = f"messages: unexpected role {role!r}"
            raise BadRequestError(msg)
        parts = _parts([message])
        answered = {str(part.get("tool_use_id")) for part in parts if part.get("type") == "tool_result"}
        if role == "user":
            if not answered <= asked:
                msg = "a `tool_result` block answers a `tool_use` that is not in the message before"
                raise BadRequestError(msg)
            asked -= answered
        elif asked:
            msg = "`tool_use` ids were found without `tool_result` blocks immediately after"
            raise BadRequestError(msg)
        for part in parts:
            _check(part)
            if part.get("type") == "tool_use":
                asked.add(str(part.get("id")))
            found.append(Block(plain([role, _bare(part)]), _life(part)))
    if asked:
        msg = "`tool_use` ids were found without `tool_result` blocks immediately after"
        raise BadRequestError(msg)
    return found


def _check(part: Mapping[str, object]) -> None:
    kind = part.get("type")
    if kind == "text" and not str(part.get("text")).strip():
        msg = "text content blocks must be non-empty and contain non-whitespace text"
        raise BadRequestError(msg)
    if kind == "thinking" and part.get("signature") != sealed(str(part.get("thinking"))):
        msg = "Invalid `signature` in `thinking` block"
        raise BadRequestError(msg)
    if kind == "redacted_thinking" and not str(part.get("data")).startswith("hidden-"):
        msg = "Invalid `data` in `redacted_thinking` block"
        raise BadRequestError(msg)


def _thinks(top: Mapping[str, object], granted: int, *, counting: bool) -> bool:
    value = top.get("thinking")
    if value is None:
        return False
    thinking = mapping(value)
    if thinking.get("type") == "enabled" and not counting:
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or not _LEAST_THINKING <= budget < granted:
            msg = "`thinking.budget_tokens` must be at least 1024 and less than `max_tokens`"
            raise BadRequestError(msg)
    return thinking.get("type") in {"enabled", "adaptive"}


def _message(turn: Turn) -> dict[str, object]:
    return {
        "id": f"msg_{turn.number}",
        "type": "message",
        "role": "assistant",
        "model": turn.model,
        "stop_sequence": None,
    }


def _blocks(turn: Turn) -> list[dict[str, object]]:
    """The reply's blocks: thoughts (signed, and one hidden), text, calls."""
    reply = turn.reply
    found: list[dict[str, object]] = []
    if turn.thinks:
        said = thought(turn)
        found.append({"type": "thinking", "thinking": said, "signature": sealed(said)})
        found.append({"type": "redacted_thinking", "data": f"hidden-{turn.number}+/=\u00e4"})
    if reply.text:
        found.append({"type": "text", "text": reply.text})
    found.extend(_use(call) for call in reply.tool_calls)
    return found


def _use(call: ToolCall) -> dict[str, object]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call.arguments)}


def _arguments(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text  # cut in the middle: told as it is


def _deltas(block: Mapping[str, object]) -> tuple[dict[str, object], list[Mapping[str, object]]]:
    """How a block begins in a stream, and what follows."""
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": part} for part in pieces(str(block["text"]))
            ]
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}, [
                *({"type": "thinking_delta", "thinking": part} for part in pieces(str(block["thinking"]))),
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "tool_use":
            given = block["input"]
            text = given if isinstance(given, str) else as_json(given).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in pieces(text)]
        case _:
            return dict(block), []


def _stop(reply: Reply) -> str:
    endings = {"refused": "refusal", "filtered": "refusal", "paused": "pause_turn",
               "window": "model_context_window_exceeded"}  # fmt: skip
    if reply.ending in endings:
        return endings[reply.ending]
    return "max_tokens" if reply.cut else "tool_use" if reply.tool_calls else "end_turn"


def _usage(turn: Turn, *, begun: bool) -> dict[str, object]:
    """The usage as a stream tells it: with the lives of cache writes at its start, cumulative at its end."""
    told: Usage = turn.told
    table: dict[str, object] = {
        "input_tokens": told.input_tokens - told.cached_tokens - told.cache_write_tokens,
        "cache_read_input_tokens": told.cached_tokens,
        "cache_creation_input_tokens": told.cache_write_tokens,
    }
    if not begun:
        return {**table, **_output(turn)}
    longer = told.cache_write_1h_tokens
    return {
        **table,
        "cache_creation": {
            "ephemeral_5m_input_tokens": told.cache_write_tokens - longer,
            "ephemeral_1h_input_tokens": longer,
        },
        "output_tokens": min(1, told.output_tokens),
        "service_tier": told.service if told.service in {"priority", "batch"} else "standard",
        "speed": "fast" if told.service == "fast" else "standard",
        "inference_geo": told.geo or "global",
    }


def _output(turn: Turn) -> dict[str, object]:
    told = turn.told
    return {
        "output_tokens": -1 if turn.fault is Fault.BAD_USAGE else told.output_tokens,
        "output_tokens_details": {"thinking_tokens": told.reasoning_tokens},
    }


def _event(value: Mapping[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (str(value["type"]).encode(), as_json(value))
