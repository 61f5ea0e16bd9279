"""Fakes of the ports, for tests of what stands above them. Deterministic; nothing here touches a disk or a clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from runner.errors import ModelError
from runner.events.facts import ToolStarted
from runner.loop.world import Engine
from runner.ports import (
    Answered,
    Change,
    Completion,
    Interrupt,
    Message,
    Model,
    Prepared,
    Snapshot,
    SystemText,
    ToolDefinition,
    ToolOutcome,
    ToolText,
    UserText,
    Verdict,
)
from runner.pricing.book import Entry
from runner.pricing.cost import Asks, Price
from runner.spec.model import Spec
from runner.values import CallId, Effect, Ms, ToolCall

_ASKS = Asks()


@dataclass
class FakeClock:
    """A clock that moves `step_ms` at every look."""

    at: Ms = 1_000_000
    step_ms: int = 7

    def now(self) -> Ms:
        self.at += self.step_ms
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000


@dataclass
class FakeModel:
    """Answers by `script(call, max_output)`, which returns a completion or raises a ModelError."""

    script: Callable[[CallId, int], Completion]
    name: str = "fake/model"
    max_output: int = 4_096
    sent: list[CallId] = field(default_factory=list[CallId])
    counts: int | None = None

    @property
    def can_count(self) -> bool:
        return self.counts is not None

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        del body, interrupt
        return self.counts

    def encode(self, message: Message) -> bytes:
        value: object
        match message:
            case SystemText(text) | UserText(text):
                value = text
            case Answered(reply):
                value = [reply.text, [call.id for call in reply.tool_calls]]
            case ToolText(call_id, text):
                value = [call_id, text]
        return json.dumps(value).encode()

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return b"[" + b",".join(messages) + b"]" + str(max_output).encode()

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        self.sent.append(call)
        limit = int(body.rpartition(b"]")[2])
        if interrupt.fired:
            msg = "interrupted"
            raise ModelError(msg)
        completion = self.script(call, limit)
        on_text(completion.reply.text)
        return completion


def entry_of(name: str, price: Price, *, max_output: int = 4_096, context: int = 1_000_000) -> Entry:
    """What a price book would say of a model; `dataclasses.replace` gives it more."""
    return Entry(
        name=name, price=price, max_output=max_output, context=context, as_of=date(2026, 11, 1), source="a test"
    )


def engine_of(model: Model, price: Price, *, entry: Entry | None = None, asks: Asks = _ASKS) -> Engine:
    """A model with its price, for a World; `entry` where it needs to say more than the price."""
    known = entry or entry_of(model.name, price, max_output=model.max_output)
    return Engine(model=model, entry=known, asks=asks, hold_percent=100)


@dataclass
class FakeWorkspace:
    """A tree of files in memory; trees and commits are named by their content."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    root: Path = Path("/fake")
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])

    def snapshot(self) -> Snapshot:
        name = hashlib.sha256(repr(sorted(self.files.items())).encode()).hexdigest()
        self.trees[name] = dict(self.files)
        return Snapshot(tree=name)

    def commit(self, snapshot: Snapshot, *, run: str, number: int, parent: str | None, at: Ms, message: str) -> str:
        return hashlib.sha256(f"{snapshot.tree} {run} {number} {parent} {at} {message}".encode()).hexdigest()

    def changes(self, old: str, new: str) -> tuple[Change, ...]:
        was, now = self.trees[old], self.trees[new]
        differing = sorted(path for path in {*was, *now} if was.get(path) != now.get(path))
        kinds = {(False, True): "added", (True, False): "deleted"}
        return tuple(Change(path=path, kind=kinds.get((path in was, path in now), "changed")) for path in differing)

    def read(self, tree: str, path: str) -> bytes | None:
        return self.trees[tree].get(path)

    def read_many(self, tree: str, paths: Iterable[str]) -> Mapping[str, bytes]:
        return {path: self.trees[tree][path] for path in paths if path in self.trees[tree]}

    def paths(self, tree: str) -> tuple[str, ...]:
        return tuple(sorted(self.trees[tree]))

    def materialise(self, tree: str, into: Path) -> None:
        for path, content in self.trees[tree].items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_bytes(content)

    def restore(self, tree: str) -> None:
        self.files.clear()
        self.files.update(self.trees[tree])


@dataclass(frozen=True)
class FakeAct:
    """A tool call ready to act: `do` gives what it answers."""

    started: ToolStarted
    do: Callable[[], str]

    def act(self, interrupt: Interrupt) -> ToolOutcome:
        return (
            ToolOutcome(text="interrupted", ok=False, interrupted=True)
            if interrupt.fired
            else ToolOutcome(text=self.do(), ok=True)
        )

    def abandon(self) -> None:
        return


@dataclass
class FakeTools:
    """`look` reads, `put` writes its arguments to `put.txt`, `go` is a command that does so; others are unknown."""

    workspace: FakeWorkspace
    definitions: tuple[ToolDefinition, ...] = ()

    def prepare(self, call: ToolCall) -> Prepared | str:
        effects = {"look": Effect.READS, "put": Effect.WRITES, "go": Effect.COMMANDS}
        if (effect := effects.get(call.name)) is None:
            return f"unknown tool {call.name!r}"
        path = "put.txt" if effect is Effect.WRITES else ""
        return FakeAct(ToolStarted(call=call, effect=effect, path=path), lambda: self._do(call, effect))

    def _do(self, call: ToolCall, effect: Effect) -> str:
        if effect is not Effect.READS:
            self.workspace.files["put.txt"] = call.arguments.encode()
        return "done"

    def recover(self, started: ToolStarted) -> ToolOutcome | None:
        return (
            ToolOutcome(text="interrupted", ok=False, interrupted=True) if started.effect is Effect.COMMANDS else None
        )

    def end_leftovers(self) -> tuple[str, ...]:
        return ()

    def end_iteration(self) -> tuple[str, ...]:
        return ()


@dataclass
class FakeChecks:
    """Scores a tree by `score(tree)`."""

    score: Callable[[str], float | None]

    def run(self, spec: Spec, *, tree: str, base: str, accepted: Mapping[str, str], interrupt: Interrupt) -> Verdict:
        return Verdict(results=(), score=self.score(tree))


class FakeGuard:
    """Nothing is protected."""

    def base(self) -> Mapping[str, str]:
        return {}

    def look(self) -> Mapping[str, str]:
        return {}

    def differing(self) -> tuple[str, ...]:
        return ()
