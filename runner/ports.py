"""What the loop needs of the outside world, as Protocols. Adapters implement them; `runner.testing` ships fakes.

Everything here is synchronous. Anything that can take long receives an `Interrupt` and returns promptly once it fires.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeAlias

from runner.events.facts import ApprovalRequested, Event, Proposal, ToolStarted
from runner.spec.model import Spec
from runner.state import State
from runner.values import CallId, CheckResult, Decision, Gate, Ms, NanoUsd, Reply, ToolCall, Usage, Vote


class Interrupt:
    """Tells long work to end now. Thread-safe; callbacks run in the thread that fires, once."""

    def __init__(self) -> None:
        self._fired = threading.Event()
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def fired(self) -> bool:
        return self._fired.is_set()

    def fire(self) -> None:
        """End the work under way, and whatever starts later. A second call does nothing."""
        self._fired.set()
        for key in tuple(self._callbacks):
            self._call(key)

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until it fires; say whether it has fired."""
        return self._fired.wait(seconds)

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Generator[None]:
        """Run `callback` if this fires while the block runs (at once if it has fired already)."""
        key = object()
        self._callbacks[key] = callback
        if self.fired:
            self._call(key)
        try:
            yield
        finally:
            self._callbacks.pop(key, None)

    def _call(self, key: object) -> None:
        """Whoever takes a callback out runs it, so that it runs once."""
        if (callback := self._callbacks.pop(key, None)) is not None:
            callback()


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Ms: ...
    def monotonic(self) -> float: ...


# ---- the store -------------------------------------------------------------------------------------------


class Recorder(Protocol):
    """The one writer of a run's journal: head and state behind one lock. Implemented by `runner.store`."""

    @property
    def state(self) -> State: ...

    @property
    def interrupt(self) -> Interrupt:
        """Fires when somebody asked for a stop now."""
        ...

    def record(self, proposal: Proposal) -> Event:
        """Judge a proposal against everything shared and append what really happened; on disk when it returns.

        Raises LeaseLostError when another process took over, StateError when the disk refuses.
        """
        ...

    def post(self, event: Event) -> None:
        """Leave a fact for the next `record` to append first. Safe in a signal handler and from any thread."""
        ...

    def drain(self) -> None:
        """Append what others left (`post`, the inbox), and nothing else."""
        ...

    def has_news(self) -> bool:
        """Whether `drain` would append anything."""
        ...

    def room(self, need: NanoUsd) -> bool:
        """Whether `need` would fit on every scope now (a look, not a hold)."""
        ...


# ---- models ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemText:
    """Instructions of runner itself."""

    text: str


@dataclass(frozen=True, slots=True)
class UserText:
    """What the model is asked."""

    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The model's own earlier reply, put back before it."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class ToolText:
    """What a tool answered to the call with this id."""

    call_id: str
    text: str


Message: TypeAlias = SystemText | UserText | Answered | ToolText


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """A tool as the model is told of it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A complete reply and its true usage. A reply without usage is not one: raise LostError."""

    reply: Reply
    usage: Usage
    request_id: str = ""


class Model(Protocol):
    """One model at one provider. The conversation is encoded once per message; bytes are joined per request."""

    @property
    def name(self) -> str:
        """`provider/model`, the name prices are looked up by."""
        ...

    @property
    def max_output(self) -> int:
        """The most output tokens the model can be asked for."""
        ...

    def encode(self, message: Message) -> bytes:
        """Encode one message for the wire. Deterministic: a resumed conversation is byte-equal."""
        ...

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        """Join encoded messages, tool definitions and settings into a request body.

        Its length in bytes bounds its input tokens from above.
        """
        ...

    def complete(
        self,
        call: CallId,
        body: bytes,
        *,
        interrupt: Interrupt,
        on_text: Callable[[str], None],
    ) -> Completion:
        """Send exactly one request and read the whole reply. `on_text` gets streamed text as it comes.

        Raises NeverSentError, UnbilledError, LostError or NoReplyError; LostError when `interrupt` fires.
        """
        ...

    @property
    def can_count(self) -> bool:
        """Whether the provider counts a request's input for nothing."""
        ...

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        """Ask the provider how many input tokens `body` has; None when it would not say. Costs no money."""
        ...


