"""What a spec says, after it was read and found sound. Pure values; `parse` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.values import Limits

DEFAULT_PROMISE = "<promise>COMPLETE</promise>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One command whose outcome is a score in 0..1.

    `argv` is run without a shell when the spec wrote a list, through `/bin/sh -c` when it wrote a string.
    `parse` says how to read the result: `exit` (0 = 1.0), `junit` (`report` names the XML), `tap` or `number`
    (last number printed, divided by `out_of`). `weight` is its share of the score.
    `{results}` in argv is a fresh directory.
    """

    name: str
    argv: tuple[str, ...]
    parse: str = "exit"
    report: str = ""
    out_of: float = 1.0
    weight: float = 1.0
    timeout_s: int = 600
    creates: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A command kept running while checks run; ready when `ready` (a TCP port on loopback, or None) answers."""

    name: str
    argv: tuple[str, ...]
    ready_port: int | None = None
    timeout_s: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """When a run counts as stalled: no better score, the same tree, or the same failure, `iterations` times."""

    iterations: int | None = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One Markdown checkbox of the body; `line` is 1-based in the file."""

    text: str
    ticked: bool
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole spec. `limits` holds only what the spec states; `stated` names those fields, since None means unlimited.

    `setup_inputs` are globs: when a file they cover changes, setup runs again.
    `models` are those to call in order, in place of `model`: each once the one before cannot be had.
    `places` says where the front matter's values stand: (`budget.usd`, line, column).
    """

    path: str
    text: str
    body: str
    title: str
    checks: tuple[Check, ...] = ()
    target: float = 1.0
    limits: Limits = field(default_factory=Limits)
    stated: frozenset[str] = frozenset()
    stall: Stall = field(default_factory=Stall)
    promise: str | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    setup: tuple[tuple[str, ...], ...] = ()
    setup_inputs: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    workspace: str | None = None
    on_false_claim: str = "continue"
    checklist: tuple[Item, ...] = ()
    places: tuple[tuple[str, int, int], ...] = ()

    def place(self, key: str) -> tuple[int | None, int | None]:
        """Line and column of the value of `key` (`model`, `budget.usd`), 1-based; Nones where the spec is silent."""
        return next(((line, column) for name, line, column in self.places if name == key), (None, None))
