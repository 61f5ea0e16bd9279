"""One trial: some driver processes, one budget, one provider, and a hand that kills."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from runner.models.recording import Recording
from runner.pricing.cost import affordable_output, cost, worst
from runner.store import ledger
from runner.store.database import Database
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import Period, Scope, ScopeKind, Usage
from tests.soak import spend_driver
from tests.soak.spend_driver import BOOK, MODEL, PROMISE, Job
from tests.soak.spend_truth import odd_exits, stories, sums, violations, wasted

PRICE = BOOK.lookup(MODEL).price
# billed and lost in every way, by answers, drops and silence; a few refusals that are free
FAULTS = (
    Fault.ERROR_500,
    Fault.BARE_502,
    Fault.DROP,
    Fault.DROP_MIDSTREAM,
    Fault.STALL,
    Fault.STALL_MIDSTREAM,
    Fault.NO_USAGE,
    Fault.BAD_USAGE,
    Fault.GARBAGE,
    Fault.ERROR_IN_STREAM,
    Fault.REFUSE_429,
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.soak.spend_driver"])
_PATIENCE_S = 240.0
_AT = 1_700_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trial's figures. `wrong` is empty when every promise held."""

    kind: str
    drivers: str
    processes: int
    seed: str
    limit: int
    billed: int
    spent: int
    unknown: int
    held: int
    requests: int
    dispatched: int
    kills: int
    seconds: float
    wrong: tuple[str, ...]


def open_books(state: Path, limit: int, project: str = "shared") -> None:
    """Make the state directory, with a limit for the project."""
    state.mkdir(parents=True)
    database = Database(state / "runner.db")
    with database.transaction(durable=True) as tx:
        ledger.set_limit(tx, Scope(ScopeKind.PROJECT, project), Period.TOTAL, limit, zone="UTC", at=_AT)
    database.close()


def rough(folder: Path, processes: int, seed: str, *, mutant: str = "") -> Result:
    """Random bills up to the bound, faults and kills, on a budget for a few calls of each process."""
    dice = random.Random(seed)
    job = Job(
        state=folder / "state",
        run="",
        url="",
        idle_s=0.4,
        # what a driver held that died for good stays in everybody's way: the rest park
        budget_wait_ms=2000,
        mutant=mutant,
        max_output=dice.choice((300, 2000, 8000)),
    )
    calls = dice.randint(8, 20) + dice.randint(1, 3) * processes
    limit = calls * worst(PRICE.input, PRICE.output, 600, job.max_output) * 2 // 3
    script = Script(
        seed=dice.randrange(2**31),
        random_usage=True,
        fault_rate=dice.choice((0.1, 0.25, 0.5)),
        fault_kinds=FAULTS,
        delay_s=dice.choice((0.0, 0.005, 0.03)),
    )
    open_books(job.state, limit)
    return _trial(_Plan(kind="rough", processes=processes, seed=seed, job=job, script=script, kills=True, dice=dice))


def clean(folder: Path, processes: int, seed: str, *, mutant: str = "") -> Result:
    """Every reply comes and says what it cost; nobody is killed: the budget is used up."""
    dice = random.Random(seed)
    job = Job(state=folder / "state", run="", url="", mutant=mutant, max_output=dice.choice((300, 2000, 8000)))
    limit = (10 + 3 * processes) * worst(PRICE.input, PRICE.output, 600, job.max_output) // 2
    script = Script(seed=dice.randrange(2**31), random_usage=True, delay_s=dice.choice((0.0, 0.01)))
    open_books(job.state, limit)
    return _trial(_Plan(kind="clean", processes=processes, seed=seed, job=job, script=script, kills=False, dice=dice))


STEPS = 4
ROOM = (3, 2)  # the cap over the true cost
WORST_SHARE = 5  # the worst cases over the cap


def tight_recording(path: Path) -> Recording:
    """A few small replies, the last of which claims to be done."""
    usage = {"input": 200, "output": 500}
    look = [{"name": "list_files", "arguments": {}}]
    lines: list[dict[str, object]] = [{"recording": 1, "model": MODEL}]
    lines += [{"step": step, "text": f"Step {step}.", "tools": look, "usage": usage} for step in range(1, STEPS)]
    lines.append({"step": STEPS, "text": f"All done.\n{PROMISE}", "usage": usage})
    return Recording.parse("".join(json.dumps(line) + "\n" for line in lines), path)


def tight_cap(processes: int) -> int:
    """1.5 times what the runs really cost."""
    true = processes * STEPS * cost(PRICE, Usage(200, 500))
    return true * ROOM[0] // ROOM[1]


