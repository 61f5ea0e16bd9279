"""A recording of what a model answered in a run, for `replay:FILE` (the format: docs/reference/recording.md).

Replies are taken from the journal as they were settled, each with the iteration and step it answered, and with the
usage that was paid for. What a replay cannot do again is told beside it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from runner.app.look import Look
from runner.errors import ConfigError, RefusedError
from runner.events.facts import (
    BoundViolated,
    CallDispatched,
    CallReleased,
    CallSettled,
    CallUnknown,
    Event,
    IterationFinished,
    IterationStarted,
    RunCreated,
    SpecBodyChanged,
    WorkspaceChanged,
)
from runner.secrets import mask_patterns
from runner.state import State, evolve
from runner.store import journal
from runner.values import CallId, StopKind, ToolCall, Usage, format_usd

# What ends a line for some readers and not for JSON, what steers a terminal, and halves of characters.
_TROUBLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MASKED = "[masked:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A recording as text. `masked` counts key-like texts it does not have; `notes` say where a replay will differ."""

    run: str
    text: str
    replies: int
    masked: int
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Story:
    """What the journal tells that bears on a replay."""

    created: RunCreated | None = None
    replies: dict[tuple[int, int], CallSettled] = field(default_factory=dict[tuple[int, int], CallSettled])
    sent: dict[CallId, CallDispatched] = field(default_factory=dict[CallId, CallDispatched])
    started: list[int] = field(default_factory=list[int])
    finished: set[int] = field(default_factory=set[int])
    again: int = 0
    unknown: int = 0
    over: int = 0
    thought: dict[int, int] = field(default_factory=dict[int, int])
    edited: int = 0
    foreign: int = 0
    state: State = field(default_factory=State)

    def take(self, event: Event) -> None:
        match event:
            case RunCreated():
                self.created = event
            case IterationStarted(iteration=iteration):
                self.started.append(iteration)
            case IterationFinished(iteration=iteration):
                self.finished.add(iteration)
            case CallDispatched(call=call):
                self.sent[call] = event
                self.again += call.attempt > 1
            case CallSettled(call=call, reply=reply):
                self.replies[call.iteration, call.step] = event
                if reply.opaque:
                    self.thought.setdefault(call.iteration, call.step)
            case CallUnknown(call=call):
                self.unknown += self.sent[call].hold if call in self.sent else 0
            case BoundViolated():
                self.over += 1
            case SpecBodyChanged():
                self.edited += 1
            case WorkspaceChanged():
                self.foreign += 1
            case CallReleased() | _:
                pass


def recording(found: Look, name: str) -> Made:
    """Make a recording of a run. Raises NotFoundError for no such run, RefusedError where no reply was settled."""
    with found.database.snapshot():
        row = found.find(name)
        stored = list(journal.rows(found.database, row.id))
    story = _Story()
    for one in stored:
        if (stamped := journal.known(row.id, one)) is not None:
            story.state = evolve(story.state, stamped.event, one.at, one.seq)
            story.take(stamped.event)
    if story.created is None or not story.replies:
        msg = f"run {row.id} has no reply to record: no model call of it was answered"
        raise RefusedError(msg, hint=f"runner show {row.id}")
    masked = Counter[str]()
    # what a call was priced as: the model itself, also where the run was a replay
    model = next((story.sent[one.call].model for one in story.replies.values() if one.call in story.sent), "")
    header = {
        "recording": 1,
        "model": model or story.created.model,
        "about": f"run {row.id} of {Path(story.created.spec_path).name}",
    }
    lines = [_line(header), *(_line(_reply(one, story, masked)) for one in story.replies.values())]
    return Made(
        run=row.id,
        text="".join(lines),
        replies=len(story.replies),
        masked=masked.total(),
        notes=tuple(_notes(story, found.driver(row.id))),
    )


def _line(value: Mapping[str, object]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # outside of its strings JSON has none of these
    return _TROUBLE.sub(lambda one: f"\\u{ord(one[0]):04x}", text) + "\n"


def _reply(settled: CallSettled, story: _Story, masked: Counter[str]) -> dict[str, object]:
    call, reply = settled.call, settled.reply
    told: dict[str, object] = {"iteration": call.iteration, "step": call.step, "text": _mask(reply.text, masked)}
    if reply.tool_calls:
        told["tools"] = [
            {"name": _mask(one.name, masked), "arguments": _arguments(one, masked), "id": _mask(one.id, masked)}
            for one in reply.tool_calls
        ]
    # the requests of a replay lack what was thought, which was counted
    shorter = call.step > story.thought.get(call.iteration, call.step)
    if _believable(settled.usage, story.sent.get(call)) and not shorter:
        usage = settled.usage
        parts = (("cached", usage.cached_tokens), ("cache_write", usage.cache_write_tokens))
        told["usage"] = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            **{name: tokens for name, tokens in parts if tokens},
        }
    if reply.cut:
        told["cut"] = True
    if reply.ending:
        told["ending"] = reply.ending
    return told


def _believable(usage: Usage, sent: CallDispatched | None) -> bool:
    """Whether a replay takes the usage: it refuses more input than bytes, and cuts a reply at the output allowed."""
    return sent is None or (usage.input_tokens <= sent.input_bound and usage.output_tokens <= sent.granted_output)


