"""A stream that breaks off anywhere is never taken for a reply, and nothing a server says breaks more than a call."""

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import LostError, UnbilledError
from runner.models.assembly import Assembly
from runner.models.fields import GarbledError
from runner.models.outcomes import TABLES, outcome
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


KEYS = [
    "type", "choices", "delta", "index", "content", "refusal", "reasoning_content", "tool_calls", "function", "name",
    "arguments", "id", "finish_reason", "usage", "prompt_tokens", "completion_tokens", "total_tokens", "service_tier",
    "prompt_tokens_details", "cached_tokens", "error", "code", "item", "response", "status", "output", "text", "phase",
    "incomplete_details", "reason", "input_tokens", "output_tokens", "input_tokens_details", "call_id", "output_index",
]  # fmt: skip
WORDS = [
    "stop", "length", "tool_calls", "content_filter", "error", "message", "function_call", "reasoning", "refusal",
    "output_text", "response.completed", "response.incomplete", "response.failed", "response.output_item.done",
    "response.output_text.delta", "completed", "incomplete", "max_output_tokens", "content_filter", "a", "",
]  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 99), st.just(10**40), st.floats(allow_nan=False), st.sampled_from(WORDS)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=25,
)
CHOICE = st.fixed_dictionaries({"delta": JSON}, optional={"finish_reason": st.sampled_from(WORDS), "index": JSON})
CHUNK = st.one_of(JSON, st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2)}, optional={"usage": JSON}))
ENDED = st.fixed_dictionaries(
    {"status": st.one_of(JSON, st.sampled_from(WORDS)), "output": st.lists(JSON, max_size=3), "usage": JSON},
    optional={"incomplete_details": JSON, "error": JSON, "service_tier": JSON},
)
EVENT = st.one_of(
    JSON,
    st.fixed_dictionaries({"type": st.sampled_from(WORDS)}, optional={"item": JSON, "delta": JSON, "error": JSON}),
    st.fixed_dictionaries({"type": st.sampled_from(["response.completed", "response.incomplete"]), "response": ENDED}),
)


def _survives(read: Read, events: list[object]) -> None:
    try:
        done = read(iter([_stream(*events)]))
    except GarbledError:
        return  # any other error would end the run, and not this call alone
    assert done.usage.input_tokens > 0
    assert not (done.reply.cut and done.reply.opaque)
    assert all(call.name for call in done.reply.tool_calls) or done.reply.cut


@given(st.lists(CHUNK, max_size=6))
def test_no_chunk_of_a_chat_can_break_more_than_its_own_reply(chunks: list[object]):
    _survives(_read_chat, chunks)


@given(st.lists(EVENT, max_size=6))
def test_no_event_of_a_response_can_break_more_than_its_own_reply(events: list[object]):
    _survives(_read_responses, events)


ERROR = st.fixed_dictionaries({"error": st.dictionaries(st.sampled_from(["message", "code", "type", "details"]), JSON)})
HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "retry-after-ms", "date", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"]
    ),
    st.one_of(st.text(max_size=12), st.sampled_from(["9" * 400, "1m", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])),
)


@given(st.sampled_from(list(TABLES)), st.integers(300, 599), st.one_of(JSON, ERROR), HEADERS)
def test_whatever_a_refusal_holds_it_is_one_of_two_things(
    provider: str, status: int, body: object, headers: dict[str, str]
):
    found = outcome(provider, status, body, headers, secret="")
    assert isinstance(found, UnbilledError | LostError)
    assert found.cause
    assert found.retry_after_s is None or 0 <= found.retry_after_s <= 86_400
