"""Progress as lines: one per thing that happened. Printed plainly here; never an error of the run's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from runner.cli.columns import width
from runner.cli.edge import let_go
from runner.cli.live.cells import clean, cut
from runner.cli.output import harmless
from runner.cli.sums import spent
from runner.events.facts import (
    ApprovalDecided,
    ApprovalReminded,
    ApprovalRequested,
    ApprovalVoted,
    BoundViolated,
    CallDispatched,
    CallReconciled,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    CheckpointMade,
    ChecksFinished,
    Event,
    HoldsWaited,
    InputCounted,
    IterationFinished,
    IterationStarted,
    ModelSwitched,
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
from runner.policy import gates
from runner.policy.model import MOST_ATTEMPTS
from runner.secrets import Vault, mask_patterns
from runner.state import State
from runner.values import Billing, Ms, format_duration, format_left, format_usd

_WIDTH = 100


class Tone(StrEnum):
    """How a piece of text is meant; the value is how a terminal is told (SGR)."""

    PLAIN = ""
    HEAD = "1"
    FAINT = "2"
    GOOD = "32"
    BAD = "31"
    NOTE = "33"
    HELD = "36"


@dataclass(frozen=True, slots=True)
class Line:
    """One line for a person, not yet masked."""

    text: str
    tone: Tone = Tone.PLAIN


class Lines:
    """What a person is told of each event. Remembers what tools were asked, and how the call under way is billed."""

    def __init__(self) -> None:
        self._calls: dict[str, ToolStarted] = {}
        self._billing: str = Billing.METERED

    def of(self, event: Event, state: State) -> tuple[Line, ...]:
        """Tell of an event; nothing for most of them."""
        if isinstance(event, ToolStarted):
            self._calls[event.call.id] = event
            return tuple(_warned(event))
        if isinstance(event, ToolFinished):
            return (self._tool(event),)
        if isinstance(event, CallDispatched):
            self._billing = event.billing
            return ()
        if isinstance(event, CallSettled):
            return (Line(_settled(event, state, self._billing)),)
        if isinstance(event, ChecksFinished):
            return _checked(event, state)
        text = _call(event, state) or _asked(event, state) or _tree(event) or _run(event, state)
        return () if text is None else (Line(text, _tone(event)),)

    def _tool(self, event: ToolFinished) -> Line:
        started = self._calls.pop(event.call_id, None)
        what = _short(started.call.arguments if started else "", 60)
        first = _short(event.text.strip().splitlines()[-1] if event.text.strip() else "", 40)
        mark = "interrupted" if event.interrupted else "ok" if event.ok else "error"
        left = f"; ended what it left running: {', '.join(event.left_behind)}" if event.left_behind else ""
        text = f"    {event.name} {what} -> {mark}{f': {first}' if first else ''}{left}"
        return Line(text, Tone.PLAIN if event.ok else Tone.NOTE)


def urgent(event: Event) -> bool:
    """Whether even a person who wants quiet is told."""
    return isinstance(event, Warned | StopAsked | BoundViolated)


class PlainScreen:
    """Implements `ports.Screen`. `quiet` shows warnings alone; `to_stderr` leaves standard output to JSON.

    A closed or full output is let go of, once.
    """

    def __init__(self, vault: Vault, *, quiet: bool = False, to_stderr: bool = False) -> None:
        self._vault, self._quiet = vault, quiet
        self._file = 2 if to_stderr else 1
        self._lines = Lines()
        self._open = True

    def event(self, at: Ms, event: Event, state: State) -> None:
        """Say what happened, if a person wants to know."""
        if self._quiet and not urgent(event):
            return
        told = [line.text for line in self._lines.of(event, state)]
        # agent text and tool arguments: the log has them whole
        if isinstance(event, CallSettled | ToolFinished):
            told = [self._cut(line) for line in told]
        if told:
            self.say("\n".join(told))

    def text(self, piece: str) -> None:
        """Streamed text is not shown as lines."""

    def output(self, data: bytes) -> None:
        """Neither is a running tool's output."""

    def _cut(self, line: str) -> str:
        """A line that does not wrap, where there is a terminal. Masked first: half a key looks like none."""
        if not self._stream.isatty():
            return line
        return cut(clean(mask_patterns(self._vault.mask(line))), width(self._stream))

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._file == 2 else sys.stdout

    def say(self, line: str) -> None:
        """Print one line, masked."""
        if not self._open:
            return
        try:
            stream = self._stream
            stream.write(harmless(mask_patterns(self._vault.mask(line)), stream) + "\n")
            stream.flush()
        except OSError:
            self._open = False
            let_go(self._file)


def _tone(event: Event) -> Tone:
    match event:
        case IterationStarted() | RunResumed():
            return Tone.HEAD
        case CheckpointMade():
            return Tone.FAINT
        case BoundViolated():
            return Tone.BAD
        case (
            InputCounted() | CallReconciled() | CallReleased() | HoldsWaited() | IterationFinished() | SpecBodyChanged()
        ):
            return Tone.PLAIN
        case SetupFinished(ok=True):
            return Tone.PLAIN
        case _:
            return Tone.NOTE


def _warned(started: ToolStarted) -> Iterator[Line]:
    """What rules that only warn would have made of a call."""
    for one in started.decision.others if started.decision is not None else ():
        if one.mode == "warn":
            text = f"    note: the rule {one.rule} ({one.place}) would {one.ruling.value} this {started.call.name}"
            yield Line(text, Tone.NOTE)


