"""`decide(state, policy, now)`: the one next command of the loop, from state alone.

After a crash the facts are folded again and the same command comes out. The order of the rules, top to bottom:

1. what a dead driver left open is closed: calls, tools, the comparison of the tree;
2. a stop asked for *now*, a broken bound;
3. before the first iteration: checkpoint 0, setup;
4. inside an iteration: the tools of the last reply, with the questions about them, a checkpoint if they may have
   changed the tree, the stop rules,
   what ends the iteration, then the next call; when money or calls run out the iteration still ends with its checks;
5. between iterations: done, stop rules, stalled, and only then a fresh one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from runner.events.facts import CallDispatched, CallRefused, ToolStarted
from runner.policy import gates, rules
from runner.policy.model import Policy
from runner.state import Asked, Iteration, State
from runner.values import CallId, Ms, NanoUsd, StopKind, StopReason, ToolCall, format_duration


@dataclass(frozen=True, slots=True)
class CloseCall:
    """Book a call whose driver died: its outcome is unknown."""

    sent: CallDispatched


@dataclass(frozen=True, slots=True)
class RecoverTool:
    """Find out how a tool went whose driver died."""

    started: ToolStarted


@dataclass(frozen=True, slots=True)
class CompareWorkspace:
    """See whether the tree is still the one this run left."""


@dataclass(frozen=True, slots=True)
class MakeCheckpoint:
    """Keep the tree if it changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Run the spec's setup commands once."""


@dataclass(frozen=True, slots=True)
class StartIteration:
    """Begin a fresh context."""

    number: int


@dataclass(frozen=True, slots=True)
class CallModel:
    """Hold the worst case and send one request."""

    call: CallId


@dataclass(frozen=True, slots=True)
class CountInput:
    """Let the provider count the input of the call that comes next: our own bound of it does not fit."""

    call: CallId


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """Go on with another model of the run's list, by its place there."""

    engine: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run one tool the model asked for."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class AskApproval:
    """Ask whoever is at this terminal."""

    approval: str


@dataclass(frozen=True, slots=True)
class RemindApproval:
    """Say again that a question waits: half of its time is over."""

    approval: str


@dataclass(frozen=True, slots=True)
class CloseApproval:
    """Write down how a question ended: `approved`, `denied`, `amended` (with new arguments), `expired` or `void`."""

    approval: str
    outcome: str
    why: str = ""
    approver: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Wait before another attempt."""

    until: Ms


@dataclass(frozen=True, slots=True)
class WaitForHolds:
    """Wait for other runs to settle, so that `need` fits; at most until `until`."""

    need: NanoUsd
    until: Ms


@dataclass(frozen=True, slots=True)
class FinishIteration:
    """End the agent's part of the iteration."""

    ending: str


@dataclass(frozen=True, slots=True)
class RunChecks:
    """Score the newest checkpoint."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End or interrupt the run."""

    reason: StopReason


Command: TypeAlias = (
    CloseCall
    | RecoverTool
    | CompareWorkspace
    | MakeCheckpoint
    | RunSetup
    | StartIteration
    | CallModel
    | CountInput
    | SwitchModel
    | RunTool
    | AskApproval
    | RemindApproval
    | CloseApproval
    | WaitUntil
    | WaitForHolds
    | FinishIteration
    | RunChecks
    | Stop
)


def decide(state: State, policy: Policy, now: Ms) -> Command:
    """The next command. Total and pure: the same state, policy and time give the same command."""
    now = max(now, state.at)
    if (left := _left_open(state)) is not None:
        return left
    stop = rules.asked(state)
    if stop is not None and state.stop_asked is not None and state.stop_asked.now:
        # what a tool was cut off in is kept, so that what others change while the run stands is told from it
        keep = state.dirty and state.checkpoint is not None and stop.kind is not StopKind.INTERRUPTED
        return MakeCheckpoint("stopped") if keep else Stop(stop)
    if (before := _before_work(state, policy, stop)) is not None:
        return before
    iteration = state.iteration
    if iteration is None:
        return _between(state, policy, now)
    if iteration.finished is not None:
        if state.dirty:
            return MakeCheckpoint(f"iteration {iteration.number}, its background commands ended")
        return Stop(stop) if stop is not None else RunChecks()
    return _inside(state, policy, now, iteration)


def _left_open(state: State) -> Command | None:
    """What only a dead driver can have left: nothing is open while a live one decides."""
    if state.open_calls:
        return CloseCall(next(iter(state.open_calls.values())))
    if state.open_tools:
        return RecoverTool(next(iter(state.open_tools.values())))
    if state.must_compare:
        return CompareWorkspace()
    return _overtaken(state) if state.approvals else None


