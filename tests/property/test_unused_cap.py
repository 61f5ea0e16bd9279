"""What a run leaves of its cap: at most 3 %, or what the next request could cost at worst with a useful answer.

Long conversations against a provider that counts as real ones do, about four or three and a half bytes to a token, and
bills nine tenths of a prompt as read from its cache. Run it with `-s` to see the figures, and beside them what is left
where a bound rests on bytes alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from runner import loop
from runner.agent.conversation import Conversation
from runner.agent.prompt import Brief
from runner.events.facts import (
    CallDispatched,
    CallRefused,
    CallSettled,
    Event,
    InputCounted,
    IterationFinished,
    IterationStarted,
    RunCreated,
    SetupFinished,
    ToolStarted,
)
from runner.loop.world import World
from runner.models.wire import chat_body, encode_message
from runner.policy.model import Policy
from runner.ports import Completion, Interrupt, Message, Prepared
from runner.pricing.cost import Price, worst
from runner.spec.model import Spec
from runner.store.database import Database
from runner.store.recorder import JournalRecorder, create_run, take_over
from runner.testing.fakes import FakeAct, FakeChecks, FakeClock, FakeGuard, FakeTools, FakeWorkspace, engine_of
from runner.testing.fakes import entry_of as listed
from runner.values import CallId, Effect, Limits, Reply, Scope, ScopeKind, StopKind, ToolCall, Usage

Kind = TypeVar("Kind", bound=Event)
PRICE = Price(input=3_000_000, output=15_000_000, cached=300_000, cache_write=3_750_000)
LIMIT = 4_000_000_000
MIN_OUTPUT, MAX_OUTPUT = 1_024, 16_384
POLICY = Policy(stall_iterations=None, min_output=MIN_OUTPUT, max_output=MAX_OUTPUT)


@dataclass
class CountingModel:
    """Chat Completions bytes, counted at `ratio` bytes to a token; every reply asks for a tool and says a little."""

    ratio: float
    dice: random.Random
    name: str = "fake/model"
    max_output: int = 64_000
    counts: bool = False
    known: list[int] = field(default_factory=list[int])

    def tokens(self, body: bytes) -> int:
        return round(len(body) / self.ratio)

    @property
    def can_count(self) -> bool:
        return self.counts

    def count(self, body: bytes, *, interrupt: Interrupt) -> int:
        return self.tokens(body)

    def encode(self, message: Message) -> bytes:
        return encode_message(message)

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return chat_body("model", messages, tools=b"", max_output=max_output)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        granted = int(body.partition(b'"max_completion_tokens":')[2].partition(b",")[0])
        read, written = self.tokens(body), min(granted, self.dice.randint(150, 900))
        text = "so " * round(written * self.ratio / 3)
        asked = ToolCall(f"t{call.step}", "look", str(self.dice.randrange(10**9)))
        cached = 0 if call.step == 1 else read * 9 // 10
        return Completion(
            reply=Reply(text=text, tool_calls=(asked,)),
            usage=Usage(read, written, cached_tokens=cached, cache_write_tokens=read - cached),
        )


class Looks(FakeTools):
    """`look` answers with as much as reading a file does."""

    def prepare(self, call: ToolCall) -> Prepared | str:
        size = random.Random(call.arguments).randint(200, 6_000)
        return FakeAct(ToolStarted(call=call, effect=Effect.READS), lambda: "line\n" * (size // 5))


class Words:
    """A spec of a few pages that nobody edits, and no claim."""

    spec_path = ""

    def edited_spec(self, state: object) -> None:
        return None

    def brief(self, state: object) -> Brief:
        return Brief(body="Do the work described here, piece by piece.\n" * 100)

    def checklist(self, state: object) -> tuple[str, ...]:
        return ()

    def claims(self, message: str) -> bool:
        return False


@dataclass
class Ended:
    """A run at its end, and everything it did."""

    recorder: JournalRecorder
    world: World
    events: list[Event]

    @property
    def unused(self) -> int:
        money = self.recorder.state.money
        return LIMIT - money.spent - money.unknown

    @property
    def next_worst(self) -> int:
        """What the request that no longer fits could cost at worst, with the least useful answer."""
        tokens = self.world.conversation.bound(MAX_OUTPUT).tokens
        return worst(PRICE.cache_write, PRICE.output, tokens, MIN_OUTPUT)

    @property
    def handoffs(self) -> list[IterationFinished]:
        return [one for one in self.all(IterationFinished) if one.ending == "handoff"]

    @property
    def left_by_one_conversation(self) -> int:
        """What was left where a conversation could not go on for the first time."""
        return self.all(CallRefused)[0].headroom

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [one for one in self.events if isinstance(one, kind)]


@contextmanager
def ran(folder: Path, model: CountingModel, *, count: str = "all") -> Iterator[Ended]:
    """Run until the money is gone; `count` says how far the model's counts are trusted."""
    clock, files = FakeClock(), FakeWorkspace()
    database = Database(folder / "runner.db")
    created = RunCreated(
        run="r",
        spec_path="s",
        spec_key="k",
        spec_text="# Work",
        workspace="/fake",
        origin="/fake",
        worktree=False,
        model=model.name,
        prices_digest="p",
        scopes=(Scope(ScopeKind.RUN, "r"),),
        limits=Limits(usd=LIMIT, steps=60),
    )
    recorder = create_run(database, created, clock)
    take_over(recorder, model.name)
    entry = replace(listed(model.name, PRICE, max_output=model.max_output), count=count)
    engine = engine_of(model, PRICE, entry=entry)
    world = World(
        clock=clock,
        engines=(engine,),
        prices="p",
        tools=Looks(files),
        workspace=files,
        checks=FakeChecks(lambda _tree: None),
        guard=FakeGuard(),
        spec=Spec(path="s", text="# Work", body="# Work", title="Work"),
        texts=Words(),
        conversation=Conversation((model,), (entry,)),
        setup=lambda _: SetupFinished(ok=True),
        backoff_s=lambda _: 0.0,
        on_text=lambda _: None,
        mask=str,
    )
    events: list[Event] = []
    recorder.listen(lambda stamped, _: world.conversation.apply(stamped.event))
    recorder.listen(lambda stamped, _: events.append(stamped.event))
    stop = loop.run(recorder, replace(POLICY, can_count=(model.can_count,)), world)
    assert stop.kind is StopKind.BUDGET
    yield Ended(recorder, world, events)
    database.close()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("ratio", [4.0, 3.4])
