"""A refused call is told once and plainly; asking for it again and again is a stall."""

from __future__ import annotations

import pytest

from runner.decide import Stop, decide
from runner.events import facts
from runner.loop.judging import told
from runner.policy.model import Policy
from runner.values import Decision, Effect, Ruling, StopKind, ToolCall
from tests.unit.decide_parts import BASE, FIRST, sent, settled, state_after

RM = Decision(ruling=Ruling.DENY, rule="no-rm", reason="Use git rm.", action="a1")
VARIANT = Decision(ruling=Ruling.DENY, rule="no-rm", reason="Use git rm.", action="a2")
NET = Decision(ruling=Ruling.DENY, rule="no-net", action="a3")


class Talk:
    """Steps of a run in which every call is judged as the test says; told and counted as the loop does it."""

    def __init__(self) -> None:
        self.events: list[facts.Event] = [BASE, FIRST]
        self.steps = 0
        self.said: list[str] = []

    def refused(self, decision: Decision) -> None:
        call = self._asked()
        reason, repeat = told("denied by policy", decision, state_after(*self.events))
        self.said.append(reason)
        self.events.append(facts.ToolRefused(call=call, reason=reason, decision=decision, repeat=repeat))

    def done(self) -> None:
        call = self._asked()
        self.events += [
            facts.ToolStarted(call=call, effect=Effect.READS),
            facts.ToolFinished(call_id=call.id, name=call.name, text="ok", ok=True, effect=Effect.READS),
        ]

    def _asked(self) -> ToolCall:
        self.steps += 1
        name = f"t{self.steps}"
        self.events += [sent(self.steps), settled(name, step=self.steps)]
        return ToolCall(name, "write_file", "{}")

    def next_iteration(self) -> None:
        self.events += [
            facts.IterationFinished(iteration=1, ending="answered", claimed=False, note=""),
            facts.ChecksFinished(iteration=1, results=(), score=None, tree="t"),
            facts.IterationStarted(iteration=2, system="s", prompt="p"),
        ]

    def stop(self, limit: int | None = 4) -> Stop | None:
        policy = Policy(repeat_limit=limit)
        command = decide(state_after(*self.events), policy, 1_000)
        return command if isinstance(command, Stop) and command.reason.kind is StopKind.STALLED else None


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_a_denial_is_told_once_with_the_rules_advice_and_then_only_as_before(talk: Talk) -> None:
    talk.refused(RM)
    talk.refused(RM)
    assert "Use git rm." in talk.said[0]
    assert "do not try it" in talk.said[0]
    assert "Use git rm." not in talk.said[1]


def test_the_same_refused_call_again_and_again_stops_the_run_as_stalled_whatever_is_done_between(talk: Talk) -> None:
    talk.refused(RM)
    for _ in range(4):
        assert talk.stop() is None
        talk.done()
        talk.refused(RM)
    stop = talk.stop()
    assert stop is not None
    assert stop.reason.rule == "stall.repeats"
    assert "no-rm" in stop.reason.detail
    assert talk.stop(limit=None) is None


def test_variants_that_the_same_rule_refuses_count_while_nothing_else_is_done(talk: Talk) -> None:
    for number in range(5):
        assert talk.stop() is None
        talk.refused(VARIANT if number % 2 else RM)
    assert talk.stop() is not None


def test_refusals_of_different_rules_and_refusals_with_work_between_are_no_stall(talk: Talk) -> None:
    for number in range(12):
        variant = Decision(ruling=Ruling.DENY, rule="no-rm", action=f"v{number}")
        talk.refused(variant)
        talk.refused(Decision(ruling=Ruling.DENY, rule="no-net", action=f"n{number}"))
        if number % 2:
            talk.done()
    assert talk.stop() is None


def test_a_fresh_iteration_is_told_anew_since_its_context_knows_nothing(talk: Talk) -> None:
    talk.refused(RM)
    talk.next_iteration()
    state = state_after(*talk.events)
    assert told("denied by policy", RM, state) == (talk.said[0], False)
    assert told("denied by policy", NET, state)[1] is False
