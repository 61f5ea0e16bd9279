"""Text on its way to a terminal: harmless, and never wider than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.lines import Tone
from runner.cli.live.cells import cells, clean, cut, folded
from runner.cli.live.rows import Span, fitting, painted, row, shortened, width_of
from tests.e2e.terminal import Screen


@pytest.mark.parametrize(
    ("raw", "harmless"),
    [
        ("\x1b[2Jgone", "␛[2Jgone"),
        ("a\rb\x08c\x07", "a␍b␈c␇"),
        ("\x9b31m\x7f", "\ufffd31m␡"),
        ("a\tb\nc", "a    b c"),
        ("left\u202eright\u2066\u200d\ufeff", "leftright"),
        ("half \ud800 a pair", "half \ufffd a pair"),
        ("日本語 é 🙂", "日本語 é 🙂"),
    ],
)
def test_what_steers_a_terminal_is_shown_or_left_out(raw, harmless):
    assert clean(raw) == harmless


@given(st.text(), st.integers(0, 40))
def test_a_terminal_needs_no_more_cells_than_counted_and_meets_no_order(raw, width):
    text = cut(clean(raw), width)
    assert cells(text) <= width
    screen = Screen(200, 3)
    screen.feed(text[:180].encode("utf-8", "strict").decode())


@given(st.text(), st.integers(2, 30), st.integers(1, 4))
def test_folded_rows_fit_and_there_are_never_too_many(raw, width, rows):
    found = folded(clean(raw), width, rows)
    assert len(found) <= rows
    assert all(cells(one) <= width for one in found)


def test_folding_keeps_the_end_and_breaks_at_spaces():
    assert folded("one two three four five", 9, 2) == ["three", "four five"]
    assert folded("one two three four five", 9, 3) == ["one two", "three", "four five"]
    assert folded("one two three four five", 9, 1) == ["four five"]
    assert folded("日本語日本語", 5, 9) == ["日本", "語日", "本語"]


def test_a_cut_text_says_so():
    assert cut("checkpoint", 6) == "check…"
    assert cut("日本語", 4) == "日…"
    assert cut("as is", 5) == "as is"


def test_the_first_variant_that_fits_is_taken_and_the_last_one_cut():
    long, short = row("a long text"), row("short")
    assert fitting([long, short], 20) == long
    assert fitting([long, short], 6) == short
    assert "".join(one.text for one in fitting([long, short], 4)) == "sho…"


def test_colour_adds_orders_and_no_cells():
    spans = row(Span("12", Tone.GOOD), " of ", Span("日", Tone.FAINT))
    coloured, bare = painted(spans, colour=True), painted(spans, colour=False)
    assert bare.text == "12 of 日"
    assert coloured.text == "\x1b[32m12\x1b[0m of \x1b[2m日\x1b[0m"
    assert (coloured.cells, bare.cells, width_of(spans)) == (8, 8, 8)
    assert width_of(shortened(spans, 5)) <= 5
