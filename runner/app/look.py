"""Look at runs without touching them: nothing here writes, takes a lease or needs a driver to stand still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner import config
from runner.app.goon import resume_command
from runner.app.places import State
from runner.errors import ConfigError, NotFoundError, StateError
from runner.events.facts import CallSettled, CheckpointMade, ChecksFinished, Warned
from runner.policy.model import Policy
from runner.policy.rules import missing
from runner.state import Scored, evolve, pass_over
from runner.state import State as RunState
from runner.store import journal
from runner.store.database import Database
from runner.store.journal import RunRow
from runner.store.lease import holder_of, is_held
from runner.store.summary import summary
from runner.values import Ms, NanoUsd, StopKind, StopReason


@dataclass(frozen=True, slots=True)
class Look:
    """The state directory, open for reading."""

    state: State
    database: Database

    def find(self, name: str) -> RunRow:
        """The run called `name`: an id, the beginning or end of one, or `last`. Raises NotFoundError."""
        return journal.find_run(self.database, name)

    def driver(self, run: str) -> int | None:
        """The process that drives a run now; None when nobody does (0: it has not said who it is)."""
        lease = self.state.run(run).lease
        return (holder_of(lease) or 0) if is_held(lease) else None


def state_of(environ: Mapping[str, str]) -> State:
    """Where the state directory is, or would be; it is not made. Raises ConfigError for a broken user's file."""
    return State(config.load(environ).state_dir.value.expanduser().absolute())


def look(environ: Mapping[str, str]) -> Look | None:
    """Open what is there for reading; None where nothing was ever run."""
    state = state_of(environ)
    if not state.database.exists():
        if state.root.exists() and not state.root.is_dir():
            msg = f"the state directory {state.root} is no directory"
            raise StateError(msg, hint="name another one: RUNNER_STATE_DIR=/path, or state_dir in the configuration")
        return None
    return Look(state, Database(state.database, read_only=True))


def look_or_refuse(environ: Mapping[str, str]) -> Look:
    """As `look`; NotFoundError (exit 2) where nothing was ever run."""
    if (found := look(environ)) is None:
        msg = f"nothing was ever run: there is no state database in {state_of(environ).root}"
        raise NotFoundError(msg, hint="runner loop SPEC starts a run; RUNNER_STATE_DIR names another state directory")
    return found


def listed(found: Look) -> Iterator[dict[str, object]]:
    """Every run in documented fields, newest first, as its driver last left it."""
    for row in journal.runs(found.database):
        yield with_driver(row.summary, row, found.driver(row.id))


def with_driver(document: Mapping[str, object], row: RunRow, driver: int | None) -> dict[str, object]:
    """Say of a run whether somebody drives it; `running` in a journal nobody writes is a run that crashed."""
    status = document.get("status")
    if status != "ended":
        status = "open" if driver is None else "running"
    return {**document, "status": status, "driver": driver, "created_at_ms": row.created_at}


# ---- one run ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A checkpoint: `at` is when it was made, `score` what was scored there, if something was."""

    made: CheckpointMade
    at: Ms
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """An iteration as a row of a table. `cost` counts unknown calls at their full hold; `scored` None = under way."""

    iteration: int
    steps: int
    cost: NanoUsd
    scored: Scored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything the journal says of a run, read once from its beginning."""

    row: RunRow
    driver: int | None
    state: RunState
    points: tuple[Point, ...]
    rounds: tuple[Round, ...]
    warnings: tuple[str, ...]

    @property
    def run(self) -> str:
        return self.row.id

    @property
    def workspace(self) -> Path:
        """Where the run works, as its checkpoints are filed under."""
        created = self.state.created
        return Path(created.workspace if created else self.row.workspace).resolve()

    def point(self, word: str) -> Point:
        """The checkpoint a number, `last` or `best` names. Raises NotFoundError."""
        wanted: int | None = None
        if word == "last":
            wanted = self.state.checkpoint.number if self.state.checkpoint else None
        elif word == "best":
            wanted = self.state.best.checkpoint if self.state.best else None
        elif word.isdecimal():
            wanted = int(word)
        for one in self.points:
            if one.made.number == wanted:
                return one
        msg = f"run {self.run} has no checkpoint {word!r}"
        raise NotFoundError(msg, hint=f"a number of `runner checkpoints {self.run}`, or `last`, or `best`")


def picture(found: Look, name: str) -> Picture:
    """Fold a run's journal. Raises NotFoundError when there is no such run, StateError when an event is damaged."""
    with found.database.snapshot():
        row = found.find(name)
        stored = journal.rows(found.database, row.id)
    state, points, notes = RunState(), list[Point](), list[str]()
    steps: Counter[int] = Counter()
    for one in stored:
        stamped = journal.known(row.id, one)
        if stamped is None:
            state = pass_over(state, one.seq)
            continue
        state = evolve(state, stamped.event, one.at, one.seq)
        match stamped.event:
            case CheckpointMade() as made:
                points.append(Point(made=made, at=one.at))
            case ChecksFinished(score=float() as score) if points:
                points[-1] = replace(points[-1], score=score)
            case CallSettled(call=call):
                steps[call.iteration] += 1
            case Warned(text=text):
                notes.append(text)
            case _:
                pass
    return Picture(
        row=row,
        driver=found.driver(row.id),
        state=state,
        points=tuple(points),
        rounds=tuple(_rounds(state, steps)),
        warnings=tuple(notes),
    )


