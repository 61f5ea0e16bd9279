"""What commands print: as it is into a pipe, and nothing that steers or misleads on a terminal."""

from __future__ import annotations

import os

import pytest

from runner.cli.output import harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\r", "␛[2J␍"),
        ("a\u202eb\u2066c\u200fd\u2028e", "a\ufffdb\ufffdc\ufffdd\ufffde"),
        ("schön, 日本, \U0001f469\u200d\U0001f4bb", "schön, 日本, \U0001f469\u200d\U0001f4bb"),
    ],
)
def test_orders_and_turned_text_do_not_reach_a_terminal(text: str, shown: str) -> None:
    leader, follower = os.openpty()
    try:
        with os.fdopen(follower, "w") as terminal:
            assert harmless(text, terminal) == shown
        with open(os.devnull, "w") as file:  # noqa: PTH123  a stream that is no terminal
            assert harmless(text, file) == text
    finally:
        os.close(leader)
