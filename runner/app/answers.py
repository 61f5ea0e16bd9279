"""Take the answers of people whose identity is known: by the kernel at a socket, or by a signed link."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from runner.app.clock import SystemClock
from runner.app.links import Link
from runner.app.questions import Question, Questions
from runner.errors import RefusedError
from runner.events.facts import ApprovalVoted
from runner.policy import gates
from runner.store.database import Database
from runner.store.links import is_spent, leave_vote
from runner.values import Vote

_LONGEST_NOTE = 500
SCOPES = ("once", "run")
_USED = "this link was used before: it answers once"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, and how that is known: `peercred` with a user id, or `link`."""

    name: str
    identity: str
    uid: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What somebody says: yes or no, how far it reaches, by which link, and the arguments to have instead."""

    approve: bool
    note: str = ""
    scope: str = "once"
    arguments: str = ""
    link: str = ""


class Answers:
    """Looks at questions, and leaves votes for their runs. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._questions = Questions(database)
        self._lock = threading.Lock()

    def open(self) -> list[Question]:
        """Every question nobody has closed."""
        with self._lock:
            return self._questions.open()

    def of_link(self, link: Link) -> Question:
        """The question a link may answer now. Raises RefusedError or NotFoundError where it may not (any more)."""
        if SystemClock().now() >= link.until:
            raise RefusedError("this link's time is over")
        if is_spent(self._database, link.token):
            raise RefusedError(_USED)
        with self._lock:
            question = self._questions.find(link.approval)
        if (question.run, question.request.decision.action) != (link.run, link.action):
            raise RefusedError("this link is for another action than the one that is asked about now")
        return question

    def visible(self, person: Person) -> list[Question]:
        """What somebody may see: the questions he could answer, and those of his own runs."""
        return [one for one in self.open() if _concerns(one, person)]

    def answer(self, question: Question, person: Person, word: Word) -> str:
        """Leave somebody's word for the run; tell in a sentence what it brings about. Durable when it returns.

        Raises RefusedError, and leaves nothing, for a word that cannot count.
        """
        now, request = SystemClock().now(), question.request
        vote = _vote(person, word)
        vote = replace(vote, own=gates.is_owner(vote, request.decision.owner))
        _refuse_idle(question, person, vote)
        voted = ApprovalVoted(approval=request.approval, vote=vote, link=word.link, arguments=word.arguments)
        before, after = question.tally(now), question.tally(now, voted)
        if before.outcome:
            raise RefusedError(f"it is closed already: {before.why or before.outcome}")
        if not leave_vote(self._database, question.run, voted, now):
            raise RefusedError(_USED)
        if after.outcome == "approved":
            return f"approved by {after.approver}"
        return after.why or f"recorded; still missing: {after.missing}"


def _vote(person: Person, word: Word) -> Vote:
    # it is shown at terminals: nothing in it may steer one, or turn the line around
    note = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in " ".join(word.note.split()))
    return Vote(
        by=person.name,
        approve=word.approve,
        identity=person.identity,
        uid=person.uid,
        note=note[:_LONGEST_NOTE],
        scope=word.scope,
    )


def _refuse_idle(question: Question, person: Person, vote: Vote) -> None:
    """Refuse what could not count, and say why: a word that is dropped silently looks like one that was heard."""
    request = question.request
    if vote.scope not in SCOPES:
        raise RefusedError(f"an answer reaches {' or '.join(SCOPES)}, not {vote.scope!r}")
    if not vote.approve and not _concerns(question, person):
        raise RefusedError(f"{person.name} has no say in this: it waits for {gates.waits_for(request.gates)}")
    if not vote.approve or any(gates.counts(vote, gate, request.decision.owner) for gate in request.gates):
        return
    whom = gates.waits_for(request.gates)
    if vote.own:
        raise RefusedError(f"{person.name} owns this run, and nobody approves his own: it waits for {whom}")
    raise RefusedError(f"{person.name} has no say in this: it waits for {whom}")


def _concerns(question: Question, person: Person) -> bool:
    own = gates.is_owner(_vote(person, Word(approve=False)), question.request.decision.owner)
    return own or person.name in question.people
