"""The loop and its models: which one is called, what its call is bounded by, what comes back and what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import pytest

from runner import loop
from runner.agent.conversation import Bound, Conversation
from runner.agent.prompt import Brief
from runner.errors import LostError, ModelError, NoReplyError, UnbilledError
from runner.events import facts
from runner.events.facts import Event
from runner.loop.world import Engine, World
from runner.models.wire import chat_body, encode_message
from runner.policy.model import Policy
from runner.ports import Answered, Completion, Interrupt, Message
from runner.pricing.cost import Asks, Price, cost, dearest, worst
from runner.secrets import Vault
from runner.spec.model import Spec
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import JournalRecorder, create_run, take_over
from runner.testing.fakes import FakeChecks, FakeClock, FakeGuard, FakeTools, FakeWorkspace, engine_of, entry_of
from runner.values import CallId, Effect, Limits, Opaque, Reply, Scope, ScopeKind, StopKind, ToolCall, Usage

SECRET = "planted-0123456789-key"
CHEAP = Price(input=1_000_000, output=4_000_000, cached=100_000, cache_write=1_250_000)
DEAR = Price(input=5_000_000, output=25_000_000, cached=500_000, cache_write=6_250_000)
LOOK = ToolCall("t1", "look", "{}")
GONE = UnbilledError("no such model", cause="model")
DONE = Reply(text="Done.")


class Wired:
    """A model that writes Chat Completions, what only it can read included, and answers from a list."""

    def __init__(self, name: str, *answers: Reply | Completion | ModelError, counts: int | None = None) -> None:
        self.name, self.max_output = name, 4_096
        self.answers, self.bodies, self.counts = list(answers), list[bytes](), counts

    @property
    def can_count(self) -> bool:
        return self.counts is not None

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        return self.counts

    def encode(self, message: Message) -> bytes:
        part = encode_message(message)
        opaque = message.reply.opaque if isinstance(message, Answered) else ()
        return json.dumps([json.loads(part), *(one.data for one in opaque)]).encode() if opaque else part

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return chat_body(self.name, messages, tools=b"", max_output=max_output)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        self.bodies.append(body)
        answer = self.answers.pop(0) if self.answers else NoReplyError("the script is over")
        if isinstance(answer, ModelError):
            raise answer
        return answer if isinstance(answer, Completion) else Completion(reply=answer, usage=Usage(len(body) // 4, 50))


class Words:
    spec_path = ""

    def edited_spec(self, state: object) -> None:
        return None

    def brief(self, state: object) -> Brief:
        return Brief(body="Work.")

    def checklist(self, state: object) -> tuple[str, ...]:
        return ()

    def claims(self, message: str) -> bool:
        return message == DONE.text


@dataclass
class Bench:
    """A run in a database of its own; `run` drives it with models to its end."""

    recorder: JournalRecorder
    database: Database
    clock: FakeClock
    world: World | None = None

    def run(self, *engines: Engine, contexts: tuple[int, ...] = ()) -> StopKind:
        files = FakeWorkspace()
        models = [one.model for one in engines]
        self.world = World(
            clock=self.clock,
            engines=engines,
            prices="p",
            tools=FakeTools(files),
            workspace=files,
            checks=FakeChecks(lambda _tree: None),
            guard=FakeGuard(),
            spec=Spec(path="s", text="# Work", body="# Work", title="Work"),
            texts=Words(),
            conversation=Conversation(models, [one.entry for one in engines]),
            setup=lambda _: facts.SetupFinished(ok=True),
            backoff_s=lambda _: 0.0,
            on_text=lambda _: None,
            mask=Vault({"API_KEY": SECRET}).mask,
        )
        conversation = self.world.conversation
        for row in journal.rows(self.database, "r"):
            if (stamped := journal.known("r", row)) is not None:
                conversation.apply(stamped.event)
        self.recorder.listen(lambda stamped, _: conversation.apply(stamped.event))
        counts = tuple(one.can_count for one in models)
        policy = Policy(promise="", engines=len(engines), can_count=counts, contexts=contexts)
        return loop.run(self.recorder, policy, self.world).kind

    def events(self, *kinds: type[Event]) -> list[Event]:
        found = (journal.known("r", row) for row in journal.rows(self.database, "r"))
        return [one.event for one in found if one is not None and isinstance(one.event, kinds or object)]

    def entries(self) -> list[tuple[str, str, int, int]]:
        rows = self.database.query("SELECT model, state, hold, cost FROM entry ORDER BY at, call")
        return [(str(one[0]), str(one[1]), int(one[2]), int(one[3])) for one in rows]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    database, clock = Database(tmp_path / "runner.db"), FakeClock()
    created = facts.RunCreated(
        run="r",
        spec_path="s",
        spec_key="k",
        spec_text="# Work",
        workspace="/fake",
        origin="/fake",
        worktree=False,
        model="one/a",
        prices_digest="p",
        scopes=(Scope(ScopeKind.RUN, "r"), Scope(ScopeKind.MODEL, "one/a")),
        limits=Limits(usd=2_000_000_000, iterations=2, steps=20),
    )
    recorder = create_run(database, created, clock)
    take_over(recorder, "one/a")
    yield Bench(recorder, database, clock)
    database.close()


def thinking(provider: str, data: str = '{"type":"thinking","signature":"c2ln"}') -> Opaque:
    return Opaque(provider=provider, chars=0, calls=0, data=data)


def test_a_model_that_cannot_be_had_is_followed_by_the_next_and_each_attempt_is_priced_as_itself(bench):
    first, second = Wired("one/a", GONE), Wired("two/b", Reply(text="", tool_calls=(LOOK,)), DONE)
    stop = bench.run(engine_of(first, CHEAP), engine_of(second, DEAR))
    assert stop is StopKind.DONE
    (switched,) = bench.events(facts.ModelSwitched)
    assert (switched.model, switched.engine, switched.reason) == ("two/b", 1, "no such model")
    sent, settled = bench.events(facts.CallDispatched), bench.events(facts.CallSettled)
    prices = [CHEAP, DEAR, DEAR]
    for one, price in zip(sent, prices, strict=True):
        assert one.hold == worst(
            price.dearest_input,
            price.output,
            one.input_bound,
            one.granted_output,
            slack=dearest(price, Asks(), one.input_bound).slack,
        )
    costs = [cost(DEAR, one.usage) for one in settled]
    assert [one.cost for one in settled] == costs
    assert [(model, state) for model, state, _, _ in bench.entries()] == [
        ("one/a", "released"),
        ("two/b", "settled"),
        ("two/b", "settled"),
    ]
    spent = bench.database.query("SELECT name, spent, unknown, held FROM budget WHERE kind = 'model' ORDER BY name")
    assert [tuple(row) for row in spent] == [("one/a", 0, 0, 0), ("two/b", sum(costs), 0, 0)]
    assert bench.recorder.state.money.spent == sum(costs)


def test_another_provider_is_sent_the_whole_conversation_without_what_only_the_first_can_read(bench):
    thought = thinking("one")
    first = Wired("one/a", Reply(text="Let me see.", tool_calls=(LOOK,), opaque=(thought,)), GONE)
    second = Wired("two/b", DONE)
    assert bench.run(engine_of(first, CHEAP), engine_of(second, DEAR)) is StopKind.DONE
    assert b"c2ln" in first.bodies[1]
    assert b"c2ln" not in second.bodies[0]
    for said in (b"Work.", b"Let me see.", b'"tool_call_id":"t1"'):
        assert said in second.bodies[0]
    # what the first model counted bounds nothing that the second is sent
    last = bench.events(facts.CallDispatched)[-1]
    assert (last.input_bound, last.bound_by) == (len(second.bodies[0]), "bytes")


def test_another_model_of_the_same_provider_is_sent_its_blocks_too(bench):
    first = Wired("one/a", Reply(text="", tool_calls=(LOOK,), opaque=(thinking("one"),)), GONE)
    second = Wired("one/b", DONE)
    assert bench.run(engine_of(first, CHEAP), engine_of(second, DEAR)) is StopKind.DONE
    assert b"c2ln" in second.bodies[0]


def test_after_a_resume_the_first_model_is_tried_again_with_its_own_blocks(bench):
    asks = Reply(text="", tool_calls=(LOOK,), opaque=(thinking("one"),))
    first, second = Wired("one/a", asks, GONE), Wired("two/b", NoReplyError("stands"))
    assert bench.run(engine_of(first, CHEAP), engine_of(second, DEAR)) is StopKind.FAILED
    take_over(bench.recorder, "one/a")
    again, unused = Wired("one/a", DONE), Wired("two/b")
    assert bench.run(engine_of(again, CHEAP), engine_of(unused, DEAR)) is StopKind.DONE
    assert again.bodies == first.bodies[1:]
    assert unused.bodies == []


def test_a_class_of_billing_without_a_price_is_booked_at_its_hold_and_ends_the_run(bench):
    model = Wired("one/a", Completion(reply=DONE, usage=Usage(500, 50, service="ultrafast")))
    assert bench.run(engine_of(model, CHEAP)) is StopKind.BOUND_VIOLATED
    (sent,), (settled,) = bench.events(facts.CallDispatched), bench.events(facts.CallSettled)
    (violated,) = bench.events(facts.BoundViolated)
    assert settled.cost == sent.hold == violated.billed
    assert "billed in a class without a price" in violated.what
    assert "'ultrafast'" in violated.what
    assert bench.entries() == [("one/a", "settled", sent.hold, sent.hold)]
    assert bench.recorder.state.stopped.exit_code == 8


PLANTED = "\ud800" + "x" * 5_000 + SECRET


def _answers(name: str) -> list[Completion | ModelError]:
    """Every kind of answer, with a name of the provider's making wherever one has its place."""
    used = Usage(500, 50)
    usages = [
        replace(used, service=name),
        replace(used, geo=name),
        replace(used, fees=((name, 1),)),
    ]
    return [
        *(Completion(reply=DONE, usage=one) for one in usages),
        Completion(reply=DONE, usage=used, request_id=name),
        UnbilledError("no", cause="request", request_id=name),
        LostError("gone", cause="server", request_id=name),
    ]


