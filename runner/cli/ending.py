"""How a run ended, in words: rule, money, score, checkpoint and the command that goes on."""

from __future__ import annotations

from collections.abc import Iterator

from runner.app.goon import loop_command, resume_command
from runner.cli.advice import advice
from runner.cli.output import when
from runner.cli.sums import spent
from runner.state import State
from runner.values import StopKind, StopReason, counted, format_usd

_HEADLINE = {
    StopKind.DONE: "done",
    StopKind.FAILED: "failed",
    StopKind.BUDGET: "stopped by a budget",
    StopKind.LIMIT: "stopped by a limit",
    StopKind.STALLED: "stalled",
    StopKind.FALSE_CLAIM: "claimed done, but it is not",
    StopKind.DENIED: "denied",
    StopKind.BOUND_VIOLATED: "stopped: more was billed than held",
    StopKind.OPERATOR: "stopped by an operator",
    StopKind.ABANDONED: "abandoned",
    StopKind.PARKED: "parked",
    StopKind.INTERRUPTED: "interrupted",
    StopKind.TERMINATED: "terminated",
}


def told(stop: StopReason, state: State, *, raise_it: str) -> Iterator[str]:
    """The lines a person reads last. `raise_it` is the command that raises the shared budget that stopped the run."""
    headline = _HEADLINE[stop.kind]
    if stop.kind is StopKind.DONE:
        headline += ", verified" if stop.verified else " (claimed, NOT verified: the spec has no checks)"
    yield ""
    yield f"{headline}: {stop.rule}{f' — {stop.detail}' if stop.detail else ''}"
    yield from advice(stop, state)
    if stop.resume_at is not None:
        yield f"  asks again from {when(stop.resume_at)} on"
    money = state.money
    unknown = f", unknown {format_usd(money.unknown)} (may have been billed)" if money.unknown else ""
    held = f", held {format_usd(money.held)}" if money.held else ""
    yield f"  spent {spent(money)}{unknown}{held}, limit {format_usd(state.limits.usd)}"
    best = state.best
    score = "none" if best is None or best.score is None else f"{best.score:.2f} in iteration {best.iteration}"
    number = state.checkpoint.number if state.checkpoint else "none"
    work = f"{counted(state.iterations, 'iteration')}, {counted(state.steps, 'step')}"
    yield f"  best score {score}, {work}, last checkpoint {number}"
    copied = state.created is not None and state.created.worktree
    rows = _next(stop, state, copied=copied, raise_it=raise_it)
    wide = max(len(name) for name, _ in rows)
    yield from (f"  {name:<{wide}}  {command}" for name, command in rows)


def _next(stop: StopReason, state: State, *, copied: bool, raise_it: str) -> list[tuple[str, str]]:
    """What to do now: a word for it and the command, one a line, so that each can be copied whole."""
    run = state.created.run if state.created else ""
    look, log = ("look", f"runner show {run}"), ("log", f"runner log {run}")
    if stop.kind is StopKind.DONE:
        home = [("bring it home", f"runner apply {run}")] if copied else []
        return [*home, look, ("changes", f"runner diff {run} 0 last"), log]
    if stop.kind is StopKind.BOUND_VIOLATED:
        return [look, log]
    if stop.resume_at is not None:
        return [("go on then", loop_command(state)), ("ask at once", resume_command(run, stop, state)), look]
    if stop.rule == "approval":
        name = stop.detail.partition(" ")[0]
        return [("answer", f"runner approvals show {name}"), ("go on", resume_command(run, stop, state)), look]
    shared = [("raise it", raise_it)] if raise_it else []
    return [*shared, ("go on", resume_command(run, stop, state)), look]
