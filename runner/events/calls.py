"""The facts of model calls: held, sent, settled, or not. See `facts` for all others."""

from __future__ import annotations

from dataclasses import dataclass

from runner.values import Billing, CallId, NanoUsd, Reply, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDispatched:
    """The worst case of a call is held on every scope, on disk; now it may leave.

    `bound_by` says what its input was bounded by: `bytes`, `prefix` (a settled call's own count) or `count`.
    """

    call: CallId
    model: str
    input_bound: int
    granted_output: int
    hold: NanoUsd
    scopes: tuple[str, ...] = ()
    billing: str = Billing.METERED.value
    bound_by: str = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefused:
    """No money or tokens for a useful call. `others` = only other calls' holds are in the way, so waiting helps.

    `fresh` = the first call of a fresh iteration would fit.
    """

    call: CallId
    scope: str
    need: int
    headroom: int
    unit: str = "usd"
    others: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettled:
    """A complete reply with its true usage. `cost` replaced the hold; `input_cost` is the input's part of it."""

    call: CallId
    usage: Usage
    cost: NanoUsd
    reply: Reply
    request_id: str = ""
    seconds: float = 0.0
    input_cost: NanoUsd = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallUnknown:
    """Nobody can say what was billed: the full hold stays counted. `retry_after_ms` None means no more attempts."""

    call: CallId
    reason: str
    retry_after_ms: int | None = None
    cause: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReleased:
    """Proof that nothing was billed: the hold is gone. `retry_after_ms` None means no more attempts."""

    call: CallId
    reason: str
    retry_after_ms: int | None = None
    cause: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundViolated:
    """More was billed than held: recorded as it is, and the scopes admit no further call."""

    call: CallId
    held: NanoUsd
    billed: NanoUsd
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsWaited:
    """The wait for other runs' holds ended. `room` says whether there was room then."""

    room: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCounted:
    """The provider counted the input of the call that comes next; None: it would not."""

    call: CallId
    tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSwitched:
    """From here on another model of the run's list is called; `engine` is its place in the list."""

    model: str
    engine: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReconciled:
    """Evidence of what an unknown call cost: `cost` replaced its `held` amount. `source` names the file."""

    call: CallId
    held: NanoUsd
    cost: NanoUsd
    evidence: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchCall:
    """Proposal: let this call leave. Answered by `CallDispatched` or `CallRefused`.

    `prices` is the price book's digest. Prices are pico-USD per token at the dearest class the call may reach, `fees`
    and `slack` nano-USD on top (`pricing.cost.worst`); below `min_output` a call is not worth it. `fresh_bound` bounds
    the input of a fresh iteration's first call (0: this is one).
    """

    call: CallId
    model: str
    prices: str
    input_bound: int
    asked_output: int
    min_output: int
    input_price: int
    output_price: int
    fees: NanoUsd = 0
    slack: NanoUsd = 2
    fresh_bound: int = 0
    billing: str = Billing.METERED.value
    bound_by: str = "bytes"
