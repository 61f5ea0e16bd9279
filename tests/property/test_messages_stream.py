"""Whatever bytes a Messages stream is made of: a whole reply, or the news that there is none. Nothing else."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.models.anthropic_assembly import Assembly
from runner.models.anthropic_events import events
from runner.models.fields import GarbledError
from runner.ports import Completion
from runner.pricing.cost import Asks

TEXT = 'Say "caf\u00e9" \\ 漢字 🙂\n'
THOUGHT = "so – \u2028 \\u0041 🙂"


def event(**fields: object) -> bytes:
    # escapes for half of them, as some servers write
    return b"data: %s\n\n" % json.dumps(fields, ensure_ascii=len(str(fields)) % 2 == 0).encode()


def block(index: int, begun: Mapping[str, object], *deltas: Mapping[str, object]) -> list[bytes]:
    return [
        event(type="content_block_start", index=index, content_block=begun),
        *(event(type="content_block_delta", index=index, delta=delta) for delta in deltas),
        event(type="content_block_stop", index=index),
    ]


def cut(text: str) -> list[str]:
    """Pieces of a text, the parting of a character's two halves among them."""
    halves = text.encode("utf-16-le", "surrogatepass")
    return [halves[at : at + 6].decode("utf-16-le", "surrogatepass") for at in range(0, len(halves), 6)]


STREAM = b"".join(
    (
        event(type="message_start", message={"usage": {"input_tokens": 7, "output_tokens": 1}}),
        b": a comment\r\nevent: ping\r\n",
        event(type="ping"),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            *({"type": "thinking_delta", "thinking": piece} for piece in cut(THOUGHT)),
            {"type": "signature_delta", "signature": "c2ln+/="},
        ),
        *block(1, {"type": "redacted_thinking", "data": "aGlk"}),
        *block(2, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in cut(TEXT))),
        *block(
            3,
            {"type": "tool_use", "id": "t1", "name": "run", "input": {}},
            *({"type": "input_json_delta", "partial_json": piece} for piece in cut(json.dumps({"argv": [TEXT]}))),
        ),
        *block(4, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
               {"type": "input_json_delta", "partial_json": '{"query":"x"}'}),
        *block(5, {"type": "new_kind", "content": [1, None, {"a": "\u00e4"}]}),
        event(type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 30}),
        event(type="message_stop"),
    )
)  # fmt: skip


def read(data: bytes, size: int = 1 << 20) -> Completion:
    said: list[str] = []
    assembly = Assembly("anthropic", said.append)
    for one in events(data[at : at + size] for at in range(0, len(data), size)):
        assembly.add(one)
    return assembly.completion("r", Asks())


WHOLE = read(STREAM)


def test_the_whole_stream_is_the_whole_reply():
    assert WHOLE.reply.text == TEXT
    assert [json.loads(call.arguments) for call in WHOLE.reply.tool_calls] == [{"argv": [TEXT]}]
    thinking, hidden, searched, unknown = (json.loads(one.data) for one in WHOLE.reply.opaque)
    assert thinking == {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln+/="}
    assert hidden == {"type": "redacted_thinking", "data": "aGlk"}
    assert searched["input"] == {"query": "x"}
    assert unknown == {"type": "new_kind", "content": [1, None, {"a": "ä"}]}
    assert [(one.chars, one.calls) for one in WHOLE.reply.opaque] == [(0, 0), (0, 0), (len(TEXT), 1), (len(TEXT), 1)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_it_does_not_matter_where_the_network_cuts(size: int):
    assert read(STREAM, size) == WHOLE


def test_a_stream_that_breaks_off_anywhere_is_no_reply():
    for end in range(len(STREAM) - 2):
        with pytest.raises(GarbledError):
            read(STREAM[:end])


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(STREAM) - 1), new=st.binary(max_size=4), gone=st.integers(0, 40))
def test_a_damaged_stream_is_a_reply_or_none(at: int, new: bytes, gone: int):
    with suppress(GarbledError):
        whole = read(STREAM[:at] + new + STREAM[at + gone :])
        # what is kept can be sent again
        assert all(isinstance(json.loads(one.data), dict) for one in whole.reply.opaque)
        assert min(whole.usage.input_tokens, whole.usage.output_tokens) > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
KINDS = st.sampled_from(
    ["message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
     "content_block_stop", "error", "ping", "x"]
)  # fmt: skip
FIELDS = ["index", "delta", "content_block", "message", "usage", "error", "type", "text", "stop_reason", "input_tokens"]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(KINDS, st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)), max_size=6))
def test_any_json_is_a_reply_or_none(made: list[tuple[str, dict[str, object]]]):
    lines = [b"data: %s\n\n" % json.dumps({"type": kind, **more}).encode() for kind, more in made]
    with suppress(GarbledError):
        read(b"".join(lines))
