"""Values every layer speaks of: money, usage, ids, limits and stop reasons.

Money is an integer of nano-USD (`NanoUsd`), never a float. Time is an integer of milliseconds since the
Unix epoch (`Ms`) and is always passed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, DecimalException
from enum import StrEnum
from typing import TypeAlias

NanoUsd: TypeAlias = int
PicoUsd: TypeAlias = int
Ms: TypeAlias = int

NANO = 1_000_000_000
MOST_USD = 1_000_000_000
"""The largest amount anybody may write: a sum of several still fits the database's 64-bit integers."""


def parse_usd(text: str) -> NanoUsd:
    """Read a decimal amount of US dollars (`5`, `0.25`, `$1.50`) exactly; raise ValueError if it is not one."""
    try:
        amount = Decimal(text.strip().removeprefix("$") if text.isascii() else "") * NANO
    except DecimalException:
        msg = f"not an amount of US dollars: {text[:40]!r}"
        raise ValueError(msg) from None
    if amount.is_finite() and amount > MOST_USD * NANO:
        msg = f"more than {MOST_USD:,} US dollars: {text[:40]!r}"
        raise ValueError(msg)
    if not amount.is_finite() or amount < 0 or amount != amount.to_integral_value():
        msg = f"not an amount of US dollars: {text!r} (non-negative, at most 9 decimals)"
        raise ValueError(msg)
    return int(amount)


def format_usd(amount: NanoUsd | None) -> str:
    """Show an amount to people, rounded up to a hundredth of a cent; `None` is unlimited."""
    return _shown_usd(amount, ROUND_CEILING)


def format_left(amount: NanoUsd | None) -> str:
    """Show what may still be spent: rounded down, and never below nothing."""
    return _shown_usd(amount if amount is None else max(0, amount), ROUND_FLOOR)


def written_usd(amount: NanoUsd) -> str:
    """Show an amount as somebody wrote it: exactly, with four decimals or as many more as it has."""
    dollars, _, decimals = f"{Decimal(amount) / NANO:.9f}".partition(".")
    return f"${dollars}.{decimals.rstrip('0').ljust(4, '0')}"


def _shown_usd(amount: NanoUsd | None, rounding: str) -> str:
    if amount is None:
        return "unlimited"
    places = Decimal("0.0001") if abs(amount) < 100 * NANO else Decimal("0.01")
    return f"${(Decimal(amount) / NANO).quantize(places, rounding=rounding)}"


_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z")


def parse_duration(text: str) -> int:
    """Read `1h30m`, `45m`, `90s`, `2d` or a bare number of seconds into seconds; raise ValueError otherwise."""
    text = text.strip()
    if text.isdecimal():
        return int(text)
    found = _DURATION.match(text)
    if not text or found is None:
        msg = f"not a duration: {text!r} (write 1h30m, 45m or 90s)"
        raise ValueError(msg)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


_TWO_DAYS = 2 * 86_400


