"""A stream that breaks off anywhere is never taken for a reply, and how its bytes are cut decides nothing."""

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.models.assembly import Assembly
from runner.models.fields import GarbledError
from runner.models.responses_assembly import Assembly as ResponsesAssembly
from runner.models.sse import values
from runner.ports import Completion
from runner.values import CallId, ToolCall

CALL = {"call_id": "a", "name": "run", "arguments": '{"argv":["ls"]}'}


def _stream(*events: object) -> bytes:
    return b"".join(b"data: %s\r\n\r\n" % json.dumps(event, ensure_ascii=False).encode() for event in events)


def _chat() -> bytes:
    def chunk(delta: object, finish: str | None = None, **more: object) -> object:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}

    function = {"name": CALL["name"], "arguments": CALL["arguments"]}
    return (
        _stream(
            chunk({"content": "Ich prüfe – "}),
            chunk({"content": "jetzt. 🙂"}),
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {**function, "arguments": '{"argv":'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '["ls"]}'}}]}),
            chunk({}, "tool_calls"),
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}},
        )
        + b"data: [DONE]\r\n\r\n"
    )


def _responses() -> bytes:
    said = {"type": "message", "content": [{"type": "output_text", "text": "Ich prüfe – jetzt. 🙂"}]}
    items = [{"type": "reasoning", "id": "rs_1", "encrypted_content": "xyz"}, said, {"type": "function_call", **CALL}]
    usage = {"input_tokens": 9, "output_tokens": 7, "total_tokens": 16}
    return _stream(
        {"type": "response.created", "response": {"status": "in_progress", "usage": None}},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Ich prüfe – "},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "jetzt. 🙂"},
        *({"type": "response.output_item.done", "item": item} for item in items),
        {"type": "response.completed", "response": {"status": "completed", "output": items, "usage": usage}},
    )


def _read_chat(pieces: Iterator[bytes]) -> Completion:
    return Assembly(CallId(1, 1, 1), lambda _: None).read(values(pieces), "")


def _read_responses(pieces: Iterator[bytes]) -> Completion:
    return ResponsesAssembly("openai/m", lambda _: None).read(values(pieces), "")


Read = Callable[[Iterator[bytes]], Completion]
BOTH = [(_read_chat, _chat()), (_read_responses, _responses())]


@pytest.mark.parametrize(("read", "data"), BOTH)
def test_a_stream_cut_anywhere_brings_the_whole_reply_or_none(read: Read, data: bytes):
    whole = read(iter([data]))
    assert whole.reply.text == "Ich prüfe – jetzt. 🙂"
    assert whole.reply.tool_calls == (ToolCall("a", "run", '{"argv":["ls"]}'),)
    lost = 0
    for end in range(len(data)):
        try:
            assert read(iter([data[:end]])) == whole
        except GarbledError:
            lost += 1
    # whole only where nothing but the end of the stream was missing
    assert lost >= len(data) - len(b"\r\n\r\ndata: [DONE]\r\n\r\n")


@pytest.mark.parametrize(("read", "data"), BOTH)
@given(cuts=st.data())
def test_it_does_not_matter_where_the_bytes_were_parted(read: Read, data: bytes, cuts: st.DataObject):
    places = sorted(cuts.draw(st.sets(st.integers(0, len(data)), max_size=40)))
    pieces = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]
    assert read(iter(pieces)) == read(iter([data]))