def _overtaken(state: State) -> CloseApproval | None:
    """A question or an unused answer that events went past: another policy holds, or its call is gone."""
    pending = state.iteration.pending if state.iteration else ()
    for name, asked in state.approvals.items():
        if asked.outcome and (asked.outcome != "approved" or asked.consumed):
            continue
        if asked.request.call not in pending:
            return CloseApproval(name, "void", "its call is gone: the workspace or the run changed meanwhile")
        if state.policy and asked.request.decision.policy != state.policy:
            return CloseApproval(name, "void", "another policy holds now")
    return None


def _before_work(state: State, policy: Policy, stop: StopReason | None) -> Command | None:
    if state.checkpoint is None:
        return MakeCheckpoint("as found")
    if policy.has_setup and state.setup is None:
        return RunSetup() if stop is None else Stop(stop)
    # later, what setup reads is the agent's to put right: its checks say what is wrong
    if state.setup is not None and not state.setup.ok and state.iterations == 0:
        return Stop(StopReason(kind=StopKind.FAILED, rule="setup", detail="the spec's setup command failed"))
    return None


def _inside(state: State, policy: Policy, now: Ms, iteration: Iteration) -> Command:
    if iteration.pending:
        wanted = iteration.pending[0]
        return (_asked(wanted, state, policy, now) if state.approvals else None) or RunTool(wanted)
    if state.dirty:
        return MakeCheckpoint(f"iteration {iteration.number}, step {iteration.steps}")
    for hard in (rules.asked(state), rules.bounds(state), rules.time(state, now), rules.repeating(state, policy)):
        if hard is not None:
            return Stop(hard)
    if (ending := _ending(state, policy, iteration)) is not None:
        return FinishIteration(ending)
    call = CallId(iteration.number, iteration.steps + 1, iteration.attempt + 1)
    if (short := iteration.refused) is not None and not short.others:
        return _too_dear(short, call, state, policy, iteration)
    if (trouble := _trouble(state, policy, now, iteration)) is not None:
        return trouble
    if iteration.waited_out:
        detail = "other runs' holds left no room in time"
        return Stop(StopReason(kind=StopKind.PARKED, rule="budget_wait", detail=detail))
    if iteration.refused is not None and iteration.waiting_since is not None:
        return WaitForHolds(iteration.refused.need, iteration.waiting_since + policy.budget_wait_ms)
    return WaitUntil(iteration.retry_at) if now < iteration.retry_at else CallModel(call)


def _asked(call: ToolCall, state: State, policy: Policy, now: Ms) -> Command | None:
    """What a question about this call needs; None when there is none, or when it is answered."""
    asked = next((one for one in reversed([*state.approvals.values()]) if one.request.call == call), None)
    if asked is None:
        return None
    request = asked.request
    if asked.outcome:
        stops = asked.outcome == "expired" and any(gate.on_timeout == "stop" for gate in request.gates)
        detail = f"{request.approval}: nobody approved it in time"
        return (
            _stand(StopReason(kind=StopKind.DENIED, rule="approval.timeout", detail=detail), state) if stops else None
        )
    told = gates.tally(request, asked.votes, now)
    if told.outcome:
        return CloseApproval(request.approval, told.outcome, told.why, told.approver, told.arguments)
    for stop in (rules.asked(state), rules.time(state, now), rules.asked_too_often(state, policy, now)):
        if stop is not None:
            return _stand(stop, state)
    if 0 < request.remind_at <= now and not asked.reminded:
        return RemindApproval(request.approval)
    return _wait_for_people(asked, told.missing, state, policy, now)


def _wait_for_people(asked: Asked, missing: str, state: State, policy: Policy, now: Ms) -> Command:
    """Ask here, wait here, or do what an unattended run does."""
    request = asked.request
    if policy.attended:
        answered = any(one.vote.identity == "terminal" for one in asked.votes)
        if gates.own_word_counts(request.gates) and not answered:
            return AskApproval(request.approval)
        # not longer at a time, so that the run's own limits of time are seen
        return WaitUntil(min(request.expires_at, now + _WAIT_MS))
    detail = f"{request.approval} needs {missing}"
    if policy.on_ask == "park" or any(gate.named for gate in request.gates):
        return _stand(StopReason(kind=StopKind.PARKED, rule="approval", detail=detail), state)
    if policy.on_ask == "stop":
        return _stand(StopReason(kind=StopKind.DENIED, rule="approval", detail=detail), state)
    return CloseApproval(request.approval, "denied", "an unattended run asks nobody")


_WAIT_MS = 60_000


def _stand(stop: StopReason, state: State) -> Command:
    """Stand still with the tree kept, so that what others change meanwhile is told from it."""
    return MakeCheckpoint("waiting for an approval") if state.dirty else Stop(stop)


