"""What `runner approvals` says of questions, and the word of somebody whom nobody has proved to be who they say."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from runner.app import identity
from runner.app.clock import SystemClock
from runner.app.questions import Question, Questions
from runner.errors import NotFoundError, RefusedError
from runner.events.facts import ApprovalVoted
from runner.policy import gates
from runner.state import Asked, State
from runner.store import journal
from runner.store.database import Database
from runner.store.links import leave_vote
from runner.values import Vote


def outcome(question: Question) -> str:
    """`open`, or how it ended: `approved`, `used`, `denied`, `expired`, `amended`, `void`, `cancelled` with its run."""
    asked = question.asked
    if asked.outcome:
        return "used" if asked.consumed else asked.outcome
    if question.status == "ended":
        return "cancelled"
    return question.tally(SystemClock().now()).outcome or "open"


def because(question: Question) -> str:
    """Why it ended as it did, or by whom; "" while it is open."""
    asked, told = question.asked, question.tally(SystemClock().now())
    if asked.outcome:
        return asked.why or asked.approver
    return "" if question.status == "ended" else told.why or told.approver


def document(question: Question) -> dict[str, object]:
    """A question as JSON, for machines."""
    request, decision, asked = question.request, question.request.decision, question.asked
    return {
        "approval": request.approval,
        "run": question.run,
        "spec": question.spec,
        "workspace": question.workspace,
        "outcome": outcome(question),
        "because": because(question),
        "missing": question.tally(SystemClock().now()).missing,
        "waits_for": gates.waits_for(request.gates),
        "gates": [asdict(gate) for gate in request.gates],
        "asked_at_ms": asked.at,
        "expires_at_ms": request.expires_at,
        "call": {"name": request.call.name, "arguments": request.call.arguments},
        "shown": request.shown,
        "diff": request.diff,
        "rule": decision.rule,
        "place": decision.place,
        "advice": decision.reason,
        "owner": decision.owner,
        "agent": decision.agent,
        "policy": decision.policy,
        "action": decision.action,
        "bound": request.bound,
        "cost_nano_usd": request.cost,
        "votes": [asdict(one.vote) for one in asked.votes],
    }


def find(database: Database, name: str) -> Question:
    """The question with this id, or the only one whose id begins so, closed ones included; `last` is the newest open.

    Raises NotFoundError.
    """
    if name == "last":
        waiting = Questions(database).open()
        if waiting:
            return waiting[-1]
        raise NotFoundError("no call waits for an approval", hint="runner approvals list --all has those that did")
    found = [one for one in Questions(database).every() if name and one.request.approval.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{name!r} means {len(found)} approvals: {', '.join(one.request.approval for one in found[:5])}"
        raise NotFoundError(msg, hint="write more of the id")
    raise NotFoundError(f"there is no approval {name!r}", hint="see `runner approvals list --all`")


def say(database: Database, question: Question, vote: Vote, *, arguments: str = "") -> Question:
    """Leave a word for the run, durably; give the question as it stands with it. RefusedError where it is closed.

    `arguments` are those the call shall have instead.
    """
    if (closed := outcome(question)) != "open":
        why = because(question)
        said = f"{question.request.approval} is {closed}{f': {why}' if why else ''}"
        raise RefusedError(said, hint=f"runner approvals show {question.request.approval}")
    voted = ApprovalVoted(approval=question.request.approval, vote=vote, arguments=arguments)
    leave_vote(database, question.run, voted, SystemClock().now())
    return replace(question, asked=replace(question.asked, votes=(*question.asked.votes, voted)))


def unproved(question: Question, *, approve: bool, note: str = "", scope: str = "once") -> Vote:
    """The word of whoever runs this command: their name is what their account says, and nothing proves it."""
    vote = Vote(by=identity.user(), approve=approve, uid=os.getuid(), note=note, scope=scope)
    return replace(vote, own=gates.is_owner(vote, question.request.decision.owner))


def counts(question: Question, vote: Vote) -> bool:
    """Whether a word brings the question further: a no always, a yes where one of its gates takes it."""
    owner = question.request.decision.owner
    return not vote.approve or any(gates.counts(vote, gate, owner) for gate in question.request.gates)


def rates(found: Iterable[Question]) -> Iterator[tuple[str, int, int]]:
    """Each person with how often they answered and how often with yes: who always says yes reads nothing."""
    said = [one.vote for question in found for one in question.asked.votes]
    answers, yes = Counter(one.by for one in said), Counter(one.by for one in said if one.approve)
    for name, count in answers.most_common():
        yield name, count, yes[name]


def waits(database: Database, run: str, state: State) -> Asked | None:
    """The question a parked run stands for, where nothing has come that a driver could act on."""
    stop, now = state.stopped, SystemClock().now()
    if stop is None or stop.rule != "approval" or not stop.is_open or journal.has_mail(database, run):
        return None
    for asked in state.approvals.values():
        request = asked.request
        due = request.expires_at if asked.reminded or not request.remind_at else request.remind_at
        if not asked.outcome and now < due:
            return asked
    return None