@pytest.mark.parametrize("answer", [*_answers(SECRET), *_answers(PLANTED)])
def test_no_name_of_the_providers_making_brings_a_secret_or_a_flood_into_the_journal(
    bench: Bench, answer: Completion | ModelError
):
    bench.run(engine_of(Wired("one/a", answer), CHEAP))
    assert bench.events(facts.CallSettled, facts.CallReleased, facts.CallUnknown)
    stored = "".join(row.body for row in journal.rows(bench.database, "r"))
    assert SECRET not in stored
    assert "x" * 250 not in stored


def test_fees_that_nobody_priced_are_booked_no_lower_than_the_dearest_class_known(bench):
    price = replace(CHEAP, services={"fast": replace(CHEAP, input=10**9, cached=10**9, cache_write=10**9)})
    usage = Usage(500, 50, fees=(("moon_search", 3),))
    assert bench.run(engine_of(Wired("one/a", Completion(reply=DONE, usage=usage)), price)) is StopKind.BOUND_VIOLATED
    (sent,), (settled,) = bench.events(facts.CallDispatched), bench.events(facts.CallSettled)
    assert settled.cost >= 500 * 10**9 // 1000 > sent.hold


@pytest.mark.parametrize("hidden", [SECRET, "".join(f"\\u{ord(one):04x}" for one in SECRET)])
def test_a_secret_in_what_only_the_provider_can_read_keeps_the_block_out_and_ends_the_iteration(bench, hidden):
    spoilt = Reply(text="", tool_calls=(LOOK,), opaque=(thinking("one", f'{{"thinking":"the key is {hidden}"}}'),))
    model = Wired("one/a", spoilt, DONE)
    assert bench.run(engine_of(model, CHEAP)) is StopKind.DONE
    stored = "".join(row.body for row in journal.rows(bench.database, "r"))
    assert SECRET not in stored
    assert "the key is" not in stored
    settled, _ = bench.events(facts.CallSettled)
    assert (settled.reply.ending, settled.reply.opaque) == ("withheld", ())
    ended, _ = bench.events(facts.IterationFinished)
    assert (ended.ending, ended.claimed) == ("refused", False)
    assert ended.note.endswith("[The iteration ended because the model would not go on.]")
    assert bench.events(facts.ToolStarted) == []