# ---- workspace -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A tree as it was found: git tree id, and what could not be taken along (`path: why`)."""

    tree: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path that differs between two trees. `kind` is `added`, `changed` or `deleted`."""

    path: str
    kind: str


class Workspace(Protocol):
    """A directory of the user's, seen through a shadow git directory. Never changes the user's own repository."""

    @property
    def root(self) -> Path: ...

    def snapshot(self) -> Snapshot:
        """Store the tree as it is now in the shadow directory and name it."""
        ...

    def commit(self, snapshot: Snapshot, *, run: str, number: int, parent: str | None, at: Ms, message: str) -> str:
        """Keep a snapshot as checkpoint `number` of `run`; deterministic, so doing it twice gives the same id."""
        ...

    def changes(self, old: str, new: str) -> tuple[Change, ...]:
        """What differs from one tree to the other."""
        ...

    def read(self, tree: str, path: str) -> bytes | None:
        """A file's bytes in a tree; None when it is not there."""
        ...

    def read_many(self, tree: str, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The bytes of several files of a tree at once; those that are not there are left out."""
        ...

    def paths(self, tree: str) -> tuple[str, ...]:
        """Every file of a tree, sorted, `/`-separated."""
        ...

    def materialise(self, tree: str, into: Path) -> None:
        """Write a whole tree into an empty directory outside the workspace, bytes and modes exact."""
        ...

    def restore(self, tree: str) -> None:
        """Make the workspace's tracked content exactly `tree`; ignored files stay. Callers checkpoint first."""
        ...


# ---- tools -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What a tool answered. `text` is already masked and truncated; `artefact` names the file with the rest."""

    text: str
    ok: bool
    artefact: str = ""
    interrupted: bool = False
    left_behind: tuple[str, ...] = ()


class Prepared(Protocol):
    """A tool call found valid and ready to act; nothing has happened yet."""

    @property
    def started(self) -> ToolStarted:
        """The fact to record before `act`. A command's process already waits at the door, so it has an identity."""
        ...

    def act(self, interrupt: Interrupt) -> ToolOutcome: ...

    def abandon(self) -> None:
        """Undo the preparation (end the waiting process)."""
        ...


class Tools(Protocol):
    """The agent's hands in the workspace."""

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]: ...

    def prepare(self, call: ToolCall) -> Prepared | str:
        """Validate a call; a string is the reason it cannot be run, as the model is told."""
        ...

    def recover(self, started: ToolStarted) -> ToolOutcome | None:
        """After a crash: end what is left of it and say how it went; None = safe to run again."""
        ...

    def end_leftovers(self) -> tuple[str, ...]:
        """End what a dead driver's commands left running; names of what there was. Comes before the tree is read."""
        ...

    def end_iteration(self) -> tuple[str, ...]:
        """End background commands; names of what had to be ended."""
        ...


# ---- policy ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A decision, with what an approver is shown (`shown`, `diff`, `facts` as JSON, `cost`) and what binds it.

    `bound` names each part of the action's digest with its own digest.
    """

    decision: Decision
    shown: str = ""
    diff: str = ""
    bound: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    gates: tuple[Gate, ...] = ()
    cost: NanoUsd = 0
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


class Judge(Protocol):
    """Decides tool calls under the run's policy. Never raises: whatever goes wrong inside is a deny."""

    @property
    def digest(self) -> str:
        """The digest of the merged policy it goes by."""
        ...

    def decide(self, call: ToolCall) -> Judged:
        """Decide a call by its facts as they are now; `decision.action` is the digest of exactly what would be done."""
        ...


class Approver(Protocol):
    """Somebody at this terminal."""

    def ask(self, asked: ApprovalRequested, over: Callable[[], bool]) -> Vote | None:
        """Show a request and wait for an answer until `over` says that it is too late; None when none was given."""
        ...


# ---- checks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the spec's checks said of one tree. `score` None = no checks."""

    results: tuple[CheckResult, ...]
    score: float | None
    left_out: tuple[str, ...] = ()
    self_tested: bool = False
    notes: tuple[str, ...] = ()
    sandbox: str = ""


class Checks(Protocol):
    """Runs the spec's checks on a scoring view, never on the workspace itself."""

    def run(self, spec: Spec, *, tree: str, base: str, accepted: Mapping[str, str], interrupt: Interrupt) -> Verdict:
        """Score `tree`; protected paths come from `base` (checkpoint 0), except those `accepted` (path -> digest)."""
        ...


class Guard(Protocol):
    """Watches protected files so that a change has an author."""

    def base(self) -> Mapping[str, str]:
        """Digests of every protected file as checkpoint 0 has it, to hold `look` against."""
        ...

    def look(self) -> Mapping[str, str]:
        """SHA-256 of every protected file as it is now ("" = absent), cheap when nothing changed (stat first)."""
        ...

    def differing(self) -> tuple[str, ...]:
        """Protected paths whose content differs from checkpoint 0 (checkbox ticks in the spec aside)."""
        ...


# ---- the screen ------------------------------------------------------------------------------------------


class Screen(Protocol):
    """Shows a run to a person. Must never raise and never decide."""

    def event(self, at: Ms, event: Event, state: State) -> None: ...

    def text(self, piece: str) -> None:
        """Streamed text of the reply under way."""
        ...

    def output(self, data: bytes) -> None:
        """What a running command printed, as it comes and unmasked."""
        ...
