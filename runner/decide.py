"""`decide(state, policy, now)`: the one next command of the loop, from state alone.

After a crash the facts are folded again and the same command comes out. The order of the rules, top to bottom:

1. what a dead driver left open is closed: calls, tools, the comparison of the tree;
2. a stop asked for *now*, a broken bound;
3. before the first iteration: checkpoint 0, setup;
4. inside an iteration: the tools of the last reply, a checkpoint if they may have changed the tree, the stop rules,
   then the next call; when money or calls run out the iteration still ends with its checks;
5. between iterations: done, stop rules, stalled, and only then a fresh one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from runner.events.facts import CallDispatched, ToolStarted
from runner.policy import rules
from runner.policy.model import Policy
from runner.state import Iteration, State
from runner.values import CallId, Ms, NanoUsd, StopKind, StopReason, ToolCall


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
class RunTool:
    """Run one tool the model asked for."""

    call: ToolCall


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
    | RunTool
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
    return CompareWorkspace() if state.must_compare else None


def _before_work(state: State, policy: Policy, stop: StopReason | None) -> Command | None:
    if state.checkpoint is None:
        return MakeCheckpoint("as found")
    if policy.has_setup and state.setup is None:
        return RunSetup() if stop is None else Stop(stop)
    if state.setup is not None and not state.setup.ok:
        return Stop(StopReason(kind=StopKind.FAILED, rule="setup", detail="the spec's setup command failed"))
    return None


def _inside(state: State, policy: Policy, now: Ms, iteration: Iteration) -> Command:
    if iteration.pending:
        return RunTool(iteration.pending[0])
    if state.dirty:
        return MakeCheckpoint(f"iteration {iteration.number}, step {iteration.steps}")
    for hard in (rules.asked(state), rules.bounds(state), rules.time(state, now)):
        if hard is not None:
            return Stop(hard)
    if iteration.answered:
        return FinishIteration("answered")
    if state.limits.steps is not None and iteration.steps >= state.limits.steps:
        return FinishIteration("steps")
    if rules.refused(state) is not None or rules.calls(state) is not None:
        return FinishIteration("money")
    if iteration.failed or iteration.failures >= policy.max_attempts:
        reason = iteration.failed or f"{iteration.failures} attempts in a row, the last: {iteration.trouble}"
        return Stop(StopReason(kind=StopKind.FAILED, rule="provider", detail=reason))
    if iteration.waited_out:
        detail = "other runs' holds left no room in time"
        return Stop(StopReason(kind=StopKind.PARKED, rule="budget_wait", detail=detail))
    if iteration.refused is not None and iteration.waiting_since is not None:
        return WaitForHolds(iteration.refused.need, iteration.waiting_since + policy.budget_wait_ms)
    if now < iteration.retry_at:
        if iteration.retry_at - now > policy.budget_wait_ms:
            return Stop(StopReason(kind=StopKind.PARKED, rule="rate_window", detail="the provider asks to wait longer"))
        return WaitUntil(iteration.retry_at)
    return CallModel(CallId(iteration.number, iteration.steps + 1, iteration.attempt + 1))


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
    return StartIteration(state.iterations + 1)


def _money_ran_out(state: State) -> StopReason | None:
    """The refusal that ended the last iteration: its checks have run, they did not say done."""
    if state.exhausted is None:
        return None
    return rules.budget(state.exhausted)