def _rounds(state: RunState, steps: Mapping[int, int]) -> Iterator[Round]:
    before = 0
    for one in state.scored:
        yield Round(iteration=one.iteration, steps=steps.get(one.iteration, 0), cost=one.spent - before, scored=one)
        before = one.spent
    last = state.scored[-1].iteration if state.scored else 0
    if state.iterations > last:
        cost = state.money.spent + state.money.unknown - before
        yield Round(iteration=state.iterations, steps=steps.get(state.iterations, 0), cost=cost, scored=None)


def gaps(found: Picture) -> tuple[str, ...]:
    """What keeps the run from being done, in words; empty when it is done."""
    state = found.state
    if state.stopped is not None and state.stopped.kind is StopKind.DONE:
        return ()
    if not state.scored or state.created is None:
        return ("no iteration was scored yet",)
    return missing(state.scored[-1], _policy(state))


def _policy(state: RunState) -> Policy:
    from runner.spec.model import DEFAULT_PROMISE
    from runner.spec.parse import parse_spec

    has_checks = state.scored[-1].score is not None
    if state.created is None or not state.created.spec_text.startswith("---"):
        return Policy(has_checks=has_checks, promise=None if has_checks else DEFAULT_PROMISE)
    try:
        spec = parse_spec(state.created.spec_text, state.created.spec_path, on_path=lambda _: True, now=state.at)
    except ConfigError:
        # a value of the front matter was a secret and is masked: the rest still tells
        return Policy(has_checks=has_checks)
    return Policy(
        has_checks=bool(spec.checks),
        target=spec.target,
        promise=spec.promise if spec.checks else spec.promise or DEFAULT_PROMISE,
    )


def next_command(found: Picture) -> str:
    """The command that goes on with the run, or looks at what came of it."""
    run, stop = found.run, found.state.stopped
    if found.driver is not None:
        return f"runner watch {run}"
    match stop:
        case StopReason(kind=StopKind.DONE):
            copied = found.state.created is not None and found.state.created.worktree
            return f"runner apply {run}" if copied else f"runner diff {run} 0 last"
        case StopReason(kind=StopKind.ABANDONED) | StopReason(kind=StopKind.BOUND_VIOLATED):
            return f"runner log {run}"
        case None:
            return f"runner resume {run}"
        case _:
            return resume_command(run, stop, found.state)


_LIMITS = (
    ("usd", "nano_usd"), ("tokens", "tokens"), ("calls", "calls"), ("iterations", "iterations"), ("steps", "steps"),
    ("duration_s", "duration_s"), ("deadline", "deadline_ms"), ("idle_s", "idle_s"),
)  # fmt: skip


def limits(state: RunState) -> dict[str, dict[str, object]]:
    """Each limit with who stated it; null is unlimited."""
    return {
        shown: {"value": getattr(state.limits, name), "source": state.limit_sources.get(name, "built-in")}
        for name, shown in _LIMITS
    }


def document(found: Picture) -> dict[str, object]:
    """The run in the documented fields of `runner show --json`."""
    state = found.state
    return {
        **with_driver(summary(state), found.row, found.driver),
        "origin": found.row.workspace,
        "worktree": state.created is not None and state.created.worktree,
        "limits": limits(state),
        "history": [_round(one) for one in found.rounds],
        "checks": [
            {"name": one.name, "exit_code": one.exit_code, "score": one.score, "passed": one.passed,
             "total": one.total, "failures": list(one.failures)}
            for one in (state.checks.results if state.checks else ())
        ],
        "sandbox": state.checks.sandbox if state.checks else "",
        "missing": list(gaps(found)),
        "warnings": list(found.warnings),
        "next": next_command(found),
    }  # fmt: skip


def _round(one: Round) -> dict[str, object]:
    scored = one.scored
    return {
        "iteration": one.iteration,
        "steps": one.steps,
        "cost_nano_usd": one.cost,
        "score": scored.score if scored else None,
        "claimed": scored.claimed if scored else None,
        "checkpoint": scored.checkpoint if scored else None,
    }
