"""What is known of a run. What is copied with every fact is a Struct: a frozen dataclass takes ten times as long."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct, field

from runner.events.facts import (
    ApprovalRequested,
    ApprovalVoted,
    BoundViolated,
    CallDispatched,
    CallRefused,
    CheckpointMade,
    ChecksFinished,
    InputCounted,
    IterationFinished,
    ProtectedChanged,
    RunCreated,
    SetupFinished,
    StopAsked,
    ToolStarted,
)
from runner.values import Limits, Ms, NanoUsd, StopReason, ToolCall


class Money(Struct, frozen=True, kw_only=True):
    """The run's own sums. An unknown call keeps its full hold in `unknown` until evidence lowers it."""

    spent: NanoUsd = 0
    unknown: NanoUsd = 0
    held: NanoUsd = 0
    tokens: int = 0
    tokens_held: int = 0
    calls: int = 0
    local_calls: int = 0
    local_tokens: int = 0
    unmetered_calls: int = 0


class Overhead(Struct, frozen=True, kw_only=True):
    """What iterations began with: the input of their first calls, that is prompt, tools and spec, over and over."""

    calls: int = 0
    tokens: int = 0
    cost: NanoUsd = 0


class Iteration(Struct, frozen=True, kw_only=True):
    """The iteration under way. `steps` counts settled replies, `attempt` the tries at the next one.

    `failures` are attempts in a row that went wrong; a provider that refuses because it is busy counts none, but since
    when it does so is `busy_since`. `cause` is the last one's, `failed` says why no other makes sense. `ended` is how
    a reply ended the iteration (`refused`, `context`). `bound` is the last request's input bound, `context_tokens`
    are what the last answered request and its reply had, `new_bytes` what tools said since.
    """

    number: int
    started_at: Ms
    steps: int = 0
    attempt: int = 0
    bound: int = 0
    retry_at: Ms = 0
    failures: int = 0
    failed: str = ""
    trouble: str = ""
    cause: str = ""
    busy_since: Ms | None = None
    refused: CallRefused | None = None
    counted: InputCounted | None = None
    waiting_since: Ms | None = None
    waited_out: bool = False
    pending: tuple[ToolCall, ...] = ()
    answered: bool = False
    ended: str = ""
    context_tokens: int = 0
    new_bytes: int = 0
    last_text: str = ""
    finished: IterationFinished | None = None

    @property
    def context_estimate(self) -> int:
        """About how many tokens the next request has, for the model's window; 0 before the first reply.

        Three bytes a token is more tokens than text and code have. Money never rests on this: that is bounded.
        """
        return self.context_tokens + -(-self.new_bytes // 3) if self.steps else 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What an iteration came to."""

    iteration: int
    score: float | None
    tree: str
    failures: str
    claimed: bool
    unticked: tuple[str, ...]
    tampered: tuple[str, ...]
    foreign: tuple[str, ...]
    checkpoint: int
    spent: NanoUsd


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An approval as it stands. `outcome` "" = open; `consumed` = a tool was started on it (not again)."""

    request: ApprovalRequested
    at: Ms
    votes: tuple[ApprovalVoted, ...] = ()
    outcome: str = ""
    why: str = ""
    approver: str = ""
    decided_at: Ms = 0
    consumed: bool = False
    reminded: bool = False


class State(Struct, frozen=True, kw_only=True):
    """Everything decisions rest on. Texts of the conversation stay in the journal.

    `acted` are the tools that may have changed the tree since the last checkpoint, `background` those of them that may
    still be at it. `excused` scored iterations lay behind when a user resumed an ended run: these stop it no more.
    `best` is the first iteration with the highest score. `parked` is what it was parked for before this driver, with
    a time that may still lie ahead. `policy` is the digest the run goes by now. `denied` counts by action how often one
    was refused by policy or people in this iteration, `repeats` how many calls in a row were such again, and
    `refused_by` is the rule that refused the last one, if nothing was done since; `asks` are the times at which people
    were last asked.
    """

    created: RunCreated | None = None
    seq: int = 0
    at: Ms = 0
    epoch: int = 0
    model: str = ""
    engine: int = 0
    running: bool = False
    active_ms: int = 0
    progress_ms: int = 0
    limits: Limits = field(default_factory=Limits)
    limit_sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    spec_text: str = ""
    money: Money = field(default_factory=Money)
    overhead: Overhead = field(default_factory=Overhead)
    iterations: int = 0
    steps: int = 0
    iteration: Iteration | None = None
    note: str = ""
    scored: tuple[Scored, ...] = ()
    best: Scored | None = None
    checks: ChecksFinished | None = None
    open_calls: Mapping[str, CallDispatched] = field(default_factory=lambda: MappingProxyType({}))
    unknown_calls: Mapping[str, NanoUsd] = field(default_factory=lambda: MappingProxyType({}))
    open_tools: Mapping[str, ToolStarted] = field(default_factory=lambda: MappingProxyType({}))
    checkpoint: CheckpointMade | None = None
    base: CheckpointMade | None = None
    dirty: bool = False
    acted: tuple[ToolStarted, ...] = ()
    background: tuple[ToolStarted, ...] = ()
    must_compare: bool = False
    setup: SetupFinished | None = None
    ticked: tuple[str, ...] = ()
    warned: frozenset[str] = frozenset()
    protected: Mapping[str, ProtectedChanged] = field(default_factory=lambda: MappingProxyType({}))
    accepted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    violated: BoundViolated | None = None
    exhausted: CallRefused | None = None
    excused: int = 0
    stop_asked: StopAsked | None = None
    parked: StopReason | None = None
    stopped: StopReason | None = None
    policy: str = ""
    sandbox: str = ""
    approvals: Mapping[str, Asked] = field(default_factory=lambda: MappingProxyType({}))
    denied: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    repeats: int = 0
    refused_by: str = ""
    asks: tuple[Ms, ...] = ()
