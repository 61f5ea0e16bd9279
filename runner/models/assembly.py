"""Puts the chunks of a Chat Completions stream together into one reply with its usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from runner.models.openai_errors import as_map
from runner.ports import Completion
from runner.values import CallId, Reply, ToolCall, Usage

_FILTERED = "[the provider's content filter ended this reply]"


class GarbledError(ValueError):
    """A stream that is no whole reply: what is missing or wrong, in words."""


class Assembly:
    """One reply under way. `add` each chunk, then ask for the `completion`."""

    def __init__(self, call: CallId, on_text: Callable[[str], None]) -> None:
        self._call, self._on_text = call, on_text
        self._text: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish = ""
        self._usage: Mapping[str, object] = {}

    def add(self, chunk: object) -> None:
        """Take one chunk; raises GarbledError when it is none."""
        if not isinstance(chunk, dict):
            raise GarbledError("a piece of the stream is no JSON object")
        top = as_map(cast("object", chunk))
        if top.get("error"):
            raise GarbledError("the provider reported an error inside the stream")
        # some servers send running totals: the last one counts
        self._usage = as_map(top.get("usage")) or self._usage
        for choice in map(as_map, _list(top.get("choices"))):
            if choice.get("index", 0) != 0:
                raise GarbledError("the provider sent more than one reply")
            delta = as_map(choice.get("delta"))
            for key in ("content", "refusal"):
                if isinstance(piece := delta.get(key), str) and piece:
                    self._text.append(piece)
                    self._on_text(piece)
            for place, part in enumerate(map(as_map, _list(delta.get("tool_calls")))):
                self._add_call(part, place)
            if isinstance(finish := choice.get("finish_reason"), str):
                self._finish = finish

    def _add_call(self, part: Mapping[str, object], place: int) -> None:
        index = part.get("index", place)
        if not isinstance(index, int) or isinstance(index, bool):
            raise GarbledError("a tool call without a place")
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = as_map(part.get("function"))
        for key, value in (("name", function.get("name")), ("arguments", function.get("arguments"))):
            if isinstance(value, str):
                call[key] += value
        if isinstance(value := part.get("id"), str) and not call["id"]:
            call["id"] = value

    def completion(self, request_id: str) -> Completion:
        """The whole reply; raises GarbledError when the stream ended early or its usage cannot be believed."""
        if not self._finish:
            raise GarbledError("the stream ended before the reply did")
        usage = self._true_usage()
        cut = self._finish == "length"
        calls = tuple(self._made(index) for index in sorted(self._calls))
        if not cut and any(not call.name for call in calls):
            raise GarbledError("a tool call without a name")
        text = "".join(self._text)
        if self._finish == "content_filter":
            text = f"{text}\n{_FILTERED}".strip()
        return Completion(reply=Reply(text=text, tool_calls=calls, cut=cut), usage=usage, request_id=request_id)

    def _made(self, index: int) -> ToolCall:
        call = self._calls[index]
        made_id = call["id"] or f"call_{self._call.iteration}_{self._call.step}_{index}"
        return ToolCall(made_id, call["name"], call["arguments"])

    def _true_usage(self) -> Usage:
        details = as_map(self._usage.get("prompt_tokens_details"))
        tokens = Usage(
            _tokens(self._usage, "prompt_tokens"),
            _tokens(self._usage, "completion_tokens"),
            _tokens(details, "cached_tokens", 0),
            _tokens(details, "cache_write_tokens", 0),
        )
        if tokens.cached_tokens + tokens.cache_write_tokens > tokens.input_tokens:
            raise GarbledError("the usage counts more cached input than input")
        return tokens


def _tokens(table: Mapping[str, object], key: str, absent: int | None = None) -> int:
    value = table.get(key)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise GarbledError(f"the reply came without a usable `{key}` in its usage")
    return value


def _list(value: object) -> Sequence[object]:
    # each element of a JSON list is looked at
    return cast("Sequence[object]", value) if isinstance(value, list) else ()
