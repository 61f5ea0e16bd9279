"""Chat Completions, as OpenAI and the servers that copied it speak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    text_of,
    thought,
    top_of,
)
from runner.testing.script import Fault
from runner.values import Reply, Usage

REFUSED = "I cannot help with that."
CODES = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    402: "insufficient_balance",
    403: "permission_denied",
    404: "model_not_found",
    413: "request_too_large",
    429: "rate_limit_exceeded",
}


class Chat:
    """`POST …/chat/completions`."""

    provider = "openai"
    id_header = "x-request-id"

    def read(self, body: bytes) -> Asked:
        top = top_of(body)
        messages = objects(top.get("messages"), "messages")
        tools = objects(top.get("tools") or [], "tools")
        roles = [message.get("role") for message in messages]
        replies = [place for place, role in enumerate(roles) if role == "assistant"]
        latest = messages[replies[-1] + 1 :] if replies else []
        known = {
            str(call.get("id"))
            for message in messages
            for call in objects(message.get("tool_calls") or [], "tool_calls")
        }
        for message in messages:
            if message.get("role") == "tool" and str(message.get("tool_call_id")) not in known:
                msg = "a tool message answers a call that nobody made"
                raise BadRequestError(msg)
        return Asked(
            request=request(
                prompt=next((text_of(m.get("content")) for m in messages if m.get("role") == "user"), ""),
                replies=len(replies),
                answered=[text_of(m.get("content")) for m in latest if m.get("role") == "tool"],
                size=len(body),
                granted=limit(top, "max_completion_tokens", "max_tokens"),
            ),
            model=str(top.get("model")),
            tools=tuple(str(mapping(tool.get("function")).get("name")) for tool in tools),
            streamed=bool(top.get("stream")),
            blocks=tuple(Block(plain(one)) for one in (*tools, *messages)),
            thinks=top.get("reasoning_effort") not in (None, "none"),
            service=service_of(top),
        )

    def stream(self, turn: Turn) -> Iterator[bytes]:
        for chunk in _chunks(turn):
            yield b"data: " + as_json(chunk) + b"\n\n"
        yield b"data: [DONE]\n\n"

    def broken(self) -> bytes:
        return b"data: " + as_json({"error": {"type": "server_error", "message": "as the script says"}}) + b"\n\n"

    def whole(self, turn: Turn) -> bytes:
        reply = turn.reply
        refused = reply.ending == "refused"
        message = {
            "role": "assistant",
            "content": None if refused else reply.text,
            **({"refusal": reply.text} if refused else {}),
            **({"tool_calls": [_call(call.id, call.name, call.arguments) for call in reply.tool_calls]}
               if reply.tool_calls else {}),
        }  # fmt: skip
        return as_json(
            {
                "id": f"chatcmpl-{turn.number}",
                "object": "chat.completion",
                "created": 1,
                "model": turn.model,
                "service_tier": turn.told.service or "default",
                "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply)}],
                **({} if turn.fault is Fault.NO_USAGE else {"usage": usage_of(turn)}),
            }
        )

    def error(self, status: int, message: str, number: int) -> bytes:
        del number
        code = CODES.get(status, f"error_{status}")
        return as_json({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})

    def resets(self, seconds: int) -> Mapping[str, str]:
        return {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": f"{seconds}s"}


def service_of(top: Mapping[str, object]) -> str:
    """The class of service a request asks for, as it will be billed."""
    asked = str(top.get("service_tier") or "")
    return "" if asked in {"auto", "default", "standard_only"} else asked


def usage_of(turn: Turn) -> dict[str, object]:
    """The usage as this API names its parts."""
    told: Usage = turn.told
    return {
        "prompt_tokens": told.input_tokens,
        "completion_tokens": -1 if turn.fault is Fault.BAD_USAGE else told.output_tokens,
        "total_tokens": told.total,
        "prompt_tokens_details": {"cached_tokens": told.cached_tokens, "cache_write_tokens": told.cache_write_tokens},
        "completion_tokens_details": {"reasoning_tokens": told.reasoning_tokens},
    }


def _finish(reply: Reply) -> str:
    if reply.ending == "filtered":
        return "content_filter"
    return "length" if reply.cut else "tool_calls" if reply.tool_calls else "stop"


def _call(name_id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": name_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _chunks(turn: Turn) -> Iterator[dict[str, object]]:
    """The stream's events: role, thoughts, text, calls in parts, finish, usage."""
    reply = turn.reply

    def chunk(delta: Mapping[str, object], finish: str | None = None) -> dict[str, object]:
        return {
            "id": f"chatcmpl-{turn.number}",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": turn.model,
            "service_tier": turn.told.service or "default",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            "usage": None,
        }

    yield chunk({"role": "assistant", "content": ""})
    if turn.thinks:
        for part in pieces(thought(turn)):
            yield chunk({"reasoning_content": part})
    for part in pieces(reply.text):
        yield chunk({"refusal" if reply.ending == "refused" else "content": part})
    for index, call in enumerate(reply.tool_calls):
        yield chunk({"tool_calls": [{"index": index, **_call(call.id, call.name, "")}]})
        for part in pieces(call.arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, _finish(reply))
    if turn.fault is not Fault.NO_USAGE:
        yield {**chunk({}), "choices": [], "usage": usage_of(turn)}
