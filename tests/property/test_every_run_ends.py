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
from runner.events.facts import RunCreated, SetupFinished
from runner.loop.world import World
from runner.policy.model import Policy
from runner.ports import Completion
from runner.pricing.cost import Price
from runner.spec.model import Spec
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import create_run, open_run, take_over
from runner.testing.fakes import FakeChecks, FakeClock, FakeGuard, FakeModel, FakeTools, FakeWorkspace, engine_of
from runner.values import Limits, Reply, Scope, ScopeKind, StopKind, ToolCall, Usage

PRICE = Price(input=3_000, output=15_000, cached=300, cache_write=3_750)


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


def scripted(dice: random.Random):
    def answer(call, limit):
        fate = dice.random()
        if fate < 0.05:
            raise LostError("dropped", retryable=dice.random() < 0.8)
        if fate < 0.08:
            raise UnbilledError("429", retryable=True, retry_after_s=dice.choice([None, 0.1, 3_000.0]))
        if fate < 0.1:
            raise NeverSentError("refused", retryable=True)
        if fate < 0.11:
            raise NoReplyError("nothing recorded")
        names = [dice.choice(["look", "put", "go", "nonsense"]) for _ in range(dice.choice([0, 1, 1, 2, 3]))]
        calls = tuple(ToolCall(f"t{index}", name, str(dice.randrange(3))) for index, name in enumerate(names))
        text = dice.choice(["working", "DONE", "DONE, or nearly"])
        reply = Reply(text=text, tool_calls=calls, cut=dice.random() < 0.05)
        return Completion(reply=reply, usage=Usage(dice.randrange(20), dice.randrange(1 + min(limit, 50))))

    return answer


def world_of(dice: random.Random, clock: FakeClock) -> World:
    files = FakeWorkspace()
    model = FakeModel(scripted(dice))
    engine = engine_of(model, PRICE)
    return World(
        clock=clock,
        engines=(engine,),
        prices="p",
        tools=FakeTools(files),
        workspace=files,
        checks=FakeChecks(lambda _tree: dice.choice([None, 0.0, 0.5, 1.0])),
        guard=FakeGuard(),
        spec=Spec(path="s", text="# Work", body="# Work", title="Work"),
        texts=Words(dice),
        conversation=Conversation((model,), (engine.entry,)),
        setup=lambda _: SetupFinished(ok=dice.random() < 0.9),
        backoff_s=lambda _: 0.0,
        on_text=lambda _: None,
        mask=str,
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), has_checks=st.booleans(), has_setup=st.booleans(), usd=st.integers(0, 40_000))
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
    policy = Policy(has_checks=has_checks, has_setup=has_setup, min_output=16, max_output=512, budget_wait_ms=1_000)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runner.db")
        recorder = create_run(database, created, clock)
        take_over(recorder, "fake/model")
        world = world_of(dice, clock)
        recorder.listen(lambda stamped, _: world.conversation.apply(stamped.event))

        stop = loop.run(recorder, policy, world)

        state = recorder.state
        assert open_run(database, "r", clock).state == state
        assert state.money.held == 0
        assert state.money.spent + state.money.unknown <= usd
        assert state.money.tokens <= 20_000
        assert state.iterations <= 4
        assert limits.calls is None or state.money.calls <= limits.calls
        assert stop.kind is not StopKind.DONE or state.scored
        ledger = database.query("SELECT kind, spent, unknown, held FROM budget WHERE kind IN ('run', 'project')")
        assert {tuple(row)[1:] for row in ledger} <= {(state.money.spent, state.money.unknown, 0)}
        assert len(list(journal.rows(database, "r"))) == state.seq
        database.close()