def format_duration(seconds: int) -> str:
    """Show a span of time to people: `8 h`, `1 h 30 min`, `45 s`; days only from two on."""
    days, rest = divmod(seconds, 86_400) if seconds >= _TWO_DAYS else (0, max(0, seconds))
    hours, rest = divmod(rest, 3600)
    parts = ((days, "d"), (hours, "h"), (rest // 60, "min"), (rest % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def counted(count: int, noun: str) -> str:
    """Count something in words: `1 file`, `2 files`, for nouns whose plural is made with an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens one call used, as the provider reported them.

    `input_tokens` includes `cached_tokens` and `cache_write_tokens` (writes of every life, of which the 1 h and 12 h
    ones are named apart); `output_tokens` includes `reasoning_tokens`. `service` is the class it was billed in (""
    standard, `batch`, `flex`, `priority`, `fast`), `geo` where it was processed ("" anywhere), `fees` counts uses of
    server tools.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    reasoning_tokens: int = 0
    service: str = ""
    geo: str = ""
    fees: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class CallId:
    """One attempt at one model call: its iteration, its step in it, its attempt. Written `2.14.1`."""

    iteration: int
    step: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.iteration}.{self.step}.{self.attempt}"


class ScopeKind(StrEnum):
    """What a budget may belong to."""

    RUN = "run"
    SPEC = "spec"
    PROJECT = "project"
    USER = "user"
    TEAM = "team"
    ORG = "org"
    MODEL = "model"


class Billing(StrEnum):
    """How a call is paid for. Sums of different kinds are never added together."""

    METERED = "metered"
    LOCAL = "local"
    UNMETERED = "unmetered"


class Period(StrEnum):
    """How long a budget lasts. `TOTAL` never starts anew."""

    TOTAL = "total"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Scope:
    """Something money is counted for, e.g. the project `9f3c…`."""

    kind: ScopeKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A run's limits. None is unlimited, 0 allows nothing. `steps` is per iteration and ends only that."""

    usd: NanoUsd | None = None
    tokens: int | None = None
    calls: int | None = None
    iterations: int | None = None
    steps: int | None = None
    duration_s: int | None = None
    deadline: Ms | None = None
    idle_s: int | None = None


class StopKind(StrEnum):
    """Why a run stands still. The value is what `--json` shows."""

    DONE = "done"
    FAILED = "failed"
    BUDGET = "budget"
    LIMIT = "limit"
    STALLED = "stalled"
    FALSE_CLAIM = "false_claim"
    DENIED = "denied"
    BOUND_VIOLATED = "bound_violated"
    OPERATOR = "operator"
    ABANDONED = "abandoned"
    PARKED = "parked"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


EXIT_CODES: dict[StopKind, int] = {
    StopKind.DONE: 0,
    StopKind.FAILED: 1,
    StopKind.BUDGET: 3,
    StopKind.LIMIT: 4,
    StopKind.STALLED: 5,
    StopKind.FALSE_CLAIM: 6,
    StopKind.DENIED: 7,
    StopKind.BOUND_VIOLATED: 8,
    StopKind.OPERATOR: 9,
    StopKind.ABANDONED: 9,
    StopKind.PARKED: 75,
    StopKind.INTERRUPTED: 130,
    StopKind.TERMINATED: 143,
}

_OPEN = frozenset({StopKind.PARKED, StopKind.INTERRUPTED, StopKind.TERMINATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReason:
    """Why a run stands still: the rule that decided, and the evidence in words."""

    kind: StopKind
    rule: str
    detail: str = ""
    verified: bool = False
    resume_at: Ms | None = None

    @property
    def is_open(self) -> bool:
        """Whether `runner loop` goes on with this run by itself."""
        return self.kind in _OPEN

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.kind]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the model asked for. `arguments` is the model's own JSON text, not yet believed."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A block of a reply that only its provider can read (signed thinking, encrypted reasoning), kept byte-exact.

    It stood after `chars` characters of the reply's text and `calls` of its tool calls; `data` is the block's JSON.
    """

    provider: str
    chars: int
    calls: int
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model answered. `cut` means the output limit ended it: its tool calls never run.

    `ending` says how else it ended: "" by itself, `paused` (the provider wants to be asked again), `refused`,
    `filtered`, `window` (the context was full) or `withheld` (it held a secret where none can be masked).
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    cut: bool = False
    opaque: tuple[Opaque, ...] = ()
    ending: str = ""


class Effect(StrEnum):
    """What a tool can do to the workspace, which decides what resume does with it."""

    READS = "reads"
    WRITES = "writes"
    COMMANDS = "commands"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check's outcome. `score` is in 0..1; `tail` is the end of what it printed."""

    name: str
    exit_code: int | None
    score: float
    passed: int | None = None
    total: int | None = None
    seconds: float = 0.0
    tail: str = ""
    failures: tuple[str, ...] = ()


# ---- what a policy decides --------------------------------------------------------------------------------


class Ruling(StrEnum):
    """What a policy says of a tool call, the weakest first."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"

    @property
    def rank(self) -> int:
        """0 for the weakest; a stricter one has more."""
        return ("allow", "ask", "deny").index(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One rule that spoke of a call. `place` is `file:line`; only a `mode` of enforce binds (others: warn, audit)."""

    rule: str
    place: str
    ruling: Ruling
    layer: str = ""
    mode: str = "enforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided of a tool call, and by what.

    `rule` is "" where no rule matched (`place` then names the default), `builtin:…` for runner's own; `reason` is the
    rule's advice in one sentence. `policy` is the digest of the merged policy, `action` that of exactly what would be
    done: an approval is bound to it. `gates` are what an ask needs, all of them; `others` are the further matches.
    `agent` acts for the run's `owner`; `approver` is who approved it, "" where nobody had to.
    """

    ruling: Ruling
    rule: str = ""
    place: str = ""
    reason: str = ""
    policy: str = ""
    action: str = ""
    gates: tuple[str, ...] = ()
    others: tuple[Match, ...] = ()
    agent: str = ""
    owner: str = ""
    approver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Who must say yes to a call: `least` distinct people of `groups` (name -> members), `each` of every group.

    A gate without groups is answered by whoever runs the loop, where `allow_self`. `on_timeout` is deny or stop;
    `remember` lists how far an answer may reach: `once`, `run` (this exact action for this run), `pattern`.
    `bind` says what of the workspace an approval is bound to: `files` that the call names, or the whole `tree`.
    """

    id: str
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    least: int = 1
    each: int = 0
    allow_self: bool = False
    timeout_s: int = 14_400
    on_timeout: str = "deny"
    remember: tuple[str, ...] = ("once",)
    bind: str = "files"

    @property
    def named(self) -> bool:
        """Whether it names approvers: then an unattended run parks for them."""
        return bool(self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One person's word on an approval.

    `identity` says how it is known who that was: `terminal`, `peercred`, `link`, or `unproved`. `own` = the run's own
    owner. `scope` is how far the answer reaches, as in `Gate.remember`.
    """

    by: str
    approve: bool
    identity: str = "unproved"
    uid: int = -1
    own: bool = False
    note: str = ""
    scope: str = "once"
