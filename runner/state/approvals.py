"""The fold of approvals, and of what was refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias, assert_never

from msgspec.structs import replace

from runner.events.facts import (
    ApprovalDecided,
    ApprovalReminded,
    ApprovalRequested,
    ApprovalVoted,
    ToolRefused,
)
from runner.state.model import Asked, State
from runner.values import Ruling, ToolCall

ApprovalFact: TypeAlias = ApprovalRequested | ApprovalVoted | ApprovalDecided | ApprovalReminded

_MOST_VOTES = 50
"""Votes kept for one approval: who floods it gains nothing."""
_ASKS_KEPT = 100


def approval_fact(state: State, event: ApprovalFact) -> State:
    """Apply one fact; what names no approval of this run changes nothing."""
    if isinstance(event, ApprovalRequested):
        asked = Asked(request=event, at=state.at)
        asks = (*state.asks, state.at)[-_ASKS_KEPT:]
        return replace(state, approvals={**state.approvals, event.approval: asked}, asks=asks)
    if (found := state.approvals.get(event.approval)) is None:
        return state
    match event:
        case ApprovalVoted():
            if len(found.votes) >= _MOST_VOTES:
                return state
            found = dataclasses.replace(found, votes=(*found.votes, event))
        case ApprovalDecided():
            call = found.request.call
            found = dataclasses.replace(
                found, outcome=event.outcome, why=event.why, approver=event.approver, decided_at=state.at
            )
            state = replace(_amended(state, call, event.arguments), progress_ms=state.active_ms)
        case ApprovalReminded():
            found = dataclasses.replace(found, reminded=True)
        case _:
            assert_never(event)
    return replace(state, approvals={**state.approvals, event.approval: found})


def _amended(state: State, call: ToolCall, arguments: str) -> State:
    """Let a waiting call have an approver's arguments."""
    if not arguments or state.iteration is None:
        return state
    now = dataclasses.replace(call, arguments=arguments)
    pending = tuple(now if one == call else one for one in state.iteration.pending)
    return replace(state, iteration=replace(state.iteration, pending=pending))


def asked_anew(state: State) -> Mapping[str, Asked]:
    """The approvals once somebody resumes a run that a question nobody answered had ended: that is asked again."""
    if state.stopped is None or state.stopped.rule != "approval.timeout":
        return state.approvals
    return {
        name: dataclasses.replace(one, outcome="void") if one.outcome == "expired" else one
        for name, one in state.approvals.items()
    }


def consumed(state: State, approval: str) -> State:
    """A tool was started on this approval."""
    if (found := state.approvals.get(approval)) is None:
        return state
    return replace(state, approvals={**state.approvals, approval: dataclasses.replace(found, consumed=True)})


def refused(state: State, event: ToolRefused) -> State:
    """Count what a policy or a person refused, by action; a refusal for another reason counts nothing."""
    decision = event.decision
    if decision is None or decision.ruling is Ruling.ALLOW:
        return state
    denied = {**state.denied, decision.action: state.denied.get(decision.action, 0) + 1}
    repeats = state.repeats + 1 if event.repeat else 0
    return replace(state, denied=denied, repeats=repeats, refused_by=decision.rule)
