"""The loop on a real store with a model, tools and a workspace in memory: what enters a run, and whose doing it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runner.agent.conversation import Bound, Conversation
from runner.agent.prompt import Brief
from runner.decide import (
    CallModel,
    CompareWorkspace,
    FinishIteration,
    MakeCheckpoint,
    RunTool,
    StartIteration,
    Stop,
    WaitUntil,
)
from runner.events import facts
from runner.loop import World
from runner.loop.perform import perform
from runner.policy.model import Policy
from runner.ports import Completion
from runner.pricing.cost import Price
from runner.secrets import Vault
from runner.spec.model import Spec
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import JournalRecorder, create_run, take_over
from runner.testing.fakes import FakeAct, FakeChecks, FakeClock, FakeModel, FakeTools, FakeWorkspace, engine_of
from runner.tools import BuiltinTools
from runner.values import CallId, Effect, Limits, Reply, Scope, ScopeKind, StopKind, StopReason, ToolCall, Usage

SECRET = "planted-0123456789-key"
CREATED = facts.RunCreated(
    run="r",
    spec_path="/fake/spec.md",
    spec_key="k",
    spec_text="# Work",
    workspace="/fake",
    origin="/fake",
    worktree=False,
    model="fake/model",
    prices_digest="p",
    scopes=(Scope(ScopeKind.RUN, "r"),),
    limits=Limits(),
)


class Words:
    """The spec as it is in the workspace; what the agent changed is no edit."""

    spec_path = "spec.md"

    def __init__(self, files: FakeWorkspace) -> None:
        self.files = files

    def edited_spec(self, state):
        text = self.files.files["spec.md"].decode()
        change = state.protected.get("spec.md")
        by_agent = change is not None and change.by == "agent"
        return None if text == state.spec_text or by_agent else text

    def brief(self, state):
        return Brief(body="Work.")

    def checklist(self, state):
        return ()

    def claims(self, message):
        return False


class Guard:
    """The spec alone is protected; its digest is its text."""

    def __init__(self, files: FakeWorkspace) -> None:
        self.files = files

    def base(self):
        return {"spec.md": "# Work"}

    def look(self):
        return {"spec.md": self.files.files["spec.md"].decode()}

    def differing(self):
        return ()


class Servers(FakeTools):
    """`serve` begins a command in the background."""

    def prepare(self, call):
        if call.name != "serve":
            return super().prepare(call)
        started = facts.ToolStarted(call=call, effect=Effect.COMMANDS, background=True)
        return FakeAct(started, lambda: "serving")


@dataclass
class Bench:
    """A run that was begun, and everything around it."""

    recorder: JournalRecorder
    world: World
    files: FakeWorkspace
    clock: FakeClock
    database: Database
    replies: list[Reply]

    def do(self, *commands) -> None:
        for command in commands:
            perform(command, Policy(), self.world, self.recorder)

    def reply(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def events(self, kind: type) -> list[facts.Event]:
        found = (journal.known("r", row) for row in journal.rows(self.database, "r"))
        return [one.event for one in found if one is not None and isinstance(one.event, kind)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    clock, files = FakeClock(step_ms=0), FakeWorkspace({"spec.md": b"# Work"})
    database = Database(tmp_path / "runner.db")
    recorder = create_run(database, CREATED, clock)
    take_over(recorder, "fake/model")
    replies: list[Reply] = []
    model = FakeModel(lambda _call, _limit: Completion(reply=replies.pop(0), usage=Usage(5, 5)))
    engine = engine_of(model, Price(input=1_000, output=1_000, cached=1_000, cache_write=1_000))
    world = World(
        clock=clock,
        engines=(engine,),
        prices="p",
        tools=Servers(files),
        workspace=files,
        checks=FakeChecks(lambda _tree: 1.0),
        guard=Guard(files),
        spec=Spec(path="s", text="# Work", body="# Work", title="Work"),
        texts=Words(files),
        conversation=Conversation((model,), (engine.entry,)),
        setup=lambda _: facts.SetupFinished(ok=True),
        backoff_s=lambda _: 0.0,
        on_text=lambda _: None,
        mask=Vault({"API_KEY": SECRET}).mask,
    )
    snapshot = files.snapshot()
    recorder.record(facts.CheckpointMade(number=0, commit="c", tree=snapshot.tree, reason="as found"))
    recorder.listen(lambda stamped, _: world.conversation.apply(stamped.event))
    yield Bench(recorder, world, files, clock, database, replies)
    database.close()


def asks(*calls: tuple[str, str]) -> Reply:
    return Reply(text="", tool_calls=tuple(ToolCall(f"t{n}", *call) for n, call in enumerate(calls)))


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


@pytest.mark.parametrize("written", [SECRET, escaped(SECRET), SECRET.encode().hex()])
def test_a_secret_in_a_tool_call_is_in_no_journal_and_no_request_and_its_tool_does_not_run(bench, tmp_path, written):
    tools = BuiltinTools(
        tmp_path / "root",
        env={},
        artefacts=tmp_path / "artefacts",
        vault=Vault({"API_KEY": SECRET}),
        spec_path=None,
        tick=lambda _text, _item: None,
        on_tick=lambda _item: None,
    )
    bench.world = replace(bench.world, tools=tools)
    bench.reply(asks(("write_file", f'{{"path": "a", "content": "key = {written}"}}')))
    bench.do(StartIteration(1), CallModel(CallId(1, 1, 1)))
    bench.do(RunTool(bench.recorder.state.iteration.pending[0]))
    stored = "".join(row.body for row in journal.rows(bench.database, "r"))
    for form in (SECRET, escaped(SECRET), escaped(SECRET).replace("\\", "\\\\"), SECRET.encode().hex()):
        assert form not in stored
        assert form.encode() not in bench.world.conversation.body(1)
    (refused,) = bench.events(facts.ToolRefused)
    assert refused.reason == "write_file: the arguments contain the secret API_KEY; tools never get secrets"


def test_halves_of_a_character_that_a_stream_parted_are_joined_and_a_lone_one_is_no_end_of_the_run(bench):
    bench.reply(Reply(text="\ud83d\ude00 and \ud800", tool_calls=(ToolCall("t", "look", '{"a": "\udc00"}'),)))
    bench.do(StartIteration(1), CallModel(CallId(1, 1, 1)))
    (settled,) = bench.events(facts.CallSettled)
    assert (settled.reply.text, settled.reply.tool_calls[0].arguments) == ("😀 and \ufffd", '{"a": "\ufffd"}')


def test_what_changes_while_a_command_goes_on_in_the_background_is_the_agents_doing(bench):
    bench.reply(asks(("serve", "{}"), ("put", "1")), Reply(text="done"))
    bench.do(StartIteration(1), CallModel(CallId(1, 1, 1)))
    serve, put = bench.recorder.state.iteration.pending
    bench.do(RunTool(serve))
    bench.files.files["spec.md"] = b"# Less work"
    bench.do(RunTool(put), CallModel(CallId(1, 2, 1)), FinishIteration("answered"))
    assert [(one.path, one.by) for one in bench.events(facts.ProtectedChanged)] == [("spec.md", "agent")]
    bench.recorder.record(facts.WorkspaceChanged(paths=()))
    bench.do(StartIteration(2))
    assert bench.events(facts.SpecBodyChanged) == []


def test_the_users_edit_of_the_spec_counts_from_the_next_iteration_and_is_accepted_first(bench):
    bench.files.files["spec.md"] = b"# More work"
    bench.do(StartIteration(1))
    assert bench.recorder.state.spec_text == "# More work"
    kinds = [row.kind for row in journal.rows(bench.database, "r")][-4:]
    assert kinds == ["ProtectedChanged", "ProtectedAccepted", "SpecBodyChanged", "IterationStarted"]


def test_a_night_asleep_in_the_middle_of_a_wait_is_no_active_time(bench):
    class Asleep(FakeClock):
        """Wakes up nine hours later; the monotonic clock stood still."""

        def now(self) -> int:
            self.at = 1_000_000 + 9 * 3_600_000
            return self.at

        def monotonic(self) -> float:
            return 1_000.0

    recorder = bench.recorder
    before = recorder.state.active_ms
    clock = Asleep()
    recorder._clock = clock
    bench.world = replace(bench.world, clock=clock)
    bench.do(WaitUntil(1_060_000))
    assert [one.by_ms for one in bench.events(facts.ClockJumped)] == [9 * 3_600_000]
    assert recorder.state.active_ms == before
    assert recorder.state.at == clock.at


def test_the_bound_of_a_request_never_rests_on_another_models_count(bench):
    (engine,) = bench.world.engines
    same, other = bench.world.conversation, Conversation((replace(engine.model, name="other/model"),), (engine.entry,))
    for conversation in (same, other):
        conversation.apply(facts.IterationStarted(iteration=1, system="s", prompt="a long prompt " * 50))
        conversation.apply(
            facts.CallDispatched(call=CallId(1, 1, 1), model="fake/model", input_bound=9, granted_output=9, hold=1)
        )
        conversation.apply(facts.CallSettled(call=CallId(1, 1, 1), usage=Usage(5, 5), cost=1, reply=Reply(text="x")))
    assert same.bound(10) == Bound(5 + len('["x", []]') + 2, "prefix")
    assert other.bound(10) == Bound(len(other.body(10)), "bytes")
    assert other.bound(10).tokens > 700


def test_a_stop_keeps_what_background_commands_did_and_later_changes_are_the_users(bench):
    bench.reply(asks(("serve", "{}")))
    bench.do(StartIteration(1), CallModel(CallId(1, 1, 1)))
    bench.do(RunTool(bench.recorder.state.iteration.pending[0]), MakeCheckpoint("step"))
    bench.files.files["served.log"] = b"by the command"
    bench.do(Stop(StopReason(kind=StopKind.INTERRUPTED, rule="interrupt")))
    kept = bench.recorder.state.checkpoint
    assert bench.files.trees[kept.tree]["served.log"] == b"by the command"
    bench.files.files["mine.txt"] = b"by the user"
    take_over(bench.recorder, "fake/model")
    bench.do(CompareWorkspace())
    assert [event.paths for event in bench.events(facts.WorkspaceChanged)] == [("mine.txt",)]