def test_a_block_keeps_its_place_when_a_secret_before_it_is_masked(bench):
    text = f"The key is {SECRET}. And then?"
    place = text.index("And")
    model = Wired("one/a", Reply(text=text, opaque=(replace(thinking("one"), chars=place),)))
    bench.run(engine_of(model, CHEAP))
    reply = bench.events(facts.CallSettled)[0].reply
    assert SECRET not in reply.text
    assert reply.text[reply.opaque[0].chars :] == "And then?"
    assert reply.ending == ""


def test_a_paused_reply_is_sent_back_as_it_is_and_the_model_called_again(bench):
    paused = Reply(text="Searching", opaque=(thinking("one"),), ending="paused")
    model = Wired("one/a", paused, DONE)
    assert bench.run(engine_of(model, CHEAP)) is StopKind.DONE
    sent = json.loads(model.bodies[1])["messages"]
    assert sent[-1] == [{"role": "assistant", "content": "Searching"}, thinking("one").data]
    assert [str(one.call) for one in bench.events(facts.CallDispatched)] == ["1.1.1", "1.2.1"]


@pytest.mark.parametrize("ending", ["refused", "filtered"])
def test_a_refusal_ends_the_iteration_without_a_claim_and_without_its_tools(bench, ending):
    model = Wired("one/a", Reply(text=DONE.text, tool_calls=(LOOK,), ending=ending), DONE)
    assert bench.run(engine_of(model, CHEAP)) is StopKind.DONE
    ended, _ = bench.events(facts.IterationFinished)
    assert (ended.ending, ended.claimed) == ("refused", False)
    assert bench.events(facts.ToolStarted) == []


