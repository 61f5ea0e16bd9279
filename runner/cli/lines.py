"""Progress as plain lines: one per thing that happened, on standard output; never an error of the run's."""

from __future__ import annotations

import sys

from runner.cli.edge import let_go
from runner.events.facts import (
    BoundViolated,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    CheckpointMade,
    ChecksFinished,
    Event,
    HoldsWaited,
    IterationFinished,
    IterationStarted,
    ProtectedChanged,
    RunResumed,
    SetupFinished,
    SpecBodyChanged,
    StopAsked,
    ToolFinished,
    ToolRefused,
    ToolStarted,
    Warned,
    WorkspaceChanged,
)
from runner.secrets import Vault, mask_patterns
from runner.state import State
from runner.values import Ms, format_usd

_WIDTH = 100


class PlainScreen:
    """Implements `ports.Screen`. `quiet` shows warnings alone; `to_stderr` leaves standard output to JSON.

    A closed or full output is let go of, once.
    """

    def __init__(self, vault: Vault, *, quiet: bool = False, to_stderr: bool = False) -> None:
        self._vault, self._quiet = vault, quiet
        self._file = 2 if to_stderr else 1
        self._calls: dict[str, ToolStarted] = {}
        self._open = True

    def event(self, at: Ms, event: Event, state: State) -> None:
        """Say what happened, if a person wants to know."""
        if isinstance(event, ToolStarted):
            self._calls[event.call.id] = event
        if self._quiet and not isinstance(event, Warned | StopAsked | BoundViolated):
            return
        if (line := self._line(event, state)) is not None:
            self.say(line)

    def text(self, piece: str) -> None:
        """Streamed text is not shown as lines."""

    def say(self, line: str) -> None:
        """Print one line, masked."""
        if not self._open:
            return
        try:
            stream = sys.stderr if self._file == 2 else sys.stdout
            stream.write(mask_patterns(self._vault.mask(line)) + "\n")
            stream.flush()
        except OSError:
            self._open = False
            let_go(self._file)

    def _line(self, event: Event, state: State) -> str | None:
        if isinstance(event, ToolFinished):
            return self._tool(event)
        return _call(event, state) or _tree(event) or _run(event, state)

    def _tool(self, event: ToolFinished) -> str:
        started = self._calls.pop(event.call_id, None)
        what = _short(started.call.arguments if started else "", 60)
        first = _short(event.text.strip().splitlines()[-1] if event.text.strip() else "", 40)
        mark = "interrupted" if event.interrupted else "ok" if event.ok else "error"
        left = f"; ended what it left running: {', '.join(event.left_behind)}" if event.left_behind else ""
        return f"    {event.name} {what} -> {mark}{f': {first}' if first else ''}{left}"


def _short(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


def _settled(event: CallSettled, state: State) -> str:
    used = f"{event.usage.input_tokens} in, {event.usage.output_tokens} out"
    said = _short(event.reply.text, 60)
    spent = f"{format_usd(state.money.spent)} of {format_usd(state.limits.usd)}"
    return f"  step {event.call.step}: {format_usd(event.cost)} ({used}), spent {spent}{f' — {said}' if said else ''}"


def _checked(event: ChecksFinished, state: State) -> str:
    lines = [
        f"  check {one.name}: {'passed' if one.score >= 1 else 'not passed'}"
        + ("" if one.total is None else f" ({one.passed} of {one.total})")
        for one in event.results
    ]
    lines += [f"    {name}" for one in event.results if one.score < 1 for name in one.failures[:5]]
    if event.score is not None:
        best = state.best
        lines.append(f"  score {event.score:.2f}" + (f" (best {best.score:.2f})" if best and best.score else ""))
    if event.unticked:
        lines.append(f"  checklist: {len(event.unticked)} not ticked")
    if event.tampered:
        lines.append(f"  protected files the agent changed: {', '.join(event.tampered)}")
    if event.foreign:
        lines.append(f"  protected files somebody else changed: {', '.join(event.foreign)} (runner protect --accept)")
    if event.left_out:
        lines.append(f"  left out of the checks: {', '.join(event.left_out[:5])}")
    return "\n".join(lines) or "  the spec has no checks"


def _refused(event: CallRefused) -> str | None:
    if event.unit == "stop":
        return None
    if event.others:
        return f"  waiting: other calls hold what is left of {event.scope}"
    unit = format_usd if event.unit == "usd" else str
    return f"  the next call needs {unit(event.need)}, {unit(max(0, event.headroom))} is left of {event.scope}"


def _unknown(event: CallUnknown, state: State) -> str:
    return f"  call {event.call}: {event.reason}; its hold stays ({format_usd(state.money.unknown)} unknown so far)"


def _call(event: Event, state: State) -> str | None:
    match event:
        case IterationStarted():
            return f"iteration {event.iteration} of {state.limits.iterations or 'unlimited'}"
        case CallSettled():
            return _settled(event, state)
        case CallUnknown():
            return _unknown(event, state)
        case CallReleased():
            return f"  call {event.call}: {event.reason}; not billed"
        case CallRefused():
            return _refused(event)
        case HoldsWaited():
            return None if event.room else "  no room became free in time"
        case ToolRefused():
            return f"    {event.call.name} -> refused: {_short(event.reason, 80)}"
        case BoundViolated():
            return f"  bound violated: {event.what}"
        case _:
            return None


def _tree(event: Event) -> str | None:
    match event:
        case CheckpointMade():
            return _checkpoint(event)
        case ProtectedChanged():
            return f"    protected file changed by {event.by}: {event.path}"
        case WorkspaceChanged():
            return f"  somebody else changed {', '.join(event.paths[:5])}: a fresh iteration follows"
        case SpecBodyChanged():
            return "  the spec was edited; its new text counts from this iteration"
        case SetupFinished():
            return f"  setup {'done' if event.ok else 'failed'} in {event.seconds:.1f} s"
        case _:
            return None


def _run(event: Event, state: State) -> str | None:
    match event:
        case ChecksFinished():
            return _checked(event, state)
        case IterationFinished():
            return None if event.ending == "answered" else f"  ended: {event.ending}"
        case Warned():
            return f"note: {event.text}"
        case StopAsked():
            return f"  stop asked for by {event.by}"
        case RunResumed():
            return f"run {state.created.run if state.created else ''}"
        case _:
            return None


def _checkpoint(event: CheckpointMade) -> str:
    skipped = f"; not kept: {', '.join(event.skipped[:5])}" if event.skipped else ""
    return f"    checkpoint {event.number} ({event.reason}){skipped}"
