"""A run on a real store whose calls are judged: the loop itself decides and performs, people answer from outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runner.agent.conversation import Conversation
from runner.agent.prompt import Brief
from runner.decide import RunTool, decide
from runner.events import facts
from runner.loop import World
from runner.loop.perform import perform
from runner.policy import action
from runner.policy.model import Policy
from runner.ports import Completion, Judged
from runner.pricing.cost import Price
from runner.secrets import Vault
from runner.spec.model import Spec
from runner.state import Asked, State
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import JournalRecorder, create_run, leave_in_inbox, open_run, take_over
from runner.testing.fakes import FakeChecks, FakeClock, FakeGuard, FakeModel, FakeTools, FakeWorkspace, engine_of
from runner.values import (
    Decision,
    Effect,
    Gate,
    Limits,
    Reply,
    Ruling,
    Scope,
    ScopeKind,
    StopReason,
    ToolCall,
    Usage,
    Vote,
)

SECURITY = Gate(id="prod", groups={"security": ("alice", "bob")}, timeout_s=3_600)
YOU = Gate(id="you", allow_self=True, remember=("once", "run"), timeout_s=3_600)
PARKING = Policy(on_ask="park")
ATTENDED = Policy(attended=True)
OWNER = "carol (uid 1000)"
GO = ToolCall("t0", "go", '{"argv": ["./deploy.sh", "prod"]}')
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
    policy="p1",
    owner=OWNER,
)


@dataclass
class Surroundings:
    """Everything besides the arguments that an action is bound to; a test changes one of them."""

    files: FakeWorkspace
    policy: str = "p1"
    cwd: str = "."
    schema: str = "v1"
    sandbox: str = "bubblewrap"
    environment: tuple[str, ...] = ("PATH",)
    program: str = "/bin/sh"
    ruling: Ruling = Ruling.ASK
    gates: tuple[Gate, ...] = (YOU,)
    shown: str = "./deploy.sh prod"


@dataclass
class AskingJudge:
    """Asks about `go` and lets everything else run; binds exactly as runner's own judge does."""

    around: Surroundings

    @property
    def digest(self) -> str:
        return self.around.policy

    def decide(self, call: ToolCall) -> Judged:
        around = self.around
        script = around.files.files.get("deploy.sh", b"")
        bound = action.bound(
            tool=call.name,
            schema={"version": around.schema},
            arguments=json.loads(call.arguments),
            programs=(around.program,),
            cwd=around.cwd,
            environment=around.environment,
            sandbox=around.sandbox,
            policy=around.policy,
            files={"deploy.sh": hashlib.sha256(script).hexdigest()},
        )
        decision = Decision(
            ruling=around.ruling if call.name == "go" else Ruling.ALLOW,
            rule="deploys",
            place="org.yaml:7",
            policy=around.policy,
            action=action.digest(bound),
            gates=tuple(gate.id for gate in around.gates),
            owner=OWNER,
        )
        return Judged(decision=decision, shown=around.shown, bound=bound, gates=around.gates, cost=5)


@dataclass
class Person:
    """Somebody at the terminal. Answers what they are told to; nobody is left when that is used up."""

    answers: list[Vote] = field(default_factory=list[Vote])
    asked: list[str] = field(default_factory=list[str])
    meanwhile: Callable[[], None] = lambda: None

    def ask(self, asked: facts.ApprovalRequested, over: Callable[[], bool]) -> Vote | None:
        self.asked.append(asked.shown)
        self.meanwhile()
        return self.answers.pop(0) if self.answers and not over() else None


class Words:
    """A spec that stays as it is, and an agent whose last message claims that all is done."""

    spec_path = ""

    def edited_spec(self, state: State) -> str | None:
        return None

    def brief(self, state: State) -> Brief:
        return Brief(body="Work.")

    def checklist(self, state: State) -> tuple[str, ...]:
        return ()

    def claims(self, message: str) -> bool:
        return True


