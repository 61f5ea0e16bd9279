"""`when:` expressions: CEL over `call`, the facts of a call, checked when they are loaded."""

from __future__ import annotations

from collections.abc import Callable

from runner.policy.facts import Facts


class WrongError(Exception):
    """What is wrong with an expression, at which offset, and what to write."""

    def __init__(self, problem: str, offset: int = 0, length: int = 0, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.offset, self.length, self.hint = problem, offset, length, hint


def check(text: str) -> None:
    """Raise WrongError for an expression that is none, or that speaks of facts that do not exist."""
    raise WrongError("expressions are not read by this version", hint="leave it out")


def compiled(text: str) -> Callable[[Facts], bool]:
    """The expression as a test of a call's facts. It may raise whatever a value brings with it."""
    raise NotImplementedError(text)
