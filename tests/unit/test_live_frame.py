"""Frames put on a terminal: the region shows exactly its rows, and nothing printed above it is ever lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.cli.live.cells import cells, clean, cut
from runner.cli.live.frame import Frame, Painted, Size
from tests.e2e.terminal import Screen

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"


def shown(screen: Screen) -> list[str]:
    """What stands from the cursor on; blank rows below included in the region are kept by the caller's count."""
    return ["".join(row).rstrip() for row in screen.rows[screen.row :]]


def painted(text: str) -> Painted:
    return Painted(text, cells(text))


def test_a_frame_is_one_synchronized_piece_and_hides_the_cursor_once():
    frame = Frame()
    first = frame.update(["one", "two"], Size(20, 10))
    assert first.startswith(BEGIN + "\x1b[?25l")
    assert first.endswith(END)
    assert first.count(BEGIN) == 1
    assert "\x1b[?25l" not in frame.update(["one", "three"], Size(20, 10))


def test_the_same_rows_again_are_not_written():
    frame = Frame()
    frame.update(["one", "two"], Size(20, 10))
    assert frame.update(["one", "two"], Size(20, 10)) == ""


def test_only_the_row_that_changed_is_written():
    frame = Frame()
    frame.update(["one", "two", "three"], Size(20, 10))
    again = frame.update(["one", "2", "three"], Size(20, 10))
    assert "2" in again
    assert "one" not in again
    assert "three" not in again


def test_clearing_takes_the_region_away_and_gives_the_cursor_back():
    screen, frame = Screen(20, 10), Frame()
    screen.feed("before\r\n")
    screen.feed(frame.update(["one", "two"], Size(20, 10)))
    assert [screen.visible] == [False]
    screen.feed(frame.clear() + "after\r\n")
    assert screen.visible
    assert screen.everything.rstrip() == "before\nafter"
    assert frame.clear() == ""


def test_a_line_as_wide_as_the_terminal_loses_no_character():
    screen, frame = Screen(10, 6), Frame()
    for size in (10, 20, 9, 11):
        screen.feed(frame.update(["row"], Size(10, 6), [painted("x" * size)]))
    assert screen.everything.splitlines()[:4] == ["x" * 10, "x" * 20, "x" * 9, "x" * 11]


def test_a_narrower_terminal_that_broke_the_old_rows_anew_keeps_no_trace_of_them():
    screen, frame = Screen(40, 12), Frame()
    screen.feed(frame.update([f"row {n} " + "." * 30 for n in range(4)], Size(40, 12), [painted("kept")]))
    screen.resize(13, 12)
    assert "row 0" in screen.text
    screen.feed(frame.update(["new 0", "new 1"], Size(13, 12)))
    assert screen.everything.rstrip() == "kept\nnew 0\nnew 1"


TEXT = st.text(st.sampled_from("ab 日🙂é\t\x1b\x07"), max_size=30).map(clean)
STEP = st.tuples(
    st.lists(TEXT, max_size=5),
    st.lists(TEXT, max_size=2),
    st.sampled_from([(20, 10), (20, 10), (9, 8), (33, 14), (4, 7)]),
)


@settings(max_examples=150)
@given(st.lists(STEP, max_size=8))
def test_whatever_is_drawn_at_whatever_size_all_that_was_printed_stands_above_the_region(steps):
    screen, frame = Screen(20, 10), Frame()
    printed: list[str] = []
    rows: list[str] = []
    for texts, lines, (width, height) in steps:
        # a terminal redraws at the next frame, before it is resized again; its rows fit the size it had
        screen.resize(width, height)
        rows = [cut(text, width - 1).rstrip() for text in texts]
        printed += lines
        screen.feed(frame.update(rows, Size(width, height), [painted(line) for line in lines]))
        below = shown(screen)
        assert below[: len(rows)] == rows
        assert not "".join(below[len(rows) :])
        assert not screen.updating
        assert screen.column == 0
        above = "".join("".join(row).rstrip() for row in screen.rows[: screen.row])
        assert above.replace(" ", "") == "".join(printed).replace(" ", "")
    screen.feed(frame.clear())
    assert screen.visible
