"""OpenAI's Responses API: items in, items out, reasoning sealed and given back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from runner.models.replay import pieces
from runner.models.wire import as_json
from runner.testing.dialects.asked import (
    Asked,
    BadRequestError,
    Block,
    Turn,
    limit,
    objects,
    plain,
    request,
    sealed,
    text_of,
    thought,
    top_of,
)
from runner.testing.dialects.chat import Chat, service_of
from runner.testing.script import Fault


class _Event(Protocol):
    def __call__(self, kind: str, **more: object) -> bytes: ...


_SAID = frozenset({"message", "function_call", "reasoning"})


class Responses(Chat):
    """`POST …/responses`. Refusals and headers are those of Chat Completions."""

    def read(self, body: bytes, *, counting: bool = False) -> Asked:
        top = top_of(body)
        given = top.get("input")
        items = objects([{"role": "user", "content": given}] if isinstance(given, str) else given, "input")
        tools = objects(top.get("tools") or [], "tools")
        _check(items)
        said = [_is_said(item) for item in items]
        begun = [place for place, one in enumerate(said) if one and not (place and said[place - 1])]
        last = max((place for place, one in enumerate(said) if one), default=-1)
        latest = items[last + 1 :] if begun else []
        system = top.get("instructions")
        return Asked(
            request=request(
                prompt=next((text_of(one.get("content")) for one in items if one.get("role") == "user"), ""),
                replies=len(begun),
                answered=[text_of(one.get("output")) for one in latest if one.get("type") == "function_call_output"],
                size=len(body),
                granted=1 if counting else limit(top, "max_output_tokens"),
            ),
            model=str(top.get("model")),
            tools=tuple(str(tool.get("name")) for tool in tools),
            streamed=bool(top.get("stream")),
            blocks=tuple(Block(plain(one)) for one in (*tools, *([system] if system else []), *items)),
            thinks=bool(top.get("reasoning")) or "reasoning.encrypted_content" in plain(top.get("include")).decode(),
            service=service_of(top),
        )

    def stream(self, turn: Turn) -> Iterator[bytes]:
        sequence = iter(range(1_000_000))

        def event(kind: str, **more: object) -> bytes:
            value = {"type": kind, "sequence_number": next(sequence), **more}
            return b"event: %s\ndata: %s\n\n" % (kind.encode(), as_json(value))

        begun = _response(turn, "in_progress", [])
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        items = _items(turn)
        for index, item in enumerate(items):
            yield event("response.output_item.added", output_index=index, item=_empty(item))
            where = {"item_id": item["id"], "output_index": index}
            if item["type"] == "function_call":
                for part in pieces(str(item["arguments"])):
                    yield event("response.function_call_arguments.delta", **where, delta=part)
                yield event("response.function_call_arguments.done", **where, arguments=item["arguments"])
            elif item["type"] == "message":
                yield from _told(turn, event, where)
            yield event("response.output_item.done", output_index=index, item=item)
        ended = _ended(turn)
        yield event(f"response.{ended}", response=_response(turn, ended, items))

    def broken(self) -> bytes:
        error = {"code": "server_error", "message": "as the script says"}
        failed = {"id": "resp", "object": "response", "status": "failed", "error": error}
        return b"event: response.failed\ndata: " + as_json({"type": "response.failed", "response": failed}) + b"\n\n"

    def whole(self, turn: Turn) -> bytes:
        return as_json(_response(turn, _ended(turn), _items(turn)))

    def counted(self, tokens: int) -> bytes:
        return as_json({"object": "response.input_tokens", "input_tokens": tokens})


def _is_said(item: Mapping[str, object]) -> bool:
    """Whether the model said this item."""
    kind = item.get("type", "message")
    return kind in _SAID and (kind != "message" or item.get("role") == "assistant")


def _check(items: list[Mapping[str, object]]) -> None:
    calls = {str(item.get("call_id")) for item in items if item.get("type") == "function_call"}
    outputs = {str(item.get("call_id")) for item in items if item.get("type") == "function_call_output"}
    if not outputs <= calls:
        msg = "No tool call found for function call output"
        raise BadRequestError(msg)
    if calls - outputs:
        msg = "No tool output found for function call"
        raise BadRequestError(msg)
    for item in items:
        if item.get("type") == "reasoning" and item.get("encrypted_content") != sealed(str(item.get("id"))):
            msg = "The encrypted content could not be verified"
            raise BadRequestError(msg)


def _told(turn: Turn, event: _Event, where: Mapping[str, object]) -> Iterator[bytes]:
    """The text of a message, part by part."""
    reply = turn.reply
    kind = "refusal" if reply.ending == "refused" else "output_text"
    empty = {"type": kind, "refusal" if kind == "refusal" else "text": ""}
    yield event("response.content_part.added", **where, content_index=0, part=empty)
    for part in pieces(reply.text):
        yield event(f"response.{kind}.delta", **where, content_index=0, delta=part)
    done = {"refusal" if kind == "refusal" else "text": reply.text}
    yield event(f"response.{kind}.done", **where, content_index=0, **done)
    yield event("response.content_part.done", **where, content_index=0, part={**empty, **done})


def _items(turn: Turn) -> list[dict[str, object]]:
    reply, number = turn.reply, turn.number
    found: list[dict[str, object]] = []
    if turn.thinks:
        ident = f"rs_{number}"
        found.append(
            {
                "id": ident,
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": thought(turn)}],
                "encrypted_content": sealed(ident),
            }
        )
    if reply.text:
        said: dict[str, object] = {"type": "output_text", "text": reply.text, "annotations": ()}
        if reply.ending == "refused":
            said = {"type": "refusal", "refusal": reply.text}
        told = {"status": "incomplete" if reply.cut else "completed", "content": [said]}
        found.append({"id": f"msg_{number}", "type": "message", "role": "assistant", **told})
    found.extend(_call(turn, place) for place in range(len(reply.tool_calls)))
    return found


def _call(turn: Turn, place: int) -> dict[str, object]:
    call = turn.reply.tool_calls[place]
    return {
        "id": f"fc_{turn.number}_{place}",
        "type": "function_call",
        "status": "incomplete" if turn.reply.cut else "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _empty(item: Mapping[str, object]) -> dict[str, object]:
    """An item as it is announced."""
    begun = {**item, **({"status": "in_progress"} if "status" in item else {})}
    if item["type"] == "function_call":
        return {**begun, "arguments": ""}
    return {**begun, "content": []} if item["type"] == "message" else {**begun, "encrypted_content": None}


def _ended(turn: Turn) -> str:
    return "incomplete" if turn.reply.cut or turn.reply.ending == "filtered" else "completed"


def _response(turn: Turn, status: str, items: list[dict[str, object]]) -> dict[str, object]:
    told, why = turn.told, "content_filter" if turn.reply.ending == "filtered" else "max_output_tokens"
    usage: dict[str, object] = {
        "input_tokens": told.input_tokens,
        "input_tokens_details": {"cached_tokens": told.cached_tokens, "cache_write_tokens": told.cache_write_tokens},
        "output_tokens": -1 if turn.fault is Fault.BAD_USAGE else told.output_tokens,
        "output_tokens_details": {"reasoning_tokens": told.reasoning_tokens},
        "total_tokens": told.total,
    }
    known = status != "in_progress" and turn.fault is not Fault.NO_USAGE
    return {
        "id": f"resp_{turn.number}",
        "object": "response",
        "created_at": 1,
        "model": turn.model,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": why} if status == "incomplete" else None,
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": told.service or "default",
        "usage": usage if known else None,
    }
