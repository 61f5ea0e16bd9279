"""Puts the events of a Responses stream together into one reply with its usage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from runner.models.assembly import failed
from runner.models.fields import GarbledError, as_list, as_map, as_text, count
from runner.models.responses_wire import exact
from runner.models.usage import Classed, Counts, in_class, true_usage
from runner.ports import Completion
from runner.pricing.cost import Asks
from runner.values import Opaque, Reply, ToolCall, Usage

_FILTERED = "[the provider's content filter ended this reply]"
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_AS_SAID: Classed = partial(in_class, asks=Asks(), entry=None)
_BETWEEN = "\n\n"


class Assembly:
    """One reply under way, of `model`. `counts`, `classed` and `stand_in` are those of Chat Completions."""

    def __init__(
        self,
        model: str,
        on_text: Callable[[str], None],
        *,
        counts: Counts = "all",
        classed: Classed = _AS_SAID,
        stand_in: Callable[[], Usage] | None = None,
    ) -> None:
        self._model, self._on_text = model, on_text
        self._counts: Counts = counts
        self._classed, self._stand_in = classed, stand_in
        self._items: list[Mapping[str, object]] = []
        self._shown = ""
        self._end: Mapping[str, object] = {}

    def read(self, events: Iterable[object], request_id: str) -> Completion:
        """Take the events up to the reply's end and give it whole; raises GarbledError where there is none."""
        for event in events:
            if self.add(event):
                return self.completion(request_id)
        raise GarbledError("the stream ended before the reply did", cause="dropped")

    def add(self, event: object) -> bool:
        """Take one event; say whether it ended the reply. Raises GarbledError for one that is none, or an error."""
        top = as_map(event)
        kind = top.get("type")
        if not isinstance(kind, str):
            raise GarbledError("a piece of the stream is no event")
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                self._show(top)
            case "response.output_item.done":
                self._items.append(as_map(top.get("item")))
            case "error":
                # flat, or as an answer that is no stream has it
                raise failed(as_map(top.get("error")) or top)
            case _ if kind in _ENDS:
                self._end = as_map(top.get("response"))
                if kind == "response.failed":
                    raise failed(as_map(self._end.get("error")))
                return True
            case _:
                pass
        return False

    def _show(self, event: Mapping[str, object]) -> None:
        piece, item = as_text(event.get("delta")), f"{event.get('output_index')}"
        if piece and self._shown and self._shown != item:
            self._on_text(_BETWEEN)
        if piece:
            self._shown = item
            self._on_text(piece)

    def completion(self, request_id: str) -> Completion:
        """The whole reply; raises GarbledError when its end says otherwise or its usage cannot be believed."""
        status = as_text(self._end.get("status"))
        why = as_text(as_map(self._end.get("incomplete_details")).get("reason"))
        if status not in {"completed", "incomplete"} or (status == "incomplete" and not why):
            raise GarbledError("the provider does not say how the reply ended")
        items = [as_map(item) for item in as_list(self._end.get("output"))] or self._items
        reply = _reply(items, self._model, cut=why == "max_output_tokens", filtered=why == "content_filter")
        if why and not reply.cut and not reply.ending:
            raise GarbledError("the provider ended the reply for a reason that is not known")
        return Completion(reply=reply, usage=self._usage(empty=not items), request_id=request_id)

    def _usage(self, *, empty: bool) -> Usage:
        usage = as_map(self._end.get("usage"))
        if not usage and self._stand_in is not None:
            return self._stand_in()
        details = as_map(usage.get("input_tokens_details"))
        found = Usage(
            count(usage, "input_tokens"),
            count(usage, "output_tokens"),
            count(details, "cached_tokens", 0),
            count(details, "cache_write_tokens", 0),
            reasoning_tokens=count(as_map(usage.get("output_tokens_details")), "reasoning_tokens", 0),
        )
        total = count(usage, "total_tokens", 0)
        true = true_usage(found, total, counts=self._counts, empty=empty, stand_in=self._stand_in)
        return self._classed(true, as_text(self._end.get("service_tier")))


def _reply(items: Iterable[Mapping[str, object]], model: str, *, cut: bool, filtered: bool) -> Reply:
    """The reply of whole items; what belongs between its words and calls only its model can read."""
    text, calls, opaque, refused = "", list[ToolCall](), list[Opaque](), False
    for item in items:
        match item.get("type"):
            case "message":
                parts = [as_map(part) for part in as_list(item.get("content"))]
                refused = refused or any(part.get("type") == "refusal" for part in parts)
                said = "".join(as_text(part.get("text")) or as_text(part.get("refusal")) for part in parts)
                if said and text:
                    text += _BETWEEN
                if phase := as_text(item.get("phase")):
                    mark = exact({"type": "message", "phase": phase})
                    opaque.append(Opaque(provider=model, chars=len(text), calls=len(calls), data=mark))
                text += said
            case "function_call":
                calls.append(_call(item, cut=cut))
            case _:
                # a reasoning item, or one of a kind that is not known here: either goes back as it came
                opaque.append(Opaque(provider=model, chars=len(text), calls=len(calls), data=exact(item)))
    ending = "filtered" if filtered else "refused" if refused else ""
    if ending:
        # a reply that was broken off may hold half a call
        shown = f"{text}\n{_FILTERED}".strip() if filtered else text
        return Reply(text=shown, cut=cut, ending=ending)
    return Reply(text=text, tool_calls=tuple(calls), cut=cut, opaque=() if cut else tuple(opaque))


def _call(item: Mapping[str, object], *, cut: bool) -> ToolCall:
    made = ToolCall(as_text(item.get("call_id")), as_text(item.get("name")), as_text(item.get("arguments")))
    if not cut and not (made.id and made.name):
        raise GarbledError("a tool call without a name or an id")
    return made
