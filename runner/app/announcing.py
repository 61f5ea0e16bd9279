"""Tell people's tools of questions: as JSON for a program, as text for a chat, each once, again at half time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runner.app.links import LinkKey, fresh
from runner.app.questions import Question
from runner.notify.webhook import Webhook
from runner.policy import gates
from runner.store.database import Database
from runner.store.links import tell, told
from runner.values import Ms, format_duration

_LONGEST = 20_000
_CHAT = 2_500
_MOST_PATIENCE_S = 300.0


@dataclass(slots=True)
class _Trouble:
    """An address that does not answer, and when it is tried again."""

    until: float = 0.0
    wait_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Announcer:
    """Sends each question once to every address, for a program once for each person, with that person's own link.

    A chat gets no links: whoever reads along would be whom the link says. An address that does not answer is tried
    again after `patience_s` seconds, then twice as long each time, up to five minutes.
    """

    database: Database
    programs: tuple[Webhook, ...]
    chats: tuple[Webhook, ...]
    key: LinkKey
    base: str
    mask: Callable[[str], str]
    say: Callable[[str], None]
    patience_s: float = 5.0
    _trouble: dict[str, _Trouble] = field(default_factory=dict[str, _Trouble])

    def announce(self, question: Question, now: Ms) -> None:
        """Send what is due of a question; what cannot be sent is tried again by a later call."""
        request = question.request
        if question.tally(now).outcome:
            return
        due = ["asked", *(["reminded"] if request.remind_at and now >= request.remind_at else [])]
        before = told(self.database, question.run, request.approval)
        for what in due:
            for hook, name, person in self._receivers(question, what):
                if name not in before and self._sent(hook, question, what, person):
                    tell(self.database, question.run, request.approval, name, now)

    def _receivers(self, question: Question, what: str) -> Iterator[tuple[Webhook, str, str | None]]:
        """Each address with the name under which it is written down, and the person it is for (None: a chat)."""
        for hook in self.programs:
            for person in question.people or ("",):
                yield hook, f"{what} {person} {_short(hook.url)}", person
        for hook in self.chats:
            yield hook, f"{what} {_short(hook.url)}", None

    def _sent(self, hook: Webhook, question: Question, what: str, person: str | None) -> bool:
        trouble = self._trouble.setdefault(hook.url, _Trouble())
        if time.monotonic() < trouble.until:
            return False
        document = self._chat(question, what) if person is None else self._document(question, what, person)
        if (wrong := hook.send(json.dumps(document).encode())) is None:
            del self._trouble[hook.url]
            return True
        trouble.wait_s = min(_MOST_PATIENCE_S, trouble.wait_s * 2 or self.patience_s)
        trouble.until = time.monotonic() + trouble.wait_s
        self.say(f"warning: {wrong}; the next try in {format_duration(int(trouble.wait_s))}")
        return False

    def _document(self, question: Question, what: str, person: str) -> dict[str, object]:
        request = question.request
        decision = request.decision
        return {
            "version": 1,
            "event": f"approval.{what}",
            "approval": request.approval,
            "run": question.run,
            "spec": question.spec,
            "workspace": question.workspace,
            "agent": decision.agent,
            "owner": decision.owner,
            "tool": request.call.name,
            "shown": self.mask(request.shown)[:_LONGEST],
            "diff": self.mask(request.diff)[:_LONGEST],
            "rule": decision.rule,
            "place": decision.place,
            "reason": decision.reason,
            "policy": decision.policy,
            "action": decision.action,
            "waits_for": gates.waits_for(request.gates),
            "cost_nano_usd": request.cost,
            "expires_at_ms": request.expires_at,
            "person": person or None,
            "link": self._link(question, person) if person else None,
        }

    def _link(self, question: Question, person: str) -> str:
        request = question.request
        link = fresh(
            run=question.run,
            approval=request.approval,
            action=request.decision.action,
            person=person,
            until=request.expires_at,
        )
        return f"{self.base}/a/{self.key.sign(link)}"

    def _chat(self, question: Question, what: str) -> dict[str, object]:
        request = question.request
        whom = _plain(gates.waits_for(request.gates))
        head = f"{'Still waiting' if what == 'reminded' else 'Approval wanted'} of {whom}: `{request.approval}`"
        call = _plain(self.mask(request.shown))[:_CHAT].replace("```", "'''")
        rule = _plain(f"{request.decision.rule or 'no rule matched'} ({request.decision.place})")
        foot = f"rule {rule} · run {question.run} · `runner approvals show {request.approval}`"
        return {
            "text": head,
            "blocks": [
                {"type": "section", "text": {"type": "mrkdwn", "text": head}},
                {"type": "section", "text": {"type": "mrkdwn", "text": f"```{call}```"}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]},
            ],
        }


def _plain(text: str) -> str:
    """Text that mentions nobody and links nowhere in a chat."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _short(url: str) -> str:
    """An address as it is written down: it may be a secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]
