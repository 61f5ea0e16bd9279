"""One run that is killed, resumed until it ends, and judged against the same run undisturbed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.events.facts import Event, LogRepaired, RunResumed, WorkspaceChanged
from runner.log import repair
from runner.models.recording import Recording
from runner.pricing.book import Book
from runner.state import State
from runner.store.summary import encoded
from runner.testing.provider import ScriptedProvider, read_ledger
from runner.testing.script import Script
from tests.soak import story
from tests.soak.common import HERE, RUNNER, Machine, kill, leftovers, remove, start, tree

# -P: the runner under test is the one on PYTHONPATH, not one beside this file
KILLER = (RUNNER[0], "-P", str(HERE / "killer.py"))
PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class At:
    """Die by the killer's own hand: `before`, `after` or `torn`, at the `count`-th event this process appends."""

    how: str
    count: int

    def __str__(self) -> str:
        return f"{self.how}:{self.count}"


@dataclass(frozen=True, slots=True)
class After:
    """Be killed from outside, so many seconds after the start."""

    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.3f}s"


@dataclass(frozen=True, slots=True)
class Case:
    """A run and the kills it gets, in order: each start of the command dies at the next one."""

    name: str
    group: str
    kills: tuple[At | After, ...]
    worktree: bool = False

    def __str__(self) -> str:
        return f"{self.name} [{', '.join(map(str, self.kills))}]{' worktree' if self.worktree else ''}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read what `str` gave, to see a case again."""
        name, _, rest = text.partition(" [")
        inside, _, after = rest.partition("]")
        words = [word.strip() for word in inside.split(",") if word.strip()]
        kills = [
            After(float(word.removesuffix("s"))) if ":" not in word else At(how, int(count))
            for word in words
            for how, _, count in [word.partition(":")]
        ]
        return cls(name, "again", tuple(kills), worktree="worktree" in after)


@dataclass(slots=True)
class Result:
    """What a case came to. `heads` are the journal's heads at each death (0: no run yet), `kinds` its events."""

    case: Case
    problems: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    kills: int = 0
    calls: int = 0
    billed: int = 0
    spent: int = 0
    unknown: int = 0
    events: int = 0
    kinds: list[str] = field(default_factory=list)
    resumed: int = 0
    repaired: int = 0
    final_tree: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


class Stage:
    """Where cases run: the machine, the recording, and what the undisturbed run came to."""

    def __init__(self, machine: Machine, *, delay_s: float = 0.02) -> None:
        self.machine = machine
        self.recording = Recording.parse(story.recording(), machine.root / "recording.jsonl")
        self.book = Book.load()
        self.delay_s = delay_s
        self.reference: Result | None = None

    def provider(self, case: Path) -> ScriptedProvider:
        script = Script(recording=self.recording, delay_s=self.delay_s)
        return ScriptedProvider(script, ledger=case / "billed.jsonl", book=self.book)

    def strike(self, case: Case) -> list[Result]:
        """Play a case, and another one with an earlier moment when the run was over before it could be killed."""
        results = [self.play(case)]
        moments = any(isinstance(one, After) for one in case.kills)
        while moments and not (results[-1].kills or results[-1].problems):
            sooner = tuple(After(round(one.seconds * 0.6, 3)) if isinstance(one, After) else one for one in case.kills)
            case = replace(case, name=f"{case.name}-sooner", kills=sooner)
            results.append(self.play(case))
        return results

    def play(self, case: Case, *, keep: bool = False) -> Result:
        """Run one case to its end and judge it. What it leaves is removed unless something is wrong."""
        began = time.monotonic()
        folder = self.machine.clone(case.name)
        result = Result(case)
        with self.provider(folder) as provider:
            play = _Play(self, case, folder, provider, result)
            try:
                play.go()
                play.judge()
            except (subprocess.TimeoutExpired, AssertionError) as error:
                result.problems.append(f"{type(error).__name__}: {error}"[:500])
            finally:
                play.end()
        result.seconds = time.monotonic() - began
        if not result.problems and not keep:
            remove(folder)
        return result


