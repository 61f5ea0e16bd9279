"""The facts of approvals: a call that waits for people, their words, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.values import Decision, Gate, Ms, NanoUsd, ToolCall, Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested:
    """A call waits for people. `approval` follows from run and action, so that one action has one record.

    `shown` is the escaped rendering an approver sees, `diff` what a writing call would change. `gates` are copied, so
    that a vote is judged by what was asked then. `bound` names each part of the action's digest with its own digest.
    `cost` is shown and not bound.
    """

    approval: str
    call: ToolCall
    decision: Decision
    shown: str
    gates: tuple[Gate, ...]
    expires_at: Ms
    remind_at: Ms = 0
    cost: NanoUsd = 0
    bound: dict[str, str] = field(default_factory=dict[str, str])
    diff: str = ""
    checkpoint: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalVoted:
    """Somebody answered. Which votes count is decided when they are told. `link` names the link it came by.

    `arguments`, where there are any, are those the voter wants the call to have instead; it is then decided anew.
    """

    approval: str
    vote: Vote
    link: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """The question is closed: `approved`, `denied`, `amended`, `expired` or `void` (`why` says by whom or what).

    A call that was amended has the new `arguments` from here on and is decided as any other.
    """

    approval: str
    outcome: str
    why: str = ""
    approver: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalReminded:
    """Half of an approval's time is over, and whoever is to answer was told again."""

    approval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPinned:
    """The policy this run goes by from here on: its digest, its layers and the sandbox, as people read them.

    `text` is the merged policy as canonical JSON, so that another one can be held against it later.
    """

    policy: str
    layers: tuple[str, ...] = ()
    sandbox: str = ""
    text: str = ""
