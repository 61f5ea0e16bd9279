"""A driver of one run that costs little to start: everything money passes through is real, the tree is not.

Real are the database, journal, ledger, recorder, lease, `decide` and `loop.run`, the retries, and the HTTP client with
its time-outs. Workspace, tools and checks are still: they do nothing and cost nothing. It is a process of its own,
forked from a server that has imported everything, so that 32 of them start in a second on two cores.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

# loaded once, by the server all drivers are forked from
import openai.resources.chat  # noqa: F401

from runner import loop
from runner.agent.conversation import Conversation
from runner.agent.prompt import Brief
from runner.app.clock import SystemClock
from runner.app.identity import scopes
from runner.app.places import State as Places
from runner.errors import RunnerError
from runner.events.facts import RunCreated, SetupFinished
from runner.loop.world import Engine, World
from runner.models.openai_chat import OpenAIChat
from runner.policy.model import Policy
from runner.ports import Interrupt, Prepared, Snapshot, ToolDefinition, ToolOutcome, Verdict
from runner.pricing.book import Book, hold_percent
from runner.pricing.cost import Asks
from runner.spec.model import Spec
from runner.spec.parse import parse_spec
from runner.state import State
from runner.store import journal
from runner.store.lease import Lease
from runner.store.recorder import JournalRecorder, create_run, open_run, take_over
from runner.values import CheckResult, Limits, ToolCall
from tests.soak.spend_mutants import MUTANTS

MODEL = "openai/gpt-5.4-mini"
PROMISE = "<promise>COMPLETE</promise>"
BOOK = Book.load()
TEXT = "Look around and say what you see."


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one driver is told. The run begins if there is none, else it goes on."""

    state: Path
    run: str
    url: str
    project: str = "shared"
    max_output: int = 2000
    min_output: int = 64
    idle_s: float = 30.0
    budget_wait_ms: int = 600_000
    mutant: str = ""


class StillWorkspace:
    """A tree that never changes."""

    @property
    def root(self) -> Path:
        return Path("/nonexistent")

    def snapshot(self) -> Snapshot:
        return Snapshot(tree="0" * 40)

    def commit(self, snapshot: Snapshot, *, run: str, number: int, parent: str | None, at: int, message: str) -> str:
        return "1" * 40

    def changes(self, old: str, new: str) -> tuple[()]:
        return ()

    def read(self, tree: str, path: str) -> None:
        return None

    def read_many(self, tree: str, paths: Iterable[str]) -> dict[str, bytes]:
        return {}

    def paths(self, tree: str) -> tuple[str, ...]:
        return ()

    def materialise(self, tree: str, into: Path) -> None: ...

    def restore(self, tree: str) -> None: ...


class StillTools:
    """One tool is offered, and every call of it is answered at once."""

    definitions = (ToolDefinition(name="list_files", description="List files.", parameters={"type": "object"}),)

    def prepare(self, call: ToolCall) -> Prepared | str:
        return "there are no files here"

    def recover(self, started: object) -> ToolOutcome:
        return ToolOutcome(text="", ok=False)

    def end_leftovers(self) -> tuple[str, ...]:
        return ()

    def end_iteration(self) -> tuple[str, ...]:
        return ()


class StillChecks:
    """A spec without checks."""

    def run(self, spec: Spec, *, tree: str, base: str, accepted: Mapping[str, str], interrupt: Interrupt) -> Verdict:
        return Verdict(results=tuple[CheckResult, ...](), score=None)


class StillGuard:
    """Nothing is protected."""

    def base(self) -> Mapping[str, str]:
        return {}

    def look(self) -> Mapping[str, str]:
        return {}

    def differing(self) -> tuple[str, ...]:
        return ()


class StillTexts:
    """A spec nobody edits; a message ending in the promise claims to be done."""

    @property
    def spec_path(self) -> str:
        return ""

    def edited_spec(self, state: State) -> None:
        return None

    def brief(self, state: State) -> Brief:
        return Brief(body=f"{TEXT}\n{state.created.run if state.created else ''}")

    def checklist(self, state: State) -> tuple[str, ...]:
        return ()

    def claims(self, message: str) -> bool:
        return message.endswith(PROMISE)


def main(job: Job) -> NoReturn:
    """Drive the run to its end; exit as `runner` does. Never returns."""
    code = 70
    try:
        if job.mutant:
            MUTANTS[job.mutant]()
        code = drive(job)
    except RunnerError as error:
        code = error.exit_code
        _tell(job, str(error))
    except BaseException:  # noqa: BLE001  # whatever it is, the harness has to read it
        _tell(job, traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(code)


def _tell(job: Job, text: str) -> None:
    with (job.state / f"{job.run}.error").open("a") as file:
        file.write(text)


def drive(job: Job) -> int:
    """Create or take over the run, and loop."""
    places = Places(job.state)
    database = places.open()
    if not database.query("SELECT 1 FROM run WHERE id = ?", (job.run,)):
        create_run(database, created(job), SystemClock())
    Lease(places.run(job.run).lease, f"run {job.run}")
    recorder = open_run(database, job.run, SystemClock())
    if (stop := recorder.state.stopped) is not None and not stop.is_open:
        return stop.exit_code
    take_over(recorder, MODEL)
    world = world_of(job, recorder)
    for row in journal.rows(database, job.run):
        if (stamped := journal.known(job.run, row)) is not None:
            world.conversation.apply(stamped.event)
    recorder.listen(lambda stamped, _: world.conversation.apply(stamped.event))
    policy = Policy(
        promise=PROMISE,
        stall_iterations=None,
        min_output=job.min_output,
        max_output=job.max_output,
        max_attempts=1_000_000,
        budget_wait_ms=job.budget_wait_ms,
    )
    return loop.run(recorder, policy, world).exit_code


def created(job: Job) -> RunCreated:
    """The first fact of a run that shares its project's budget and has no limit of its own."""
    return RunCreated(
        run=job.run,
        spec_path="<text>",
        spec_key=job.run,
        spec_text=TEXT,
        workspace="/nonexistent",
        origin="/nonexistent",
        worktree=False,
        model=MODEL,
        prices_digest=BOOK.digest,
        scopes=scopes(run=job.run, spec=job.run, project=job.project, user="harness", model=MODEL),
        limits=Limits(),
    )


def world_of(job: Job, recorder: JournalRecorder) -> World:
    """Real money, a still tree."""
    entry = BOOK.lookup(MODEL)
    tools = StillTools()
    model = OpenAIChat(
        MODEL,
        base_url=job.url,
        api_key=None,
        max_output=entry.max_output,
        tools=tools.definitions,
        timeout_s=60.0,
        idle_s=job.idle_s,
    )
    dice = random.Random(job.run)
    percent = hold_percent(entry, SystemClock().now())
    return World(
        clock=SystemClock(),
        engines=(Engine(model=model, entry=entry, asks=Asks(), hold_percent=percent),),
        prices=BOOK.digest,
        tools=tools,
        workspace=StillWorkspace(),
        checks=StillChecks(),
        guard=StillGuard(),
        spec=parse_spec(TEXT, "<text>", on_path=lambda _: True, now=0),
        texts=StillTexts(),
        conversation=Conversation((model,), (entry,)),
        setup=lambda _: SetupFinished(ok=True),
        backoff_s=lambda attempt: dice.uniform(0.001, 0.02) * min(attempt, 5),
        on_text=lambda _: None,
        mask=lambda text: text,
    )
