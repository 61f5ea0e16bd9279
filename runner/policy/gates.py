"""Who must say yes, and who has: votes told against the gates that were asked. Pure.

A vote is a person's word with how far it is known whose it is. Only `peercred` and `link` prove that; `terminal` and
`unproved` come from the account that runs the loop, so they count only where a gate lets its owner answer. A no needs
no proof: it can only keep a call from running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.events.facts import ApprovalRequested, ApprovalVoted, ToolStarted
from runner.state import Asked, State
from runner.values import Gate, Ms, Ruling, Vote

_PROVED = frozenset({"peercred", "link"})
_REACHES = ("once", "run", "pattern")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How a question stands. `outcome` "" = open, and `missing` says who still has to say yes.

    Otherwise `approved`, `denied`, `expired` or `amended` (by somebody who may approve: `arguments` are the new ones).
    """

    outcome: str = ""
    why: str = ""
    approver: str = ""
    missing: str = ""
    arguments: str = ""


def tally(request: ApprovalRequested, votes: Sequence[ApprovalVoted], now: Ms) -> Tally:
    """Tell the votes. Time that is over approves nothing any more, whoever had said yes."""
    if now >= request.expires_at:
        return Tally(outcome="expired", why="nobody approved it in time")
    owner = request.decision.owner
    for one in votes:
        if not one.vote.approve and _may_deny(one.vote, request.gates, owner):
            note = f": {one.vote.note}" if one.vote.note else ""
            return Tally(outcome="denied", why=f"denied by {named(one.vote, owner)}{note}", approver=one.vote.by)
    yes = [one for one in votes if one.vote.approve]
    for one in yes:
        if one.arguments and any(counts(one.vote, gate, owner) for gate in request.gates):
            by = named(one.vote, owner)
            return Tally(outcome="amended", why=f"amended by {by}", approver=by, arguments=one.arguments)
    plain = [one.vote for one in yes if not one.arguments]
    gaps = [gap for gate in request.gates if (gap := _missing(plain, gate, owner))]
    if gaps or not request.gates:
        return Tally(missing="; ".join(gaps) or "no gate says who may approve it")
    return Tally(outcome="approved", approver=", ".join(named(one, owner) for one in _counted(plain, request)))


def counts(vote: Vote, gate: Gate, owner: str) -> bool:
    """Whether a yes counts for a gate: of a member, proved, and not the run owner's own unless the gate allows that."""
    own = vote.own or is_owner(vote, owner)
    if not gate.allow_self and (own or vote.identity not in _PROVED):
        return False
    if gate.named:
        return any(vote.by in members for members in gate.groups.values())
    return gate.allow_self and (own or vote.identity not in _PROVED)


def is_owner(vote: Vote, owner: str) -> bool:
    """Whether it is the run owner's, by name or by user id (`owner` is written `alice (uid 1000)`)."""
    name, _, rest = owner.partition(" (uid ")
    return vote.by == name or (vote.uid >= 0 and rest == f"{vote.uid})")


def named(vote: Vote, owner: str) -> str:
    """A voter as records have it: `alice (link)`, `root (terminal, self)`."""
    own = ", self" if vote.own or is_owner(vote, owner) else ""
    return f"{vote.by} ({vote.identity}{own})"


def own_word_counts(gates: Sequence[Gate]) -> bool:
    """Whether asking the person at this terminal can bring a question further."""
    return any(gate.allow_self for gate in gates)


def waits_for(gates: Sequence[Gate]) -> str:
    """Whose word is needed, for people: `security, platform`, or `whoever runs the loop`."""
    names = dict.fromkeys(name for gate in gates for name in gate.groups)
    return ", ".join(names) or "whoever runs the loop"


def reach(asked: Asked) -> str:
    """How far the answer reaches: `once`, `run` (this exact action for this run) or `pattern`.

    The narrowest of those who approved, and never more than every gate lists.
    """
    owner = asked.request.decision.owner
    given = [one.vote for one in asked.votes if one.vote.approve and not one.arguments]
    scopes = [one.scope for one in given if any(counts(one, gate, owner) for gate in asked.request.gates)]
    if not scopes or any(one not in _REACHES for one in scopes):
        return "once"
    narrowest = min(scopes, key=_REACHES.index)
    return narrowest if all(narrowest in gate.remember for gate in asked.request.gates) else "once"


def refusal(state: State, started: ToolStarted, now: Ms) -> str:
    """Why a tool must not start, as the model is told; "" = it may. Asked inside the transaction that starts it."""
    decision = started.decision
    if decision is None or decision.ruling is Ruling.ALLOW:
        return ""
    if decision.ruling is Ruling.DENY:
        return "denied by policy"
    asked = state.approvals.get(started.approval)
    if asked is None:
        return "it was not approved"
    request = asked.request
    if asked.outcome != "approved":
        return f"it was not approved ({asked.outcome or 'nobody has decided yet'})"
    if asked.consumed and reach(asked) == "once":
        return "the approval was for one call, and that has run"
    if request.decision.action != decision.action or request.decision.policy != decision.policy:
        return "what was approved is not what would run now"
    # a no that came after the last yes still comes in time
    told = tally(request, asked.votes, now)
    return "" if told.outcome == "approved" else f"it is not approved any more: {told.why or told.missing}"


def _may_deny(vote: Vote, gates: Sequence[Gate], owner: str) -> bool:
    """A proved stranger's no counts nothing; one that is not proved is of the account that can stop the run."""
    if vote.own or is_owner(vote, owner) or vote.identity not in _PROVED:
        return True
    return any(vote.by in members for gate in gates for members in gate.groups.values())


def _missing(votes: Sequence[Vote], gate: Gate, owner: str) -> str:
    people = _people([one for one in votes if counts(one, gate, owner)])
    lacking = [
        f"{gate.each - have} of {name}"
        for name, members in gate.groups.items()
        if (have := sum(1 for one in people if one.by in members)) < gate.each
    ]
    if len(people) < max(1, gate.least):
        lacking.insert(0, f"{max(1, gate.least) - len(people)} more of {waits_for((gate,))}")
    return f"{gate.id}: {', '.join(lacking)}" if lacking else ""


def _counted(votes: Sequence[Vote], request: ApprovalRequested) -> list[Vote]:
    owner = request.decision.owner
    return _people([one for one in votes if any(counts(one, gate, owner) for gate in request.gates)])


def _people(votes: Sequence[Vote]) -> list[Vote]:
    """One vote a person: neither a name nor a user id counts twice."""
    found: list[Vote] = []
    for one in votes:
        if not any(one.by == other.by or (one.uid >= 0 and one.uid == other.uid) for other in found):
            found.append(one)
    return found
