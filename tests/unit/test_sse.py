from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.models.fields import GarbledError
from runner.models.sse import values


def test_each_event_is_its_data_up_to_the_mark() -> None:
    stream = b': a comment\nevent: x\nid: 1\ndata: {"a":1}\n\ndata:2\n\n\n\ndata: [DONE]\n\ndata: 3\n\n'
    assert list(values([stream])) == [{"a": 1}, 2]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_line_end_will_do(end: bytes) -> None:
    assert list(values([b"data: [1,", end, b"data: 2]", end, end, b"data: 3", end, end])) == [[1, 2], 3]


def test_an_event_that_is_cut_off_is_none() -> None:
    assert list(values([b'data: {"a":1}\n\ndata: {"b":2}\n'])) == [{"a": 1}]


@pytest.mark.parametrize("data", [b"nonsense", b'{"a":', b"\xff", b"NaN", b"[" * 100_000])
def test_what_is_no_json_is_said(data: bytes) -> None:
    with pytest.raises(GarbledError, match="not JSON"):
        list(values([b"data: ", data, b"\n\n"]))


def test_halves_of_a_character_may_come_in_two_events() -> None:
    assert list(values([b'data: "\\ud83d"\n\ndata: "\\ude00"\n\n'])) == ["\ud83d", "\ude00"]


def test_a_line_may_come_in_any_number_of_pieces() -> None:
    text = "word " * 5_000
    stream = f'data: "{text}"\r\n\r\ndata: 2\n\n'.encode()
    assert list(values(stream[at : at + 1] for at in range(len(stream)))) == [text, 2]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert list(values([b"\xef\xbb\xbfdata: 1\n\n"])) == [1]


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.data(),
)
def test_cutting_the_bytes_anywhere_changes_nothing(told: list[object], end: str, data: st.DataObject) -> None:
    stream = "".join(f"data: {json.dumps(one)}{end}{end}" for one in told).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert list(values(pieces)) == told
