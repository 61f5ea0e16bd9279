"""Only an exact last line is a claim."""

import pytest

from runner.spec.model import DEFAULT_PROMISE
from runner.spec.promise import claims


@pytest.mark.parametrize(
    "message",
    [
        "<promise>COMPLETE</promise>",
        "All green.\n\n<promise>COMPLETE</promise>\n",
        "All green.\r\n<promise>COMPLETE</promise>  \r\n\r\n",
        "LOOP_COMPLETE",
        "Done.\nLOOP_COMPLETE\n\n",
    ],
)
def test_the_exact_last_line_is_a_claim(message: str) -> None:
    assert claims(message, DEFAULT_PROMISE)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "\n",
        "I will not print LOOP_COMPLETE yet",
        "I will not print LOOP_COMPLETE",
        "LOOP_COMPLETE\nbut not really",
        "loop_complete",
        " LOOP_COMPLETE",
        "`LOOP_COMPLETE`",
        "LOOP_COMPLETE.",
        "Done: <promise>COMPLETE</promise>",
        "<promise>COMPLETE</promise> LOOP_COMPLETE",
        "```\n<promise>COMPLETE</promise>\n```",
        "<promise>complete</promise>",
        "COMPLETE",
    ],
)
def test_anything_else_is_none(message: str) -> None:
    assert not claims(message, DEFAULT_PROMISE)


def test_a_promise_of_its_own_has_no_aliases() -> None:
    assert claims("ALL DONE", "ALL DONE")
    assert not claims("LOOP_COMPLETE", "ALL DONE")
    assert not claims(DEFAULT_PROMISE, "ALL DONE")
    assert not claims("", "")