def _ending(state: State, policy: Policy, iteration: Iteration) -> str | None:
    """What ends the agent's part of the iteration before another call; None when it goes on."""
    if iteration.answered:
        return "answered"
    if iteration.ended:
        return iteration.ended
    if state.limits.steps is not None and iteration.steps >= state.limits.steps:
        return "steps"
    if rules.calls(state) is not None:
        return "money"
    # a fresh iteration would begin with the same opening: only what was said since can be too long
    return "context" if iteration.steps and _window_is_full(state, policy, iteration) else None


def _window_is_full(state: State, policy: Policy, iteration: Iteration) -> bool:
    """Whether the provider has said so, or the next request would leave no room for a useful answer."""
    if iteration.failed and iteration.cause in _TOO_LONG:
        return True
    window = policy.window(state.engine)
    return window > 0 and iteration.context_estimate + policy.min_output > window


_TOO_LONG = frozenset({"context", "size"})


def _too_dear(short: CallRefused, call: CallId, state: State, policy: Policy, iteration: Iteration) -> Command:
    """No money or tokens for the call as it is bounded: count it, or use the rest in a fresh iteration, or end."""
    if iteration.counted is None and short.unit != "stop" and policy.counts(state.engine):
        return CountInput(call)
    return FinishIteration("handoff" if short.fresh and iteration.steps else "money")


# with these another model can help; what is wrong with the request itself is wrong with any
_OF_THE_MODEL = frozenset({"model", "auth", "billing"})


def _trouble(state: State, policy: Policy, now: Ms, iteration: Iteration) -> Command | None:
    """What follows when no attempt makes sense any more with this model, or none for long: the next one, or a stop."""
    if (still := _still_parked(state, policy, now)) is not None:
        return still
    others = state.engine + 1 < policy.engines
    if iteration.failed or iteration.failures >= policy.max_attempts:
        reason = iteration.failed or f"{iteration.failures} attempts in a row, the last: {iteration.trouble}"
        if others and (not iteration.failed or iteration.cause in _OF_THE_MODEL):
            return SwitchModel(state.engine + 1, reason)
        if iteration.cause in _TOO_LONG:
            window = policy.window(state.engine)
            holds = f", the model's window holds {window}" if window else ""
            reason += f" (an iteration's first request: {iteration.bound} tokens at most{holds})"
        return Stop(StopReason(kind=StopKind.FAILED, rule="provider", detail=reason))
    if (parked := _wait_too_long(state, policy, now, iteration)) is None:
        return None
    return SwitchModel(state.engine + 1, f"{parked.detail}: {iteration.trouble}") if others else Stop(parked)


def _wait_too_long(state: State, policy: Policy, now: Ms, iteration: Iteration) -> StopReason | None:
    """Whether the run would rather stand still, with the time to go on at, than wait for the provider here."""
    until = max(now, iteration.retry_at)
    asked = until - now > policy.rate_wait_ms
    since = iteration.busy_since
    tired = since is not None and until - since > policy.patience_ms
    # time that passes while a run stands still does not count
    runs_out = since is not None and now < until and rules.time(state, until) is not None
    if not (asked or tired or runs_out):
        return None
    if asked:
        rule, detail = "rate_window", "the provider asks to wait longer than a run waits"
    elif tired:
        rule, detail = "overload", f"the provider has been busy for {format_duration((now - (since or now)) // 1000)}"
    else:
        rule, detail = "rate_window", "the provider asks to wait for longer than the run's time"
    return StopReason(kind=StopKind.PARKED, rule=rule, detail=detail, resume_at=until)


def _between(state: State, policy: Policy, now: Ms) -> Command:
    if state.dirty:
        return MakeCheckpoint("after setup" if state.iterations == 0 else "between iterations")
    for stop in (
        rules.bounds(state),
        rules.done(state, policy),
        rules.asked(state),
        rules.false_claim(state, policy),
        _money_ran_out(state),
        rules.time(state, now),
        rules.calls(state),
        rules.iterations(state),
        rules.stalled(state, policy),
    ):
        if stop is not None:
            return Stop(stop)
    return _still_parked(state, policy, now) or StartIteration(state.iterations + 1)


def _still_parked(state: State, policy: Policy, now: Ms) -> Command | None:
    """A run that was parked until some time asks nobody before it, unless its user wants that."""
    parked = state.parked
    if parked is None or parked.resume_at is None or now >= parked.resume_at:
        return None
    # a short wait is waited for here, as any other
    too_long = parked.resume_at - now > policy.rate_wait_ms or rules.time(state, parked.resume_at) is not None
    return Stop(parked) if too_long else WaitUntil(parked.resume_at)


def _money_ran_out(state: State) -> StopReason | None:
    """The refusal that ended the last iteration: its checks have run, they did not say done."""
    if state.exhausted is None:
        return None
    return rules.budget(state.exhausted)
