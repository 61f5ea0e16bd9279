"""The facts of a run: what happened, in the past tense. Events only ever gain fields, each with a default.

An event carries no time of its own: the journal stamps `seq` and `at` around it (`Stamped`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from runner.events.approvals import (
    ApprovalDecided,
    ApprovalReminded,
    ApprovalRequested,
    ApprovalVoted,
    PolicyPinned,
)
from runner.events.calls import (
    BoundViolated,
    CallDispatched,
    CallReconciled,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    DispatchCall,
    HoldsWaited,
    InputCounted,
    ModelSwitched,
)
from runner.values import (
    CheckResult,
    Decision,
    Effect,
    Limits,
    Ms,
    Scope,
    StopKind,
    ToolCall,
)

__all__ = [
    "ApprovalDecided",
    "ApprovalReminded",
    "ApprovalRequested",
    "ApprovalVoted",
    "BoundViolated",
    "CallDispatched",
    "CallReconciled",
    "CallRefused",
    "CallReleased",
    "CallSettled",
    "CallUnknown",
    "CheckpointMade",
    "ChecksFinished",
    "ClockJumped",
    "DispatchCall",
    "Event",
    "HoldsWaited",
    "InputCounted",
    "ItemTicked",
    "IterationFinished",
    "IterationStarted",
    "LimitsSet",
    "LogRepaired",
    "ModelSwitched",
    "PolicyPinned",
    "Proposal",
    "ProtectedAccepted",
    "ProtectedChanged",
    "RolledBack",
    "RunCreated",
    "RunResumed",
    "RunStopped",
    "SetupFinished",
    "SpecBodyChanged",
    "Stamped",
    "StartTool",
    "StopAsked",
    "ToolFinished",
    "ToolRefused",
    "ToolStarted",
    "TreeUnchanged",
    "Warned",
    "WorkspaceChanged",
    "WorkspaceCompared",
]

# ---- the run ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCreated:
    """A run began: everything it was told, so that it can go on anywhere with the same words.

    `policy` is the digest it began under, `policy_layers` what that was made of; `agent` acts for `owner`.
    """

    run: str
    spec_path: str
    spec_key: str
    spec_text: str
    workspace: str
    origin: str
    worktree: bool
    model: str
    prices_digest: str
    scopes: tuple[Scope, ...]
    limits: Limits
    limit_sources: dict[str, str] = field(default_factory=dict)
    prices_as_of: str = ""
    runner_version: str = ""
    unattended: bool = False
    models: tuple[str, ...] = ()
    policy: str = ""
    policy_layers: tuple[str, ...] = ()
    owner: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """A driver took the run's lease; from here on only this epoch may write. `now` = somebody wants no more waiting."""

    epoch: int
    pid: int
    boot_id: str
    model: str = ""
    now: bool = False
    policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSet:
    """The run's own limits were replaced (a flag at resume). Counters stay."""

    limits: Limits
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecBodyChanged:
    """The user edited the spec; its new body counts from the next iteration. Front matter stays as started."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user must know was said, once. `topic` is stable (`unsandboxed`, `env_ignored`…)."""

    topic: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupFinished:
    """The spec's `setup` commands ran in the workspace, in this `sandbox`; `inputs` is the digest of what they read."""

    ok: bool
    tail: str = ""
    seconds: float = 0.0
    inputs: str = ""
    sandbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """Somebody asked for a stop. `now` does not wait for the step; `by` is `operator`, `all`, `SIGINT` or `SIGTERM`."""

    by: str
    now: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped:
    """The run stands still. Open kinds (parked, interrupted, terminated) go on with the next `loop`."""

    kind: StopKind
    rule: str
    detail: str = ""
    verified: bool = False
    resume_at: Ms = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped:
    """The wall clock moved by itself; forward jumps do not count as active time."""

    by_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRepaired:
    """A torn or damaged log file was written anew from the journal."""

    reason: str
    first_bad_line: int