def test_a_conversation_that_nears_the_models_window_ends_with_a_note_and_a_fresh_one_goes_on(bench):
    long = Completion(reply=Reply(text="so far so good", tool_calls=(LOOK,)), usage=Usage(700, 4_000))
    model = Wired("one/a", long, DONE)
    assert bench.run(engine_of(model, CHEAP), contexts=(5_600,)) is StopKind.DONE
    ended, _ = bench.events(facts.IterationFinished)
    assert ended.ending == "context"
    assert ended.note.startswith("so far so good")
    assert ended.note.endswith("[The iteration ended because its conversation had become too long for the model.]")
    assert "so far so good" in json.loads(model.bodies[1])["messages"][1]["content"]


def test_the_output_asked_for_leaves_room_for_the_input_in_the_models_window(bench):
    grown = Completion(reply=Reply(text="", tool_calls=(LOOK,)), usage=Usage(700, 1_500))
    model = Wired("one/a", grown, DONE)
    assert bench.run(engine_of(model, CHEAP), contexts=(5_600,)) is StopKind.DONE
    first, second = bench.events(facts.CallDispatched)
    assert first.granted_output == 4_096
    # 2,200 tokens are known, and "done" of the tool makes two more at three bytes each
    assert second.granted_output == 5_600 - 2_202


def test_a_request_the_provider_calls_too_long_ends_the_iteration_and_not_the_run(bench):
    full = UnbilledError("maximum context length", cause="context")
    model = Wired("one/a", Reply(text="halfway", tool_calls=(LOOK,)), full, DONE)
    assert bench.run(engine_of(model, CHEAP)) is StopKind.DONE
    assert [one.ending for one in bench.events(facts.IterationFinished)] == ["context", "answered"]


class Listing(TypedDict, total=False):
    """What the book says of a model beside its price."""

    allowance: int
    tools_allowance: int
    thinking_allowance: int
    count: str
    tokenizer: str
    local: bool


