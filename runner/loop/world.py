"""Everything outside that performing a command touches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runner.agent.conversation import Conversation
from runner.agent.prompt import Brief
from runner.events.facts import SetupFinished
from runner.ports import Approver, Checks, Clock, Guard, Interrupt, Judge, Model, Tools, Workspace
from runner.pricing.book import Entry
from runner.pricing.cost import Asks
from runner.spec.model import Spec
from runner.state import State


class Texts(Protocol):
    """The words around an iteration, read from where they live now and masked."""

    @property
    def spec_path(self) -> str:
        """The spec's path in the workspace; "" when it is no file there."""
        ...

    def edited_spec(self, state: State) -> str | None:
        """The spec's text if the user changed more than ticks since the run last read it; None otherwise."""
        ...

    def brief(self, state: State) -> Brief:
        """What the next iteration is told besides the state."""
        ...

    def checklist(self, state: State) -> tuple[str, ...]:
        """Items of the checklist that are not ticked now."""
        ...

    def claims(self, message: str) -> bool:
        """Whether a final message claims that everything is done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A model and its price. `asks` is what its requests ask for, `hold_percent` what share of the price is held.

    `asked` is the name by which it was chosen, where that is another than the one its price is known by.
    """

    model: Model
    entry: Entry
    asks: Asks
    hold_percent: int
    asked: str = ""

    @property
    def name(self) -> str:
        """The model as a run records it."""
        return self.asked or self.model.name


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The adapters of one run.

    `engines` are the models it may call, the first unless calls of it fail for good; `prices` is the price book's
    digest. Without a `judge` every sound tool call runs; without an `approver` nobody can be asked here.
    """

    clock: Clock
    engines: tuple[Engine, ...]
    prices: str
    tools: Tools
    workspace: Workspace
    checks: Checks
    guard: Guard
    spec: Spec
    texts: Texts
    conversation: Conversation
    setup: Callable[[Interrupt], SetupFinished]
    backoff_s: Callable[[int], float]
    on_text: Callable[[str], None]
    mask: Callable[[str], str]
    judge: Judge | None = None
    approver: Approver | None = None


def engine(world: World, state: State) -> Engine:
    """The model that is called now."""
    return world.engines[state.engine]