# ---- iterations and calls --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationStarted:
    """A fresh context began: these are the exact words the model sees first."""

    iteration: int
    system: str
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationFinished:
    """The agent's part of an iteration is over; checks follow.

    `ending` is `answered`, `steps`, `money` (calls that ran out included), `handoff` (a fresh iteration's calls are
    cheaper), `context` (the model's window is full) or `refused` (by the model); `note` is the handoff to the next one.
    """

    iteration: int
    ending: str
    claimed: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksFinished:
    """The iteration's verdict. `score` None = the spec has no checks. `tree` is what was scored.

    `tampered`: protected files that differ from checkpoint 0 by the agent's doing;
    `foreign`: by somebody else's, not yet accepted. `sandbox` is the backend the checks ran under.
    """

    iteration: int
    results: tuple[CheckResult, ...]
    score: float | None
    tree: str
    unticked: tuple[str, ...] = ()
    tampered: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    self_tested: bool = False
    sandbox: str = ""


# ---- tools -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A tool was admitted and is about to act. For commands: who it is, so that resume can end what is left.

    `before` and `after` are SHA-256 of the one file a writing tool means to change ("" = absent). One in the
    `background` goes on after its `ToolFinished`, until its iteration or its driver ends. `decision` is what let it
    start, `approval` the one that this start consumed, `sandbox` the backend a command runs under.
    """

    call: ToolCall
    effect: Effect
    path: str = ""
    before: str = ""
    after: str = ""
    pgid: int = 0
    started_ticks: int = 0
    boot_id: str = ""
    background: bool = False
    decision: Decision | None = None
    approval: str = ""
    sandbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRefused:
    """A tool call that was not run; `reason` is what the model is told.

    `decision` is there where a policy or an approver refused it; `repeat` = it had refused the same action before.
    """

    call: ToolCall
    reason: str
    decision: Decision | None = None
    repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    """What the model is told. `artefact` names the file with the whole output when it was truncated."""

    call_id: str
    name: str
    text: str
    ok: bool
    effect: Effect
    artefact: str = ""
    seconds: float = 0.0
    interrupted: bool = False
    left_behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemTicked:
    """The agent ticked a checklist item of a spec that is no file of the workspace."""

    item: str


# ---- workspace -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointMade:
    """The tree as it is, kept. Number 0 is the tree the run found, uncommitted work included."""

    number: int
    commit: str
    tree: str
    reason: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeUnchanged:
    """A look at the tree found nothing new since the last checkpoint."""

    tree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceChanged:
    """Somebody else worked here while the run stood still; kept as a checkpoint, and a fresh iteration follows."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceCompared:
    """After a resume the tree was what this run left."""

    tree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """The workspace was set back to a checkpoint; `undo` is the checkpoint that brings it forward again."""

    to: int
    undo: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedChanged:
    """A protected file differs from checkpoint 0. `by` is `agent` or `other`."""

    path: str
    digest: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedAccepted:
    """The user accepted a protected file as it is now (its digest as the guard sees it, "" = deleted)."""

    path: str
    digest: str


Event: TypeAlias = (
    RunCreated
    | RunResumed
    | LimitsSet
    | SpecBodyChanged
    | Warned
    | SetupFinished
    | StopAsked
    | RunStopped
    | ClockJumped
    | LogRepaired
    | IterationStarted
    | CallDispatched
    | CallRefused
    | CallSettled
    | CallUnknown
    | CallReleased
    | BoundViolated
    | HoldsWaited
    | IterationFinished
    | ChecksFinished
    | ToolStarted
    | ToolRefused
    | ToolFinished
    | ItemTicked
    | CheckpointMade
    | TreeUnchanged
    | WorkspaceChanged
    | WorkspaceCompared
    | RolledBack
    | ProtectedChanged
    | ProtectedAccepted
    | InputCounted
    | ModelSwitched
    | CallReconciled
    | PolicyPinned
    | ApprovalRequested
    | ApprovalVoted
    | ApprovalDecided
    | ApprovalReminded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTool:
    """Proposal: let this tool act. Answered by `ToolStarted` or `ToolRefused`."""

    started: ToolStarted


Proposal: TypeAlias = Event | DispatchCall | StartTool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """An event with its place in the journal. `body` is its canonical JSON, `prev` and `hash` are hex SHA-256."""

    run: str
    seq: int
    at: Ms
    event: Event
    body: str
    prev: str
    hash: str
