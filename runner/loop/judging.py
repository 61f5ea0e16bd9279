"""What the model is told of a call that was not let through: once, in one sentence that invites no retry."""

from __future__ import annotations

from runner.events.facts import ToolRefused
from runner.ports import Recorder
from runner.state import State
from runner.values import Decision, ToolCall

UNSOUND = "builtin:arguments"
"""The rule that speaks of a call whose arguments cannot be read: nobody's policy refuses it."""


def refuse(call: ToolCall, decision: Decision, recorder: Recorder, why: str = "") -> None:
    """Tell the model that a call does not run, and `why` (by default: the policy denies it)."""
    if decision.rule == UNSOUND:
        recorder.record(ToolRefused(call=call, reason=decision.reason))
        return
    by = f" ({decision.rule})" if decision.rule else ""
    reason, repeat = told(why or f"denied by policy{by}", decision, recorder.state)
    recorder.record(ToolRefused(call=call, reason=reason, decision=decision, repeat=repeat))


def told(why: str, decision: Decision, state: State) -> tuple[str, bool]:
    """The sentence for a refused call, and whether it repeats one that was refused before.

    A repeat is the same action again in this iteration, or whatever the same rule refuses with nothing done in between:
    a variant.
    """
    if decision.action in state.denied:
        return f"{why}, as before", True
    advice = f": {decision.reason}" if decision.reason else ""
    sentence = f"{why}, so do not try it or a variant of it again{advice}"
    return sentence, bool(decision.rule) and decision.rule == state.refused_by
