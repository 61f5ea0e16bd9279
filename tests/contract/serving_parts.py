"""A state directory with one call that waits, and a server of approvals beside it."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.app.drive import Access
from runner.app.links import Link, fresh
from runner.app.places import State
from runner.app.reach import NoScreen
from runner.app.serving import Place, Served, key_of, serving
from runner.events.facts import ApprovalRequested
from runner.notify.webhook import Webhook
from runner.secrets import Vault
from runner.store import journal
from runner.store.database import Database
from runner.values import Decision, Gate, Ruling, ToolCall, Vote
from tests.contract.store_parts import begin

SECRET = "hunter2-hunter2"
TEAM = ("alice", "bob", "nobody")


def now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Waiting:
    """A run that waits for `security`; its owner is somebody else unless a test says so."""

    state: State
    database: Database
    access: Access
    said: list[str] = field(default_factory=list[str])
    socket: Path | None = None

    def ask(self, approval: str = "a-1", *, owner: str = "olga (uid 54321)", lasts_s: int = 3600) -> ApprovalRequested:
        """One question more, of a run of its own."""
        at = now()
        request = ApprovalRequested(
            approval=approval,
            call=ToolCall("t1", "run", "{}"),
            decision=Decision(ruling=Ruling.ASK, rule="prod", place="org.yaml:3", action="d1" * 32, owner=owner),
            shown=f"run\n  argv: deploy <b>--now</b> {SECRET}",
            gates=(Gate(id="prod", groups={"security": TEAM}),),
            expires_at=at + lasts_s * 1000,
            remind_at=at + lasts_s * 500,
        )
        begin(self.database, f"run-{approval}").record(request)
        return request

    def votes(self, approval: str = "a-1") -> list[Vote]:
        """What was left for the run."""
        return [one.vote for one in journal.votes(self.database, f"run-{approval}")]

    def link(self, person: str = "alice", approval: str = "a-1", *, until: int | None = None) -> str:
        made = fresh(
            run=f"run-{approval}",
            approval=approval,
            action="d1" * 32,
            person=person,
            until=now() + 60_000 if until is None else until,
        )
        return self.signed(made)

    def signed(self, link: Link) -> str:
        return key_of(self.state).sign(link)

    @contextmanager
    def served(self, *, programs: tuple[Webhook, ...] = (), chats: tuple[Webhook, ...] = ()) -> Iterator[Served]:
        place = Place(socket=self.socket or self.state.root / "s", port=0)
        with serving(self.access, place, programs=programs, chats=chats) as served:
            yield served


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    state = State(tmp_path / "state")
    database = state.open()
    said: list[str] = []
    access = Access(
        state=state, database=database, vault=Vault({"PASSWORD": SECRET}), screen=NoScreen(), say=said.append
    )
    made = Waiting(state, database, access, said)
    made.ask()
    yield made
    database.close()


def get(url: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    """A page with its status and headers."""
    return _opened(urllib.request.Request(url, method=method))


def post(url: str, **fields: str) -> tuple[int, str]:
    status, page, _ = _opened(urllib.request.Request(url, data=urllib.parse.urlencode(fields).encode()))
    return status, page


def _opened(request: urllib.request.Request) -> tuple[int, str, dict[str, str]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


ROOT = os.getuid() == 0