def _short(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


def _settled(event: CallSettled, state: State, billing: str) -> str:
    used = f"{event.usage.input_tokens} tokens in, {event.usage.output_tokens} out"
    said = _short(event.reply.text, 60) or _ENDINGS.get(event.reply.ending, "")
    cost = format_usd(event.cost) if billing == Billing.METERED else billing
    total = spent(state.money, state.limits.usd, of=True)
    return f"  step {event.call.step}: {cost} ({used}), spent {total}{f' — {said}' if said else ''}"


_ENDINGS = {
    "paused": "paused by the provider",
    "refused": "refused by the model",
    "filtered": "kept back by the provider's filter",
    "window": "broken off: the model's window is full",
    "withheld": "withheld: a secret stood in what only the provider can read",
}


def _checked(event: ChecksFinished, state: State) -> tuple[Line, ...]:
    lines: list[Line] = []
    for one in event.results:
        passed = one.score >= 1
        count = "" if one.total is None else f" ({one.passed} of {one.total})"
        said = f"  check {one.name}: {'passed' if passed else 'not passed'}{count}"
        lines.append(Line(said, Tone.GOOD if passed else Tone.BAD))
    lines += [Line(f"    {name}") for one in event.results if one.score < 1 for name in one.failures[:5]]
    if event.score is not None:
        best = state.best
        lines.append(Line(f"  score {event.score:.2f}" + (f" (best {best.score:.2f})" if best and best.score else "")))
    if event.unticked:
        lines.append(Line(f"  checklist: {len(event.unticked)} not ticked"))
    notes: list[str] = []
    if event.tampered:
        notes.append(f"  protected files the agent changed: {', '.join(event.tampered)}")
    if event.foreign:
        notes.append(f"  protected files somebody else changed: {', '.join(event.foreign)} (runner protect --accept)")
    if event.left_out:
        notes.append(f"  left out of the checks: {', '.join(event.left_out[:5])}")
    lines += [Line(one, Tone.NOTE) for one in notes]
    return tuple(lines) or (Line("  the spec has no checks"),)


def _refused(event: CallRefused) -> str | None:
    if event.unit == "stop":
        return None
    if event.others:
        return f"  waiting: other calls hold what is left of {event.scope}"
    need, left = str(event.need), str(max(0, event.headroom))
    if event.unit == "usd":
        need, left = format_usd(event.need), format_left(event.headroom)
    return f"  the next call needs {need}, {left} is left of {event.scope}"


def _unknown(event: CallUnknown, state: State) -> str:
    kept = f"its hold stays ({format_usd(state.money.unknown)} unknown so far)"
    return f"  call {event.call}: {event.reason}; {kept}{_again(event, state)}"


def _again(event: CallUnknown | CallReleased, state: State) -> str:
    """When the next attempt comes; nothing where none does, because it was the last or somebody wants a stop."""
    failed = state.iteration.failures if state.iteration else 0
    if event.retry_after_ms is None or state.stop_asked is not None or failed >= MOST_ATTEMPTS:
        return ""
    seconds = -(-event.retry_after_ms // 1000)
    again = f"; again {f'in {format_duration(seconds)}' if seconds else 'now'}"
    if (since := state.iteration.busy_since if state.iteration else None) is not None:
        return f"{again} (busy for {format_duration((state.at - since) // 1000)})" if state.at > since else again
    return f"{again} (attempt {failed + 1} of {MOST_ATTEMPTS})" if failed else ""


def _counted(event: InputCounted) -> str:
    if event.tokens is None:
        return "  the provider did not count the next request"
    return f"  the provider counts {event.tokens} tokens in the next request"


def _call(event: Event, state: State) -> str | None:
    match event:
        case IterationStarted():
            return f"iteration {event.iteration} of {state.limits.iterations or 'unlimited'}"
        case CallUnknown():
            return _unknown(event, state)
        case CallReleased():
            return f"  call {event.call}: {event.reason}; not billed{_again(event, state)}"
        case CallRefused():
            return _refused(event)
        case HoldsWaited():
            return None if event.room else "  no room became free in time"
        case ToolRefused():
            return f"    {event.call.name} -> refused: {_short(event.reason, 80)}"
        case BoundViolated():
            return f"  bound violated: {event.what}"
        case InputCounted():
            return _counted(event)
        case ModelSwitched():
            return f"  {event.model} from here on: {event.reason}"
        case CallReconciled():
            held, cost = format_usd(event.held), format_usd(event.cost)
            return f"  call {event.call} cost {cost} instead of {held}, by {event.evidence} in {event.source}"
        case _:
            return None


def _asked(event: Event, state: State) -> str | None:
    match event:
        case ApprovalRequested():
            shown = _short(event.shown, 60)
            return f"    {shown} -> waits for {gates.waits_for(event.gates)}: runner approvals show {event.approval}"
        case ApprovalVoted():
            asked = state.approvals.get(event.approval)
            owner = asked.request.decision.owner if asked else ""
            return f"    {event.approval}: {'yes' if event.vote.approve else 'no'} by {gates.named(event.vote, owner)}"
        case ApprovalDecided():
            why = event.why or event.approver
            return f"    {event.approval} is {event.outcome}{f': {why}' if why else ''}"
        case ApprovalReminded():
            return f"    {event.approval} still waits: half of its time is over"
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


_ENDED = {
    "handoff": "this conversation is too dear to go on with; what is left is enough for a fresh one",
    "context": "this conversation is too long for the model; a fresh one goes on",
    "refused": "the model did not go on",
}


def _run(event: Event, state: State) -> str | None:
    match event:
        case IterationFinished():
            return None if event.ending == "answered" else f"  ended: {_ENDED.get(event.ending, event.ending)}"
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