@dataclass
class Case:
    """One run, driven until it stands; `drive` again is another driver, as cron starts one."""

    path: Path
    gates: tuple[Gate, ...] = (YOU,)
    policy: Policy = PARKING
    replies: list[Reply] = field(default_factory=list[Reply])
    person: Person = field(default_factory=Person)

    def __post_init__(self) -> None:
        self.clock = FakeClock(step_ms=0)
        self.files = FakeWorkspace({"deploy.sh": b"echo one"})
        self.around = Surroundings(self.files, gates=self.gates)
        self.tools = Counting(self.files)
        self.database = Database(self.path / "runner.db")
        create_run(self.database, CREATED, self.clock)

    @property
    def state(self) -> State:
        return open_run(self.database, "r", self.clock).state

    @property
    def question(self) -> Asked:
        """The newest question."""
        return list(self.state.approvals.values())[-1]

    def driver(self) -> JournalRecorder:
        """Another process that took the run over, and goes by the policy as it is now."""
        recorder = open_run(self.database, "r", self.clock)
        take_over(recorder, "fake/model")
        if recorder.state.policy != self.around.policy:
            recorder.record(facts.PolicyPinned(policy=self.around.policy))
        return recorder

    def drive(self, until: Callable[[State], bool] = lambda _: False) -> StopReason | None:
        """Take the run over and drive it until it stands, or until its state is so (a driver that dies there)."""
        recorder = self.driver()
        world = self._world(recorder)
        for row in journal.rows(self.database, "r"):
            if (known := journal.known("r", row)) is not None:
                world.conversation.apply(known.event)
        recorder.listen(lambda stamped, _: world.conversation.apply(stamped.event))
        while recorder.state.stopped is None:
            if until(recorder.state):
                return None
            perform(decide(recorder.state, self.policy, self.clock.now()), self.policy, world, recorder)
        return recorder.state.stopped

    def until_it_would_run(self) -> None:
        """Drive until the newest question is approved: its tool would start next."""
        self.drive(lambda state: bool(state.approvals) and [*state.approvals.values()][-1].outcome == "approved")

    def run_the_tool(self) -> None:
        """Let a driver start the approved call, whatever changed since."""
        recorder = self.driver()
        perform(RunTool(GO), self.policy, self._world(recorder), recorder)

    def leave(self, event: facts.Event) -> None:
        """Leave any fact for the driver."""
        leave_in_inbox(self.database, "r", event, self.clock.now())

    def vote(self, vote: Vote, *, approval: str = "", arguments: str = "") -> None:
        """Leave a word as another process does."""
        name = approval or self.question.request.approval
        self.leave(facts.ApprovalVoted(approval=name, vote=vote, arguments=arguments))

    def later(self, seconds: int) -> None:
        self.clock.at += 1000 * seconds

    def events(self, kind: type) -> list[facts.Event]:
        found = (journal.known("r", row) for row in journal.rows(self.database, "r"))
        return [one.event for one in found if one is not None and isinstance(one.event, kind)]

    def said(self) -> str:
        """What the model was told of the last call that was refused."""
        refused = [one for one in self.events(facts.ToolRefused) if isinstance(one, facts.ToolRefused)]
        return refused[-1].reason if refused else ""

    def _world(self, recorder: JournalRecorder) -> World:
        model = FakeModel(lambda _call, _limit: Completion(reply=self._reply(), usage=Usage(5, 5)))
        engine = engine_of(model, Price(input=1_000, output=1_000, cached=1_000, cache_write=1_000))
        return World(
            clock=self.clock,
            engines=(engine,),
            prices="p",
            tools=self.tools,
            workspace=self.files,
            checks=FakeChecks(lambda _tree: 1.0),
            guard=FakeGuard(),
            spec=Spec(path="s", text="# Work", body="# Work", title="Work"),
            texts=Words(),
            conversation=Conversation((model,), (engine.entry,)),
            setup=lambda _: facts.SetupFinished(ok=True),
            backoff_s=lambda _: 0.0,
            on_text=lambda _: None,
            mask=Vault({}).mask,
            judge=AskingJudge(self.around),
            approver=self.person,
        )

    def _reply(self) -> Reply:
        return self.replies.pop(0) if self.replies else Reply(text="That is all.")


class Counting(FakeTools):
    """Remembers what ran."""

    def __init__(self, files: FakeWorkspace) -> None:
        super().__init__(files)
        self.ran: list[ToolCall] = []

    def _do(self, call: ToolCall, effect: Effect) -> str:
        self.ran.append(call)
        return super()._do(call, effect)


def asks(*calls: ToolCall) -> Reply:
    return Reply(text="", tool_calls=calls)


def says(
    by: str, *, yes: bool = True, identity: str = "link", uid: int = -1, scope: str = "once", note: str = ""
) -> Vote:
    return Vote(by=by, approve=yes, identity=identity, uid=uid, scope=scope, note=note)


def own(*, yes: bool = True, scope: str = "once", identity: str = "terminal") -> Vote:
    """The word of whoever runs the loop."""
    return Vote(by="carol", approve=yes, identity=identity, uid=1000, own=True, scope=scope)