def _other_class(settled: CallSettled) -> bool:
    """Whether it was billed in a class that a recording has no word for."""
    usage = settled.usage
    return bool(usage.service or usage.geo or usage.fees or usage.cache_write_1h_tokens or usage.cache_write_12h_tokens)


def _arguments(call: ToolCall, masked: Counter[str]) -> object:
    """An object where that says the same to the byte, else the model's own text."""
    before = masked.total()
    try:
        value: object = json.loads(call.arguments, parse_constant=_no_number)
        as_written = json.dumps(value, ensure_ascii=False, separators=(",", ":")) == call.arguments
        clean = _clean(value, masked)
    except (ValueError, RecursionError):
        return _mask(call.arguments, masked)
    if isinstance(clean, dict) and as_written:
        # JSON makes every key a text
        return cast("dict[str, object]", clean)
    return call.arguments if masked.total() == before else json.dumps(clean, ensure_ascii=False)


def _no_number(name: str) -> object:
    """NaN and its like are not JSON, whatever Python's reader takes."""
    raise ValueError(name)


def _clean(value: object, masked: Counter[str]) -> object:
    # each text alone: a pattern must not run on into the next field
    match value:
        case str():
            return _mask(value, masked)
        case list():
            # what JSON holds is looked at one by one
            return [_clean(one, masked) for one in cast("list[object]", value)]
        case dict():
            # as above
            return {_mask(name, masked): _clean(one, masked) for name, one in cast("dict[str, object]", value).items()}
        case _:
            return value


def _mask(text: str, masked: Counter[str]) -> str:
    clean = mask_patterns(text)
    masked["keys"] += clean.count(_MASKED) - text.count(_MASKED) if clean != text else 0
    return clean


# ---- what a replay does differently ----------------------------------------------------------------------


def _notes(story: _Story, driver: int | None) -> Iterator[str]:
    yield from _unfinished(story, driver)
    if story.again:
        yield f"{_count(story.again, 'call')} tried again: a replay is answered at the first attempt"
    if story.unknown:
        yield (
            f"{format_usd(story.unknown)} counted for calls of unknown outcome:"
            " a replay has none, and spends that much less"
        )
    doubtful = [one for one in story.replies.values() if not _believable(one.usage, story.sent.get(one.call))]
    if doubtful or story.over:
        many = _count(max(len(doubtful), story.over), "reply", "replies")
        yield f"{many} billed above what was held: a replay computes the usage from sizes instead"
    if cut := sum(one.reply.cut for one in story.replies.values()):
        yield f"{_count(cut, 'reply', 'replies')} cut by the output limit: a replay cuts them there, whatever its limit"
    if story.thought:
        yield "blocks only their provider can read are left out: a replay computes what follows them from sizes"
    if other := sum(map(_other_class, story.replies.values())):
        yield f"{_count(other, 'reply', 'replies')} billed in other classes: a replay is priced as the standard"
    if len(models := {one.model for one in story.sent.values()}) > 1:
        yield f"models changed on the way ({', '.join(sorted(models))}): a replay is priced as the first"
    if story.edited:
        yield "the spec was edited while the run went on: a replay has the spec as you give it"
    if story.foreign:
        yield "somebody else changed the workspace on the way: a replay has only what the agent did"
    flags = sorted(
        name for name, source in story.state.limit_sources.items() if "flag" in source or source.startswith("--")
    )
    if flags:
        yield f"limits given on the command line ({', '.join(flags)}): give them to the replay too"


def _unfinished(story: _Story, driver: int | None) -> Iterator[str]:
    last = story.started[-1] if story.started else 0
    for iteration in dict.fromkeys(story.started):
        if iteration in story.finished:
            continue
        steps = max((step for number, step in story.replies if number == iteration), default=0)
        if iteration == last and driver is not None:
            yield f"the run is going on: the recording ends with step {steps} of iteration {iteration}"
        else:
            yield (
                f"iteration {iteration} was interrupted after step {steps}:"
                f" a replay asks for step {steps + 1}, finds none, and ends with exit code 1"
            )
    stop = story.state.stopped
    if stop is not None and stop.kind in {StopKind.OPERATOR, StopKind.ABANDONED} and last in story.finished:
        yield "the run was stopped from outside: a replay goes on until the replies run out"


def _count(number: int, one: str, many: str = "") -> str:
    return f"1 {one} was" if number == 1 else f"{number} {many or one + 's'} were"


# ---- into a file -----------------------------------------------------------------------------------------


def write(text: str, path: Path, *, force: bool) -> None:
    """Write a whole file or none, on disk when this returns. Raises RefusedError for one that is there already."""
    folder = path.parent
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=folder)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from error
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        draft.chmod(0o666 & ~_umask())
        if force:
            draft.replace(path)
        else:
            # a link is made or fails: there is no moment in which another file could be overwritten
            path.hardlink_to(draft)
            draft.unlink()
        _settle(folder)
    except FileExistsError:
        draft.unlink(missing_ok=True)
        raise RefusedError(f"{path} is there already; nothing was written", hint="add --force to replace it") from None
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from error


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _settle(folder: Path) -> None:
    """Bring the folder's new entry to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
