"""A call that needs people: the question is written down, asked where somebody sits, and its answer is used once."""

from __future__ import annotations

import hashlib

from runner.events.facts import ApprovalDecided, ApprovalRequested, ApprovalVoted, ToolStarted
from runner.loop import judging
from runner.loop.world import World
from runner.policy import action, gates
from runner.policy.model import Policy
from runner.ports import Judged, Recorder
from runner.state import Asked, State
from runner.values import ToolCall

MOST_SHOWN = 262_144
"""Characters of rendering and diff: nobody reads more, and nobody is asked to approve what they were not shown."""


def approved(judged: Judged, state: State) -> str:
    """The approval that lets exactly this action start now; "" when there is none (any more)."""
    for name, asked in state.approvals.items():
        if asked.outcome != "approved" or state.at >= asked.request.expires_at:
            continue
        if asked.request.decision.action == judged.decision.action and (
            not asked.consumed or gates.reach(asked) != "once"
        ):
            return name
    return ""


def request(call: ToolCall, judged: Judged, policy: Policy, world: World, recorder: Recorder) -> None:
    """Ask people about a call, or tell the model why nobody is asked."""
    state = recorder.state
    if (why := _closed(call, judged, state) or _unaskable(judged, policy, state)) is not None:
        judging.refuse(call, judged.decision, recorder, why)
        return
    decision, now = judged.decision, max(world.clock.now(), state.at)
    span = 1000 * min(gate.timeout_s for gate in judged.gates)
    recorder.record(
        ApprovalRequested(
            approval=_name(judged, state),
            call=call,
            decision=decision,
            shown=judged.shown,
            gates=judged.gates,
            expires_at=now + span,
            remind_at=now + span // 2,
            cost=judged.cost,
            bound=dict(judged.bound),
            diff=judged.diff,
            checkpoint=state.checkpoint.number if state.checkpoint else 0,
        )
    )


def ask(approval: str, world: World, recorder: Recorder) -> None:
    """Ask whoever is at this terminal. A stop, a word from elsewhere or the end of its time ends the wait."""
    asked = recorder.state.approvals[approval].request

    def over() -> bool:
        return recorder.interrupt.fired or recorder.has_news() or world.clock.now() >= asked.expires_at

    vote = None if world.approver is None else world.approver.ask(asked, over)
    if vote is not None:
        recorder.record(ApprovalVoted(approval=approval, vote=vote))
    elif over():
        recorder.drain()
    else:
        why = "nobody answered at this terminal"
        recorder.record(ApprovalDecided(approval=approval, outcome="denied", why=why))


def amended(started: ToolStarted, state: State) -> str:
    """What the model is told first where somebody changed the arguments it had asked for; "" where nobody did."""
    since = state.iteration.started_at if state.iteration else 0
    for asked in state.approvals.values():
        same = asked.request.call.id == started.call.id and asked.decided_at >= since
        if same and asked.outcome == "amended":
            return f"[amended: an approver had it run with {started.call.arguments}]\n"
    return ""


def _closed(call: ToolCall, judged: Judged, state: State) -> str | None:
    """What an earlier question settled for this call or this action; None when it is open to be asked."""
    for asked in reversed([*state.approvals.values()]):
        if asked.request.decision.action == judged.decision.action:
            if asked.outcome in {"denied", "expired"}:
                return f"not approved: {asked.why}"
        elif asked.outcome == "approved" and not asked.consumed and asked.request.call == call:
            return f"not run: what was approved is not what would run now ({_changed(asked, judged)})"
    return None


def _changed(asked: Asked, judged: Judged) -> str:
    return ", ".join(action.differing(asked.request.bound, judged.bound)) or "it was decided under other facts"


def _unaskable(judged: Judged, policy: Policy, state: State) -> str | None:
    if state.policy and judged.decision.policy != state.policy:
        return "denied: it was decided by another policy than the one this run goes by"
    if not judged.gates:
        return "denied: it needs an approval, and no gate says whose"
    if len(judged.shown) + len(judged.diff) > MOST_SHOWN:
        return "denied: it needs an approval, and is too long to be shown to anybody"
    asks = policy.attended or policy.on_ask != "deny" or any(gate.named for gate in judged.gates)
    return None if asks else "denied: it needs an approval, and an unattended run asks nobody"


def _name(judged: Judged, state: State) -> str:
    """A name that follows from the run and the action, so that a question asked again after a crash is the same one."""
    digest = judged.decision.action
    earlier = sum(1 for one in state.approvals.values() if one.request.decision.action == digest)
    run = state.created.run if state.created else ""
    return f"a-{hashlib.sha256(f'{run} {digest} {earlier}'.encode()).hexdigest()[:12]}"
