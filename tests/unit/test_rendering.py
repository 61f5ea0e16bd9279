"""What an approver is shown: nothing hidden, nothing that looks like what it is not."""

from __future__ import annotations

import pytest

from runner.app import rendering


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({"argv": ["git", "push", "a b", "-f"]}, ['argv: git push "a b" -f']),
        (
            {"argv": ["x\u202ey", "\u0430pt", "\x1b[2J", "\x7f"]},
            ['argv: "x\\u202ey" "\\u0430pt" "\\u001b[2J" "\\u007f"'],
        ),
        ({"command": "echo hi\nrm -rf\rx"}, ["command:", "| echo hi", "| rm -rf\\u{d}x"]),
        ({"command": "l\u0455 -a"}, ["command:", "| l\\u{455} -a"]),
        ({"timeout_s": 5, "background": True}, ["timeout_s: 5", "background: true"]),
        ({"\u0430rgv": "x"}, ["\\u{430}rgv: x"]),
    ],
)
def test_a_call_is_shown_whole_and_in_ascii(arguments: dict[str, object], lines: list[str]) -> None:
    assert rendering.shown("run", arguments).split("\n") == ["run", *(f"  {line}" for line in lines)]


def test_a_diff_keeps_letters_and_shows_what_cannot_be_seen() -> None:
    found = rendering.diff("größe\n", "größe\u200b\n\u202e\x1b[1A\n", "a.txt").split("\n")
    assert found[3:] == ["-größe", "+größe\\u{200b}", "+\\u{202e}\\u{1b}[1A", " "]
