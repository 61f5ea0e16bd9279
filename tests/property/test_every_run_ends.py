"""Whatever a model, its tools and its failures do: every run ends, within its limits, and its journal says so."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import loop
from runner.agent.conversation import Conversation
from runner.agent.prompt import Brief
from runner.errors import LostError, NeverSentError, NoReplyError, UnbilledError
from runner.events.facts import CallDispatched, RunCreated, SetupFinished, ToolStarted
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Completion, Judged
from runner.pricing.cost import Price
from runner.spec.model import Spec
from runner.state import State
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import create_run, open_run, take_over
from runner.testing.fakes import FakeChecks, FakeClock, FakeGuard, FakeModel, FakeTools, FakeWorkspace, engine_of
from runner.values import (
    Decision,
    Limits,
    Reply,
    Ruling,
    Scope,
    ScopeKind,
    StopKind,
    StopReason,
    ToolCall,
    Usage,
)

PRICE = Price(input=3_000, output=15_000, cached=300, cache_write=3_750)
DEARER = Price(input=5_000, output=25_000, cached=500, cache_write=6_250)


class Words:
    spec_path = ""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def edited_spec(self, state):
        return "# Other work" if self.dice.random() < 0.1 else None

    def brief(self, state):
        return Brief(body="Work.")

    def checklist(self, state):
        return ("one",) if self.dice.random() < 0.3 else ()

    def claims(self, message):
        return message.endswith("DONE")


class Moody:
    """A judge who lets most calls through, and denies the same ones again and again."""

    digest = "d"

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def decide(self, call: ToolCall) -> Judged:
        ruling = self.dice.choices(list(Ruling), weights=(8, 1, 2))[0]
        rule, action = self.dice.choice(["", "a", "b"]), self.dice.choice(["x", "y", call.arguments])
        return Judged(decision=Decision(ruling=ruling, rule=rule, action=action, policy="d"))


def failing(dice: random.Random, fate: float):
    """One of the ways in which a call brings no reply; None for a call that does."""
    if fate < 0.05:
        return LostError("dropped", retryable=dice.random() < 0.8, cause="dropped")
    if fate < 0.08:
        wait = dice.choice([None, 0.0, 0.002, 3_000.0])
        return UnbilledError("429", retryable=True, retry_after_s=wait, cause="rate")
    if fate < 0.12:
        return UnbilledError("529", retryable=True, cause="overload")
    if fate < 0.13:
        return LostError("overloaded in mid-stream", retryable=True, cause="overload")
    if fate < 0.15:
        return NeverSentError("refused", retryable=True, cause="connect")
    if fate < 0.17:
        return UnbilledError("no", cause=dice.choice(["auth", "model", "billing", "context", "size", "request"]))
    return NoReplyError("nothing recorded") if fate < 0.18 else None


def scripted(dice: random.Random):
    outage = 0

    def answer(call, limit):
        nonlocal outage
        outage = max(0, outage - 1) or (dice.randrange(1, 30) if dice.random() < 0.02 else 0)
        if outage:
            raise UnbilledError("529", retryable=True, cause="overload")
        if (error := failing(dice, dice.random())) is not None:
            raise error
        names = [dice.choice(["look", "put", "go", "nonsense"]) for _ in range(dice.choice([0, 1, 1, 2, 3]))]
        calls = tuple(ToolCall(f"t{index}", name, str(dice.randrange(3))) for index, name in enumerate(names))
        text = dice.choice(["working", "DONE", "DONE, or nearly", "on and on " * 900])
        ending = dice.choice(["paused", "refused", "filtered", "window"]) if dice.random() < 0.1 else ""
        reply = Reply(text=text, tool_calls=calls, cut=dice.random() < 0.05, ending=ending)
        return Completion(reply=reply, usage=Usage(dice.randrange(20), dice.randrange(1 + min(limit, 50))))

    return answer


def world_of(dice: random.Random, clock: FakeClock, models: list[FakeModel]) -> World:
    files = FakeWorkspace()
    engines = tuple(engine_of(model, price) for model, price in zip(models, (PRICE, DEARER), strict=True))
    return World(
        clock=clock,
        engines=engines,
        prices="p",
        tools=FakeTools(files),
        workspace=files,
        checks=FakeChecks(lambda _tree: dice.choice([None, 0.0, 0.5, 1.0])),
        guard=FakeGuard(),
        spec=Spec(path="s", text="# Work", body="# Work", title="Work"),
        texts=Words(dice),
        conversation=Conversation(models, tuple(one.entry for one in engines)),
        setup=lambda _: SetupFinished(ok=dice.random() < 0.9),
        backoff_s=lambda _: 0.0,
        on_text=lambda _: None,
        mask=str,
        judge=Moody(dice) if dice.random() < 0.7 else None,
    )


def policy_of(dice: random.Random, *, has_checks: bool, has_setup: bool) -> Policy:
    return Policy(
        has_checks=has_checks,
        has_setup=has_setup,
        min_output=16,
        max_output=512,
        budget_wait_ms=1_000,
        engines=dice.choice([1, 2]),
        can_count=(dice.random() < 0.5, dice.random() < 0.5),
        contexts=(dice.choice([0, 60, 100_000]), 100_000),
        patience_ms=dice.choice([0, 2_000, 3_600_000]),
        repeat_limit=dice.choice([None, 1, 4]),
        step_usd=dice.choice([None, None, 0, 5_000]),
        min_gain=dice.choice([0.0, 0.25]),
    )


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), has_checks=st.booleans(), has_setup=st.booleans(), usd=st.integers(0, 80_000))
def test_every_run_ends_within_its_limits_and_replays_to_the_same_state(seed, has_checks, has_setup, usd):
    dice = random.Random(seed)
    clock = FakeClock(step_ms=dice.choice([1, 400]))
    limits = Limits(usd=usd, tokens=20_000, iterations=4, steps=5, calls=dice.choice([None, 9]), duration_s=300)
    created = RunCreated(
        run="r",
        spec_path="s",
        spec_key="k",
        spec_text="# Work",
        workspace="/fake",
        origin="/fake",
        worktree=False,
        model="fake/model",
        prices_digest="p",
        scopes=(Scope(ScopeKind.RUN, "r"), Scope(ScopeKind.PROJECT, "x")),
        limits=limits,
    )
    policy = policy_of(dice, has_checks=has_checks, has_setup=has_setup)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runner.db")
        recorder = create_run(database, created, clock)
        models = [FakeModel(scripted(dice), name=name, counts=dice.choice([None, 30])) for name in ("fake/a", "fake/b")]
        world = world_of(dice, clock, models)
        recorder.listen(lambda stamped, _: world.conversation.apply(stamped.event))
        take_over(recorder, "fake/a")

        stop = loop.run(recorder, policy, world)
        for _ in range(3):
            assert open_run(database, "r", clock).state == recorder.state
            assert within(recorder.state, limits)
            assert decided(database, policy)
            if not stop.is_open:
                break
            early, sent = comes_back(dice, clock, stop), [len(one.sent) for one in models]
            take_over(recorder, "fake/a")
            stop = loop.run(recorder, policy, world)
            # a parked run that comes back before its time asks nobody
            assert not early or (stop.kind is StopKind.PARKED and sent == [len(one.sent) for one in models])

        state = recorder.state
        assert stop.kind is not StopKind.DONE or state.scored
        ledger = database.query("SELECT kind, spent, unknown, held FROM budget WHERE kind IN ('run', 'project')")
        assert {tuple(row)[1:] for row in ledger} <= {(state.money.spent, state.money.unknown, 0)}
        assert len(list(journal.rows(database, "r"))) == state.seq
        database.close()


def decided(database: Database, policy: Policy) -> bool:
    """Whether nothing started that was not allowed, and no call was sent above the cap on a step."""
    known = (journal.known("r", row) for row in journal.rows(database, "r"))
    events = [one.event for one in known if one is not None]
    started = [one.decision for one in events if isinstance(one, ToolStarted)]
    holds = [one.hold for one in events if isinstance(one, CallDispatched)]
    return all(one is None or one.ruling is Ruling.ALLOW for one in started) and (
        policy.step_usd is None or all(hold <= policy.step_usd for hold in holds)
    )


def comes_back(dice: random.Random, clock: FakeClock, stop: StopReason) -> bool:
    """Let some time pass after a stop; whether it is still too early, by more than a run waits."""
    if stop.resume_at is None:
        return False
    early = dice.random() < 0.5 and stop.resume_at - clock.at > 700_000
    if not early:
        clock.at = max(clock.at, stop.resume_at)
    return early


def within(state: State, limits: Limits) -> bool:
    money = state.money
    return (
        money.held == 0
        and limits.usd is not None
        and money.spent + money.unknown <= limits.usd
        and limits.tokens is not None
        and money.tokens <= limits.tokens
        and state.iterations <= 4
        and (limits.calls is None or money.calls <= limits.calls)
    )