def conversation(model: Wired, **entry: Unpack[Listing]) -> Conversation:
    """An iteration that was begun and has one settled call, of 100 tokens in and 50 out."""
    said = Conversation((model,), (replace(entry_of(model.name, CHEAP), **entry),))
    said.apply(facts.IterationStarted(iteration=1, system="s", prompt="a long prompt " * 50))
    said.apply(facts.CallDispatched(call=CallId(1, 1, 1), model=model.name, input_bound=9, granted_output=9, hold=1))
    return said


def settled(reply: Reply) -> facts.CallSettled:
    return facts.CallSettled(call=CallId(1, 1, 1), usage=Usage(100, 50), cost=1, reply=reply)


def looked(text: str) -> facts.ToolFinished:
    return facts.ToolFinished(call_id="t", name="look", text=text, ok=True, effect=Effect.READS)


def test_a_settled_call_bounds_the_next_by_its_count_and_the_bytes_since():
    model = Wired("one/a")
    said = conversation(model)
    assert said.bound(10) == Bound(len(said.body(10)), "bytes")
    said.apply(settled(DONE))
    assert said.bound(10) == Bound(100 + len(model.encode(Answered(DONE))) + 2, "prefix")


def test_what_the_provider_may_add_is_in_every_bound():
    model = Wired("one/a")
    plain = conversation(model)
    more = conversation(model, allowance=1, tools_allowance=20, thinking_allowance=300)
    for event in (None, settled(DONE)):
        for one in (plain, more):
            if event is not None:
                one.apply(event)
        assert more.bound(10).tokens == plain.bound(10).tokens + 321


@pytest.mark.parametrize("entry", [{"count": "untrusted"}, {"local": True}])
def test_a_count_that_may_leave_out_what_was_cached_or_all_of_it_bounds_nothing(entry):
    said = conversation(Wired("one/a"), **entry)
    said.apply(settled(DONE))
    said.apply(facts.InputCounted(call=CallId(1, 2, 1), tokens=3))
    assert said.bound(10) == Bound(len(said.body(10)), "bytes")


def test_where_a_tokenizer_rewrites_text_a_byte_counts_as_twelve_tokens_but_a_counted_prefix_as_it_is():
    model = Wired("one/a")
    said = conversation(model, tokenizer="normalises")
    assert said.bound(10) == Bound(12 * len(said.body(10)), "bytes")
    said.apply(settled(DONE))
    assert said.bound(10) == Bound(100 + 12 * (len(model.encode(Answered(DONE))) + 2), "prefix")


def test_what_only_the_provider_can_read_weighs_all_the_output_it_came_with_until_it_is_counted():
    model = Wired("one/a")
    said, reply = conversation(model), Reply(text="x", opaque=(thinking("one"),))
    said.apply(settled(reply))
    assert said.bound(10) == Bound(100 + len(model.encode(Answered(reply))) + 2 + 50, "prefix")
    said.apply(looked("y" * 100))
    said.apply(facts.CallSettled(call=CallId(1, 2, 1), usage=Usage(170, 5), cost=1, reply=DONE))
    assert said.bound(10) == Bound(170 + len(model.encode(Answered(DONE))) + 2, "prefix")


def test_a_providers_count_bounds_a_request_with_two_percent_and_a_thousand_tokens_more():
    said = conversation(Wired("one/a"))
    said.apply(looked("z" * 5_000))
    said.apply(facts.InputCounted(call=CallId(1, 1, 2), tokens=1_001))
    assert said.bound(10) == Bound(1_022 + 1_000, "count")
    said.apply(facts.InputCounted(call=CallId(1, 1, 2), tokens=None))
    assert said.bound(10) == Bound(2_022, "count")
    resumed(said)


def resumed(said: Conversation) -> None:
    """A driver may bring another address, tools or thinking under the same name: nothing counted before bounds it."""
    said.apply(facts.RunResumed(epoch=2, pid=1, boot_id="b", model="one/a"))
    assert said.bound(10) == Bound(len(said.body(10)), "bytes")


def test_what_a_settled_call_counted_does_not_outlive_a_resume():
    said = conversation(Wired("one/a"))
    said.apply(settled(DONE))
    said.apply(looked("z" * 100))
    resumed(said)
    said.apply(settled(DONE))
    assert said.bound(10).by == "prefix"
