"""The region for any terminal: what matters most stays, and every row is shorter than the terminal is wide."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.app.present import Streamed
from runner.cli.live.frame import Size
from runner.cli.live.picture import Moment, clock, plain, region, sparkline
from runner.cli.live.rows import width_of
from runner.events import facts
from runner.spec.model import Item
from runner.state import State, evolve
from runner.values import NANO, CallId, CheckResult, Effect, Limits, Reply, StopKind, ToolCall, Usage

LIMITS = Limits(usd=2 * NANO, iterations=9, steps=40, duration_s=5400)
CALL = CallId(1, 1, 1)
TOOL = facts.ToolStarted(call=ToolCall("call_1", "shell", '{"command": "make test"}'), effect=Effect.COMMANDS)


def begun(limits: Limits) -> facts.RunCreated:
    return facts.RunCreated(
        run="r", spec_path="spec.md", spec_key="k", spec_text="# A\n", workspace="/w", origin="/w", worktree=False,
        model="m", prices_digest="p", scopes=(), limits=limits,
    )  # fmt: skip


def folded(*events: facts.Event, limits: Limits = LIMITS) -> State:
    state = State()
    first = (begun(limits), facts.RunResumed(epoch=1, pid=1, boot_id="b"))
    for seq, event in enumerate((*first, *events), start=1):
        state = evolve(state, event, 1000 * seq, seq)
    return state


def scored(score: float, number: int) -> tuple[facts.Event, ...]:
    result = CheckResult(name="tests", exit_code=1, score=score)
    return (
        facts.IterationStarted(iteration=number, system="", prompt=""),
        facts.IterationFinished(iteration=number, ending="answered"),
        facts.ChecksFinished(iteration=number, results=(result,), score=score, tree="t"),
    )


SETTLED = facts.CallSettled(
    call=CALL, usage=Usage(10, 10), cost=NANO // 2, reply=Reply(text="", tool_calls=(TOOL.call,))
)
AT_WORK = (
    *scored(0.25, 1),
    *scored(1.0, 2),
    facts.IterationStarted(iteration=3, system="", prompt=""),
    facts.CallDispatched(call=CALL, model="m", input_bound=9, granted_output=9, hold=NANO),
    SETTLED,
    TOOL,
    facts.ToolFinished(call_id="call_1", name="shell", text="", ok=True, effect=Effect.COMMANDS),
    facts.CallDispatched(call=CallId(1, 2, 1), model="m", input_bound=9, granted_output=9, hold=NANO // 4),
    facts.CallUnknown(call=CallId(1, 2, 1), reason="lost"),
    facts.CallDispatched(call=CallId(1, 2, 2), model="m", input_bound=9, granted_output=9, hold=NANO // 2),
)
ITEMS = (Item(text="one", ticked=True, line=3), Item(text="two 日本語", ticked=False, line=4))


def moment(state: State, **more: object) -> Moment:
    given = {"items": ITEMS, "target": 0.9, "hints": ("Ctrl-C ends it after this step", "Ctrl-C")}
    # a test's own keywords
    return Moment(state=state, now=state.at + 7000, **{**given, **more})  # type: ignore[arg-type]


def shown(state: State, width: int = 80, height: int = 24, **more: object) -> list[str]:
    return list(plain(region(moment(state, **more), Size(width, height))))


def test_a_call_under_way_with_everything_there_is_to_show():
    streamed = Streamed(
        of="1.2.2", text="I look.\nThen I think about what I saw, at some length, and decide to go on with it "
    )
    assert shown(folded(*AT_WORK), width=100, streamed=streamed) == [
        "─" * 99,
        "iteration 3 of 9 · step 2 of 40 · 0:21 of 1:30:00",
        "the model writes  0:07",
        "  I look.",
        "  Then I think about what I saw, at some length, and decide to go on with it",
        "",
        "money  ██████▓▓▓▒▒▒▒▒▒░░░░░░░░░  spent $0.5000 · held $0.5000 · unknown $0.2500 of $2.0000",
        "score  ▃█  1.00 (best 1.00, target 0.90)",
        "list   1 of 2 ticked · next: two 日本語",
        "Ctrl-C ends it after this step",
    ]


def test_a_tool_shows_the_end_of_what_it_printed_and_of_a_progress_bar_its_last_state():
    state = folded(*AT_WORK[:10])
    rows = shown(state, streamed=Streamed(of="call_1", output="a\nb\r\nc\n 10 %\r 20 %\r 30 %"))
    assert rows[2:6] == ["shell make test  0:07", "  b", "  c", "   30 %"]


def test_what_streamed_in_another_call_is_not_shown():
    rows = shown(folded(*AT_WORK), streamed=Streamed(of="1.1.1", text="old words "))
    assert "old words" not in "".join(rows)
    assert rows[2] == "waiting for the model  0:07"


@pytest.mark.parametrize(
    ("events", "row"),
    [
        ((), "getting ready  0:07"),
        ((*AT_WORK, facts.CallReleased(call=CallId(1, 2, 2), reason="429", retry_after_ms=20_000)), "trying again: 429  in 0:13"),
        ((facts.RunStopped(kind=StopKind.PARKED, rule="budget.wait"),), "stopped: budget.wait"),
    ],
)  # fmt: skip
def test_waiting_counts_up_or_down(events, row):
    assert row in shown(folded(*events))


def test_a_run_that_nobody_drives_says_so_and_its_clock_stands():
    rows = shown(folded(*AT_WORK), driven=False)
    assert rows[1].endswith("0:14 of 1:30:00")
    assert rows[2] == "nobody drives it (it crashed)"


@pytest.mark.parametrize(
    ("height", "kept"),
    [
        (2, ["iteration"]),
        (4, ["iteration", "waiting"]),
        (6, ["iteration", "waiting", "money"]),
        (8, ["iteration", "waiting", "money", "list"]),
        (10, ["iteration", "waiting", "money", "score", "list"]),
        (12, ["iteration", "waiting", "money", "score", "list", "Ctrl-C"]),
    ],
)
def test_a_low_terminal_keeps_what_matters_most(height, kept):
    rows = shown(folded(*AT_WORK), height=height)
    assert [row.split()[0] for row in rows] == kept


def test_a_narrow_terminal_gets_shorter_words():
    assert shown(folded(*AT_WORK), width=40)[1:3] == ["iteration 3/9 · step 2/40 · 0:21", "waiting for the model  0:07"]
    assert shown(folded(*AT_WORK), width=24)[1] == "it 3/9 · step 2/40 · 0…"
    assert [row for row in shown(folded(*AT_WORK), width=30) if "$" in row] == ["$0.5000 of $2.0000"]


@pytest.mark.parametrize(
    ("limit", "bar"),
    [
        (2 * NANO, "██████▓▓▓▒▒▒▒▒▒░░░░░░░░░"),
        (NANO, "████████████▓▓▓▓▓▓▒▒▒▒▒▒"),
        (NANO // 10, "████████████████████████"),
        (0, "████████████████████████"),
        (None, ""),
    ],
)
def test_the_bar_has_a_place_for_every_amount_and_never_overflows(limit, bar):
    state = folded(*AT_WORK, limits=Limits(usd=limit))
    (row,) = (row for row in shown(state, width=100) if row.startswith("money"))
    drawn = "".join(one for one in row if one in "█▓▒░")
    assert drawn == bar
    assert ("no limit" in row) is (limit is None)


def test_scores_are_drawn_from_nothing_to_all():
    assert sparkline([0, 0.125, 0.5, 0.99, 1.0, -1, 7]) == "▁▂▅██▁█"


def test_clocks_read_like_clocks():
    assert [clock(at) for at in (-5, 999, 61_000, 3_599_999, 3_600_000, 360_000_000)] == [
        "0:00", "0:00", "1:01", "59:59", "1:00:00", "100:00:00",
    ]  # fmt: skip


NAMES = st.text(max_size=60)


@settings(max_examples=60)
@given(st.tuples(st.integers(1, 200), st.integers(1, 60)), NAMES, NAMES, NAMES, st.integers(0, len(AT_WORK)))
def test_no_row_is_as_wide_as_the_terminal_and_no_text_can_steer_it(size, text, output, item, count):
    width, height = size
    state = folded(*AT_WORK[:count])
    streamed = Streamed(of="call_1" if state.open_tools else "1.2.2", text=text, output=output)
    rows = region(moment(state, streamed=streamed, items=(Item(text=item, ticked=False, line=1),)), Size(width, height))
    assert 1 <= len(rows) <= min(10, max(1, height // 2))
    assert all(width_of(row) < max(2, width) for row in rows)
    assert all(span.text.isprintable() for row in rows for span in row)


@pytest.mark.parametrize("width", [120, 80, 60])
def test_calls_that_are_in_no_sum_stand_beside_it(width: int) -> None:
    call = facts.CallDispatched(call=CALL, model="m", input_bound=9, granted_output=9, hold=0, billing="local")
    shown = list(plain(region(Moment(state=folded(call), now=9_000), Size(width, 24))))
    assert any(line.endswith("spent $0.0000 of $2.0000 · 1 call local") for line in shown), shown
