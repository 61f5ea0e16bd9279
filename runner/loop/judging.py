"""What the model is told of a call that was not let through: once, in one sentence that invites no retry."""

from __future__ import annotations

from runner.state import State
from runner.values import Decision

UNSOUND = "builtin:arguments"
"""The rule that speaks of a call whose arguments cannot be read: nobody's policy refuses it."""


def told(decision: Decision, state: State) -> tuple[str, bool]:
    """The sentence for a refused call, and whether it repeats one that was refused before.

    A repeat is the same action again in this iteration, or whatever the same rule refuses with nothing done in between:
    a variant.
    """
    if decision.action in state.denied:
        return "denied by policy, as before; it stays denied", True
    by = f" ({decision.rule})" if decision.rule else ""
    advice = f": {decision.reason}" if decision.reason else ""
    sentence = f"denied by policy{by}, so do not try it or a variant of it again{advice}"
    return sentence, bool(decision.rule) and decision.rule == state.refused_by