def test_at_most_3_percent_of_a_cap_or_the_worst_case_of_the_next_request_is_left(tmp_path, ratio, seed):
    told = {}
    for count in ("all", "untrusted"):
        folder = tmp_path / count
        folder.mkdir()
        with ran(folder, CountingModel(ratio, random.Random(seed)), count=count) as ended:
            assert 0 <= ended.unused <= max(LIMIT * 3 // 100, ended.next_worst)
            told[count] = ended
            print(
                f"\n{ratio} bytes a token, {'bytes alone' if count == 'untrusted' else 'counted prefix'}:"
                f" {ended.unused / LIMIT:.2%} of the cap unused, the next request at worst {ended.next_worst / LIMIT:.2%};"
                f" without handoffs {ended.left_by_one_conversation / LIMIT:.2%} unused;"
                f" {len(ended.all(CallSettled))} calls, {len(ended.handoffs)} handoffs",
                end="",
            )
    assert told["all"].left_by_one_conversation < told["untrusted"].left_by_one_conversation


def test_money_that_a_long_conversation_cannot_use_is_used_by_fresh_iterations(tmp_path):
    with ran(tmp_path, CountingModel(4.0, random.Random(7))) as ended:
        first = ended.events.index(ended.handoffs[0])
        used = sum(one.cost for one in ended.events[first:] if isinstance(one, CallSettled))
        # what the conversation had no use for any more went nearly all into work, not only into new beginnings
        assert used > ended.left_by_one_conversation // 2
        note = ended.handoffs[0].note
        assert note.endswith("[The iteration ended because its conversation had become too dear to go on with.]")
        opening = next(one for one in ended.events[first:] if isinstance(one, IterationStarted))
        assert note in opening.prompt


def test_a_provider_that_counts_is_asked_before_a_conversation_is_given_up(tmp_path):
    with ran(tmp_path, CountingModel(4.0, random.Random(3), counts=True), count="all") as ended:
        refused = [place for place, one in enumerate(ended.events) if isinstance(one, CallRefused)]
        assert all(isinstance(ended.events[place + 1], InputCounted | IterationFinished) for place in refused)
        bounds = [one for one in ended.all(CallDispatched) if one.bound_by == "count"]
        counted = {str(one.call): one.tokens for one in ended.all(InputCounted) if one.tokens is not None}
        assert bounds
        for one in bounds:
            tokens = counted[str(one.call)]
            assert tokens < one.input_bound <= tokens * 1.02 + 1_001