class _Play:
    """One case under way."""

    def __init__(self, stage: Stage, case: Case, folder: Path, provider: ScriptedProvider, result: Result) -> None:
        self.stage, self.case, self.folder, self.provider, self.result = stage, case, folder, provider, result
        self.machine = stage.machine
        self.work = folder / "work"
        self.environ = self.machine.environ(provider.url, folder)
        self.process: subprocess.Popen[bytes] | None = None

    def go(self) -> None:
        """Kill, start again, kill; then let it end."""
        for blow in self.case.kills:
            if self._ended():
                return  # it died after its last event: the same command would begin another run
            died = self._start(blow)
            self._look(died=died)
            if not died:
                self.result.problems += self._ending()
                return
        if not self._ended():
            self._start(None)
            self.result.problems += self._ending()

    def _ending(self) -> Iterator[str]:
        code = self.process.returncode if self.process is not None else None
        if code != 0:
            yield f"exit code {code}, not 0: {self._said()}"

    def _start(self, blow: At | After | None) -> bool:
        """Start the command once; whether it was killed."""
        argv = ["loop", "spec.md", *(["--worktree"] if self.case.worktree else [])]
        program = [*RUNNER, *argv]
        if isinstance(blow, At):
            program = [*KILLER, blow.how, str(blow.count), *argv]
        self.process = start(program, cwd=self.work, env=self.environ, output=self.folder / "said.txt")
        try:
            self.process.wait(blow.seconds if isinstance(blow, After) else PATIENCE_S)
        except subprocess.TimeoutExpired:
            if not isinstance(blow, After):
                raise
        died = kill(self.process) if isinstance(blow, After) else self.process.returncode == -9
        self.result.kills += died
        return died

    def _look(self, *, died: bool) -> None:
        """The invariants of every instant; what was billed is read first, for the ledger must be ahead of it."""
        billed = self.provider.total
        runs = self.machine.runs_of(self.work)
        if not runs:
            self.result.heads += [0] if died else []
            if billed:
                self.result.problems.append(f"{billed} billed before there was a run")
            return
        head, _ = self.machine.head(runs[0])
        if died:
            self.result.heads.append(head)
        money = self.machine.budget("run", runs[0])
        used = money.spent + money.unknown + money.held
        if used < billed:
            self.result.problems.append(f"after event {head}: {billed} billed, {used} counted")
        if money.limit is None or used > money.limit + money.overrun or money.overrun:
            self.result.problems.append(f"after event {head}: {money} is over its limit")

    def _ended(self) -> bool:
        runs = self.machine.runs_of(self.work)
        if not runs:
            return False
        _, summary = self.machine.head(runs[0])
        return '"status":"ended"' in summary

    def judge(self) -> None:
        """Everything that must hold now."""
        runs = self.machine.runs_of(self.work)
        if len(runs) != 1:
            self.result.problems.append(f"{len(runs)} runs instead of one")
            return
        (run,) = runs
        self._look(died=False)
        events = self.machine.events(run)
        state = events[-1][0]
        result = self.result
        result.kinds = [type(event).__name__ for _, event in events]
        result.events, result.calls, result.billed = state.seq, len(self.provider.billed), self.provider.total
        result.resumed = sum(isinstance(event, RunResumed) for _, event in events)
        result.repaired = sum(isinstance(event, LogRepaired) for _, event in events)
        result.spent, result.unknown = state.money.spent, state.money.unknown
        result.final_tree = state.checkpoint.tree if state.checkpoint else ""
        root = Path(state.created.workspace) if state.created else self.work
        result.files = tree(root)
        result.problems += [
            *self._verdict(state),
            *self._money(run, state),
            *_at_every_event(events),
            *self._same_words(),
            *self._against_reference(root),
        ]
        if any(isinstance(event, WorkspaceChanged) for _, event in events):
            result.problems.append("WorkspaceChanged, though nobody else was here")
        if result.resumed > result.kills + 1:
            result.problems.append(f"{result.resumed} drivers after {result.kills} kills")
        result.problems += self._log(run, state)
        result.problems += [f"still running: {one}" for one in leftovers(self.folder, marks(self.machine, run))]

    def _log(self, run: str, state: State) -> Iterator[str]:
        report = self.machine.verify(run)
        if not report.ok and self.result.heads[-1:] == [state.seq] and report.log.result == "tail cut":
            # died after its last event and before the log's last line, and nobody starts it again: `log repair` does
            with self.machine.journal(run) as (rows, head):
                repair(self.machine.log(run), rows, head)
            report = self.machine.verify(run)
        if not report.ok:
            yield f"{report.journal}; {report.log}"

    def _verdict(self, state: State) -> Iterator[str]:
        if state.stopped is None or not state.stopped.verified or state.stopped.exit_code != 0:
            yield f"ended with {state.stopped}"
        _, stored = self.machine.head(state.created.run if state.created else "")
        if stored != encoded(state):
            yield f"the summary its driver wrote is {stored}, its facts say {encoded(state)}"
        if state.open_calls or state.open_tools or state.dirty or state.must_compare:
            yield "something is still open"

    def _money(self, run: str, state: State) -> Iterator[str]:
        money, mine = self.machine.budget("run", run), state.money
        if (money.spent, money.unknown, money.held) != (mine.spent, mine.unknown, mine.held) or money.held:
            yield f"the ledger says {money}, the state {mine}"
        written = sum(int(str(line["billed_nano_usd"])) for line in read_ledger(self.folder / "billed.jsonl"))
        if not self.provider.total == written <= money.spent + money.unknown:
            yield f"{written} billed, {money.spent} spent and {money.unknown} unknown"
        if len(self.provider.billed) > mine.calls:
            yield f"the provider got {len(self.provider.billed)} requests, {mine.calls} were dispatched"

    def _same_words(self) -> Iterator[str]:
        """A request that is made again, by whichever driver, is the same to the byte."""
        first: dict[tuple[int, int], bytes] = {}
        for entry, body in zip(self.provider.billed, self.provider.bodies, strict=True):
            if first.setdefault((entry.iteration, entry.step), body) != body:
                yield f"iteration {entry.iteration}, step {entry.step} was asked twice, in different words"

    def _against_reference(self, root: Path) -> Iterator[str]:
        reference = self.stage.reference
        if reference is None:
            return
        result = self.result
        if result.final_tree != reference.final_tree:
            yield f"final tree {result.final_tree}, not {reference.final_tree}"
        if result.files != reference.files:
            paths = {*result.files, *reference.files}
            yield f"files differ: {sorted(one for one in paths if result.files.get(one) != reference.files.get(one))}"
        if result.calls > reference.calls + result.kills:
            yield f"{result.calls} calls; undisturbed {reference.calls}, and {result.kills} kills"

    def _said(self) -> str:
        return (self.folder / "said.txt").read_text("utf-8", "replace")[-600:]

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.process is not None and self.process.poll() is None:
            kill(self.process)


def marks(machine: Machine, run: str) -> tuple[str, str]:
    """How the keepers and commands of a run are known."""
    artefacts = machine.state / "runs" / run / "artefacts"
    tag = hashlib.sha256(os.fsencode(artefacts.resolve())).hexdigest()[:16]
    return (f"RUNNER_KEEPER={tag}", f"RUNNER_TOOL={tag}")


def _at_every_event(events: list[tuple[State, Event]]) -> Iterator[str]:
    """No counter goes down, whatever happened in between, and the cap holds at every instant."""
    before: tuple[int, ...] = ()
    for state, event in events:
        money, limit = state.money, state.limits.usd
        if limit is None or money.spent + money.unknown + money.held > limit:
            yield f"over the limit at event {state.seq}, {type(event).__name__}: {money}"
        now = (state.iterations, state.steps, money.calls, money.tokens, len(state.scored), money.spent, money.unknown)
        if any(new < old for new, old in zip(now, before, strict=False)):
            yield f"a counter went down at event {state.seq}, {type(event).__name__}: {before} -> {now}"
        before = now
