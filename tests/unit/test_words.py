"""Spans, counts and retries as people read them."""

from __future__ import annotations

import pytest

from runner.cli.lines import Lines
from runner.events import facts
from runner.state import Iteration, State
from runner.values import CallId, counted, format_duration

CALL = CallId(1, 1, 1)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (1800, "30 min"),
        (5400, "1 h 30 min"),
        (28_800, "8 h"),
        (90_000, "25 h"),
        (183_600, "2 d 3 h"),
        (3661, "1 h 1 min 1 s"),
    ],
)
def test_a_span_is_shown_in_the_units_people_use(seconds, shown):
    assert format_duration(seconds) == shown


def test_one_is_one_and_the_rest_are_many():
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def told(event, *, failures, asked=None):
    state = State(iteration=Iteration(number=1, started_at=0, failures=failures), stop_asked=asked)
    (line,) = Lines().of(event, state)
    return line.text.strip()


def test_a_retry_says_when_it_comes_and_which_it_is():
    again = facts.CallReleased(call=CALL, reason="no connection to h:1: connection refused", retry_after_ms=3500)
    begin = "call 1.1.1: no connection to h:1: connection refused; not billed"
    assert told(again, failures=1) == f"{begin}; again in 4 s (attempt 2 of 5)"
    lost = facts.CallUnknown(call=CALL, reason="cut", retry_after_ms=60_000)
    assert told(lost, failures=2).endswith("unknown so far); again in 1 min (attempt 3 of 5)")


def test_no_retry_is_promised_that_does_not_come():
    again = facts.CallReleased(call=CALL, reason="x", retry_after_ms=3500)
    assert told(again, failures=5) == "call 1.1.1: x; not billed"
    assert told(again, failures=1, asked=facts.StopAsked(by="SIGINT", now=False)) == "call 1.1.1: x; not billed"
    assert told(facts.CallReleased(call=CALL, reason="x"), failures=1) == "call 1.1.1: x; not billed"
