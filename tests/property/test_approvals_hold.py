"""Whoever answers what and when, whatever changes meanwhile: nothing runs but what was approved, once, in time."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.events import facts
from runner.policy import gates
from runner.policy.model import Policy
from runner.store import journal
from runner.store.recorder import open_run
from runner.values import Ruling, ToolCall, Vote
from tests.contract.approval_parts import SECURITY, YOU, Case, asks

MANY = replace(SECURITY, id="many", groups={"security": ("alice", "bob"), "platform": ("dan",)}, least=2, each=1)
GATES = (SECURITY, replace(SECURITY, on_timeout="stop"), YOU, replace(YOU, remember=("once",)), MANY)


def word(dice: random.Random) -> Vote:
    return Vote(
        by=dice.choice(["alice", "bob", "carol", "dan", "mallory"]),
        approve=dice.random() < 0.8,
        identity=dice.choice(["terminal", "unproved", "peercred", "link"]),
        uid=dice.choice([-1, -1, 1000, 1001]),
        own=dice.random() < 0.2,
        scope=dice.choice(["once", "run", "pattern", "ever"]),
    )


def something_happens(case: Case, dice: random.Random) -> None:
    for _ in range(dice.randrange(3)):
        match dice.randrange(7):
            case 0 | 1 | 2:
                names = [*case.state.approvals, "a-none"]
                amended = '{"argv": ["./deploy.sh", "2"]}' if dice.random() < 0.2 else ""
                case.vote(word(dice), approval=dice.choice(names[-3:]), arguments=amended)
            case 3:
                case.files.files["deploy.sh"] = dice.choice([b"echo one", b"echo two"])
            case 4:
                case.around.policy = dice.choice(["p1", "p2"])
                case.around.ruling = dice.choice([Ruling.ASK, Ruling.ASK, Ruling.ALLOW, Ruling.DENY])
            case 5:
                case.later(dice.choice([1, 1_000, 2_000, 4_000]))
            case _:
                case.leave(facts.StopAsked(by="SIGINT", now=dice.random() < 0.5))


def replies(dice: random.Random) -> list[tuple[ToolCall, ...]]:
    return [
        tuple(
            ToolCall(
                f"t{number}.{index}", dice.choice(["go", "go", "look", "put"]), f'{{"argv": ["{dice.randrange(3)}"]}}'
            )
            for index in range(dice.randrange(1, 3))
        )
        for number in range(dice.randrange(1, 5))
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_nothing_runs_but_what_was_approved(seed: int) -> None:
    dice = random.Random(seed)
    asked = tuple(dice.sample(GATES, dice.choice([1, 1, 2])))
    policy = Policy(
        on_ask=dice.choice(["deny", "park", "stop"]),
        # who waits here for others waits in real time
        attended=len(asked) == 1 and asked[0].allow_self,
        asks_per_hour=dice.choice([None, None, 2]),
    )
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), gates=asked, policy=policy)
        case.replies = [asks(*calls) for calls in replies(dice)]
        case.person.answers = [word(dice) for _ in range(dice.randrange(4))]
        case.person.meanwhile = lambda: something_happens(case, dice)
        for _ in range(6):
            stop = case.drive()
            assert stop is not None
            if not stop.is_open and dice.random() < 0.7:
                break
            something_happens(case, dice)
        holds(case)
        case.database.close()


def holds(case: Case) -> None:
    """Every start on an approval was of the very action that was approved, in its time, and used it up."""
    state = open_run(case.database, "r", case.clock).state
    used: list[str] = []
    for row in journal.rows(case.database, "r"):
        known = journal.known("r", row)
        if known is None or not isinstance(known.event, facts.ToolStarted):
            continue
        started = known.event
        assert started.decision is not None
        assert started.decision.ruling is not Ruling.DENY
        assert (started.decision.ruling is Ruling.ASK) == bool(started.approval)
        if not started.approval:
            continue
        asked = state.approvals[started.approval]
        request = asked.request
        assert request.decision.action == started.decision.action
        assert row.at < request.expires_at
        assert asked.outcome == "approved"
        for gate in request.gates:
            yes = {
                one.vote.by
                for one in asked.votes
                if one.vote.approve and gates.counts(one.vote, gate, request.decision.owner)
            }
            assert len(yes) >= max(1, gate.least)
        assert started.approval not in used or gates.reach(asked) != "once"
        used.append(started.approval)
    assert len(case.tools.ran) == len(case.events(facts.ToolFinished))