def tight_output(processes: int, bound: int, cap: int) -> int:
    """The output limit with which the worst cases of one call each are five times the cap."""
    each = cap * WORST_SHARE // processes
    output = affordable_output(PRICE.dearest_input, PRICE.output, bound, each)
    assert output is not None
    return output + 1


def tight(folder: Path, processes: int, seed: str) -> Result:
    """A cap for 1.5 times the true cost and 0.2 times the worst cases: all runs wait, are clamped, and finish."""
    dice = random.Random(seed)
    output = tight_output(processes, 600, tight_cap(processes))
    job = Job(state=folder / "state", run="", url="", max_output=output, min_output=1024)
    script = Script(recording=tight_recording(folder / "recording"), delay_s=dice.choice((0.0, 0.01, 0.05)))
    open_books(job.state, tight_cap(processes))
    return _trial(_Plan(kind="tight", processes=processes, seed=seed, job=job, script=script, kills=False, dice=dice))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    kind: str
    processes: int
    seed: str
    job: Job
    script: Script
    kills: bool
    dice: random.Random


def _trial(plan: _Plan) -> Result:
    began = time.monotonic()
    state = plan.job.state
    with ScriptedProvider(plan.script) as provider:
        crowd = _Crowd(replace(plan.job, url=provider.url), plan.processes)
        ended = crowd.watch(plan.dice if plan.kills else None)
        billed = list(provider.billed)
    found, told = sums(state, billed), stories(state)
    wrong = violations(state, found, told) + ([] if ended else ["it did not end"])
    if plan.kind == "clean":
        wrong += wasted(found, told)
    expected = {"rough": (3, 75, -9), "clean": (3,), "tight": (0,)}[plan.kind]
    wrong += odd_exits(crowd.exits, expected) + _errors(state)
    if plan.kind == "tight":
        needs = sum(
            worst(PRICE.dearest_input, PRICE.output, one.dispatched[0].input_bound, plan.job.max_output) for one in told
        )
        if needs < WORST_SHARE * found.limit:
            wrong.append(f"the trial is too easy: worst cases {needs}, cap {found.limit}")
    return Result(
        kind=plan.kind if not plan.job.mutant else plan.job.mutant,
        drivers="light",
        processes=plan.processes,
        seed=plan.seed,
        limit=found.limit,
        billed=found.billed,
        spent=found.spent,
        unknown=found.unknown,
        held=found.held,
        requests=found.requests,
        dispatched=found.entries,
        kills=crowd.kills,
        seconds=round(time.monotonic() - began, 2),
        wrong=tuple(wrong),
    )


def _errors(state: Path) -> list[str]:
    return [f"{path.stem}: {path.read_text()[-800:]}" for path in sorted(state.glob("*.error"))]


class _Crowd:
    """Driver processes, each with a run of its own; a killed one is started again on the same run, or stays dead."""

    def __init__(self, job: Job, processes: int) -> None:
        self.exits: list[int] = []
        self.kills = 0
        self._job = job
        self._alive = {f"r{number:02}": self._start(f"r{number:02}") for number in range(processes)}

    def _start(self, run: str) -> BaseProcess:
        process = _CONTEXT.Process(target=spend_driver.main, args=(replace(self._job, run=run),), daemon=True)
        process.start()
        return process

    def watch(self, dice: random.Random | None) -> bool:
        """Wait for the end of every driver, killing now and then; False when they had to be ended."""
        deadline = time.monotonic() + _PATIENCE_S
        left = 0 if dice is None else dice.randint(1, 2 + len(self._alive) // 2)
        gap: Callable[[], float] = (lambda: 0.0) if dice is None else lambda: dice.expovariate(1 / 0.08)
        strike = time.monotonic() + 0.1 + gap()
        while self._alive:
            if time.monotonic() > deadline:
                for process in self._alive.values():
                    process.kill()
                return False
            if dice is not None and left and time.monotonic() >= strike:
                left -= 1
                strike = time.monotonic() + gap()
                self._alive[dice.choice(sorted(self._alive))].kill()
            self._reap(dice)
            time.sleep(0.005)
        return True

    def _reap(self, dice: random.Random | None) -> None:
        for run, process in list(self._alive.items()):
            if process.exitcode is None:
                continue
            self.exits.append(process.exitcode)
            del self._alive[run]
            if process.exitcode == -9:
                self.kills += 1
                # most are started again; what a dead one held stays counted
                if dice is not None and (len(self._alive) < 2 or dice.random() < 0.8):
                    self._alive[run] = self._start(run)
