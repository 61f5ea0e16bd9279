"""Puts the chunks of a Chat Completions stream together into one reply with its usage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from runner.models.fields import GarbledError, as_list, as_map, as_text, count
from runner.models.outcomes import cause_of
from runner.models.usage import Classed, Counts, in_class, true_usage
from runner.models.wire import thoughts
from runner.ports import Completion
from runner.pricing.cost import Asks
from runner.values import CallId, Reply, ToolCall, Usage

_FILTERED = "[the provider's content filter ended this reply]"
_AS_SAID: Classed = partial(in_class, asks=Asks(), entry=None)
_CUT = frozenset({"length", "max_tokens", "model_length"})
# what servers say of a generation that failed: vLLM, OpenRouter, DeepSeek
_FAILED = frozenset({"abort", "error", "insufficient_system_resource"})


class Assembly:
    """One reply under way. `add` each chunk, then ask for the `completion`.

    Thoughts that the server shows are kept for `model` where they led to a call: some servers insist on having them
    back. `counts` says what the server's count of input holds, `classed` how the reply is billed. `stand_in` gives the
    usage of a reply that came without one, or with zeros; where it is None (whatever costs money), such a reply is no
    whole one.
    """

    def __init__(
        self,
        call: CallId,
        on_text: Callable[[str], None],
        *,
        model: str = "",
        counts: Counts = "all",
        classed: Classed = _AS_SAID,
        stand_in: Callable[[], Usage] | None = None,
    ) -> None:
        self._call, self._on_text, self._model = call, on_text, model
        self._counts: Counts = counts
        self._classed, self._stand_in = classed, stand_in
        self._text: list[str] = []
        self._thought: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish = ""
        self._refused = False
        self._service: object = None
        self._usage: Mapping[str, object] = {}

    def read(self, chunks: Iterable[object], request_id: str) -> Completion:
        """Take every chunk and give the whole reply; raises GarbledError where there is none."""
        for chunk in chunks:
            self.add(chunk)
        return self.completion(request_id)

    def add(self, chunk: object) -> None:
        """Take one chunk; raises GarbledError when it is none."""
        if not isinstance(chunk, dict):
            raise GarbledError("a piece of the stream is no JSON object")
        top = as_map(chunk)  # pyright: ignore[reportUnknownArgumentType]  # whatever JSON holds
        if error := top.get("error"):
            raise failed(as_map(error))
        self._service = top.get("service_tier") or self._service
        for choice in map(as_map, as_list(top.get("choices"))):
            if choice.get("index", 0) != 0:
                raise GarbledError("the provider sent more than one reply")
            delta = as_map(choice.get("delta"))
            for key in ("content", "refusal"):
                if isinstance(piece := delta.get(key), str) and piece:
                    self._refused = self._refused or key == "refusal"
                    self._text.append(piece)
                    self._on_text(piece)
            if isinstance(piece := delta.get("reasoning_content"), str):
                self._thought.append(piece)
            for place, part in enumerate(map(as_map, as_list(delta.get("tool_calls")))):
                self._add_call(part, place)
            if isinstance(finish := choice.get("finish_reason"), str):
                self._finish = finish
            if any(value for key, value in delta.items() if key != "role"):
                self._usage = {}  # a running total from before this
        if self._finish:
            # one from before the end cannot hold all of it; of those after it the last one counts
            self._usage = as_map(top.get("usage")) or self._usage

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
            raise GarbledError("the stream ended before the reply did", cause="dropped")
        if self._finish in _FAILED:
            raise GarbledError("the provider says that the reply failed", cause="server")
        cut = self._finish in _CUT
        ending = "filtered" if self._finish == "content_filter" else "refused" if self._refused else ""
        # a reply that was broken off may hold half a call
        calls = () if ending else tuple(self._made(index) for index in sorted(self._calls))
        if not cut and any(not call.name for call in calls):
            raise GarbledError("a tool call without a name")
        text = "".join(self._text)
        usage = self._true_usage(empty=not text and not self._calls)
        if ending == "filtered":
            text = f"{text}\n{_FILTERED}".strip()
        opaque = (thoughts(self._model, self._thought),) if self._model and self._thought and calls and not cut else ()
        reply = Reply(text=text, tool_calls=calls, cut=cut, opaque=opaque, ending=ending)
        return Completion(reply=reply, usage=usage, request_id=request_id)

    def _made(self, index: int) -> ToolCall:
        call = self._calls[index]
        made_id = call["id"] or f"call_{self._call.iteration}_{self._call.step}_{index}"
        return ToolCall(made_id, call["name"], call["arguments"])

    def _true_usage(self, *, empty: bool) -> Usage:
        if not self._usage and self._stand_in is not None:
            return self._stand_in()
        details = as_map(self._usage.get("prompt_tokens_details"))
        lives = as_map(details.get("cache_creation_token_details"))
        written = details.get("cache_write_tokens", details.get("cache_creation_tokens"))
        found = Usage(
            count(self._usage, "prompt_tokens"),
            count(self._usage, "completion_tokens"),
            count(details, "cached_tokens", 0),
            count({"cache_write_tokens": written}, "cache_write_tokens", 0),
            cache_write_1h_tokens=count(lives, "ephemeral_1h_input_tokens", 0),
            reasoning_tokens=count(as_map(self._usage.get("completion_tokens_details")), "reasoning_tokens", 0),
        )
        total = count(self._usage, "total_tokens", 0)
        usage = true_usage(found, total, counts=self._counts, empty=empty, stand_in=self._stand_in)
        return self._classed(usage, as_text(self._service))


def failed(error: Mapping[str, object]) -> GarbledError:
    """The provider's own error in the middle of a reply: what was made until then may be billed."""
    code = as_text(error.get("code")) or as_text(error.get("type"))
    named = f" ({code})" if code else ""
    return GarbledError(f"the provider reported an error inside the stream{named}", cause=cause_of("compatible", code))
