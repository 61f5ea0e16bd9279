"""Trials with the real command: `python -m runner loop`, in clones of one repository, with everything it does."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.models.recording import Recording
from runner.pricing.cost import cost, worst
from runner.store import ledger
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import Period, Scope, ScopeKind, Usage
from tests.soak import common
from tests.soak.spend_driver import MODEL
from tests.soak.spend_trial import PRICE, ROOM, STEPS, WORST_SHARE, Result, tight_output
from tests.soak.spend_truth import odd_exits, stories, sums, violations

SPEC = f"""\
---
model: {MODEL}
checks: ["test -f done.txt"]
budget: {{usd: none, iterations: none}}
stall: none
---
Write done.txt.
"""
# silence is left out: the command waits five minutes for a reply before it gives up
FAULTS = (Fault.ERROR_500, Fault.DROP, Fault.DROP_MIDSTREAM, Fault.NO_USAGE, Fault.ERROR_IN_STREAM, Fault.REFUSE_503)
_PATIENCE_S = 400.0


def rough(folder: Path, processes: int, seed: str) -> Result:
    """Random bills, faults and kills, as with the light drivers."""
    dice = random.Random(seed)
    script = Script(seed=dice.randrange(2**31), random_usage=True, fault_rate=0.15, fault_kinds=FAULTS, delay_s=0.05)
    limit = (4 + 3 * processes) * worst(PRICE.input, PRICE.output, 8000, 4000)
    case = _Case(kind="rough", processes=processes, seed=seed, limit=limit, max_output=4000, wait="5s")
    return _trial(folder, case, script, dice)


def tight(folder: Path, processes: int, seed: str) -> Result:
    """A cap for 1.5 times the true cost and 0.2 times the worst cases: every run is done."""
    dice = random.Random(seed)
    usage = Usage(1000, 500)
    cap = processes * STEPS * cost(PRICE, usage) * ROOM[0] // ROOM[1]
    output = tight_output(processes, 4000, cap)
    case = _Case(kind="tight", processes=processes, seed=seed, limit=cap, max_output=output, wait="10m")
    return _trial(folder, case, Script(recording=_recording(folder / "recording", usage), delay_s=0.1), dice)


def _recording(path: Path, usage: Usage) -> Recording:
    told = {"input": usage.input_tokens, "output": usage.output_tokens}
    write = {"name": "write_file", "arguments": {"path": "done.txt", "content": "done\n"}}
    lines: list[dict[str, object]] = [{"recording": 1, "model": MODEL}]
    for step in range(1, STEPS):
        tool = write if step == 2 else {"name": "list_files", "arguments": {}}
        lines.append({"step": step, "text": f"Step {step}.", "tools": [tool], "usage": told})
    lines.append({"step": STEPS, "text": "It is there.", "usage": told})
    return Recording.parse("".join(json.dumps(line) + "\n" for line in lines), path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    kind: str
    processes: int
    seed: str
    limit: int
    max_output: int
    wait: str


def _trial(folder: Path, case: _Case, script: Script, dice: random.Random) -> Result:
    began = time.monotonic()
    machine = common.Machine.make(folder / "machine", {"spec.md": SPEC})
    (folder / "config.toml").write_text(
        f'project = "shared"\nmax_output = {case.max_output}\nmin_output = 1024\nbudget_wait = "{case.wait}"\n'
    )
    database = machine.database()
    with database.transaction(durable=True) as tx:
        scope = Scope(ScopeKind.PROJECT, "shared")
        ledger.set_limit(tx, scope, Period.TOTAL, case.limit, zone="UTC", at=time.time_ns() // 1_000_000)
    database.close()
    with ScriptedProvider(script) as provider:
        crowd = _Crowd(machine, provider.url, folder / "config.toml", case.processes)
        ended = crowd.watch(dice if case.kind == "rough" else None)
        billed = list(provider.billed)
    found, told = sums(machine.state, billed), stories(machine.state)
    wrong = violations(machine.state, found, told) + ([] if ended else ["it did not end"])
    wrong += odd_exits(crowd.exits, (3, 75, -9) if case.kind == "rough" else (0,))
    if case.kind == "tight":
        calls = [one.dispatched[0] for one in told if one.dispatched]
        needs = sum(worst(PRICE.dearest_input, PRICE.output, call.input_bound, case.max_output) for call in calls)
        if needs < WORST_SHARE * found.limit:
            wrong.append(f"the trial is too easy: worst cases {needs}, cap {found.limit}")
    if wrong:
        wrong.append(crowd.said())
    return Result(
        kind=case.kind,
        drivers="runner loop",
        processes=case.processes,
        seed=case.seed,
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


class _Crowd:
    """`runner loop` in as many clones; what is killed is started again, or stays dead."""

    def __init__(self, machine: common.Machine, url: str, config: Path, processes: int) -> None:
        self.exits: list[int] = []
        self.kills = 0
        self._cases = [machine.clone(f"c{number:02}") for number in range(processes)]
        self._environ = {case: {**machine.environ(url, case), "RUNNER_CONFIG": str(config)} for case in self._cases}
        self._alive = {case: self._start(case) for case in self._cases}

    def _start(self, case: Path) -> subprocess.Popen[bytes]:
        argv = [*common.RUNNER, "loop", "spec.md", "--unattended", "--in-place"]
        return common.start(argv, cwd=case / "work", env=self._environ[case], output=case / "said")

    def said(self) -> str:
        """The end of what each command printed."""
        return "\n".join((case / "said").read_text()[-400:] for case in self._cases)

    def watch(self, dice: random.Random | None) -> bool:
        """As with the light drivers: wait, and kill now and then."""
        deadline = time.monotonic() + _PATIENCE_S
        left = 0 if dice is None else 1 + len(self._alive) // 3
        gap: Callable[[], float] = (lambda: 0.0) if dice is None else lambda: dice.expovariate(1 / 0.8)
        strike = time.monotonic() + 1.0 + gap()
        while self._alive:
            if time.monotonic() > deadline:
                for process in self._alive.values():
                    common.kill(process)
                return False
            if dice is not None and left and time.monotonic() >= strike:
                left -= 1
                strike = time.monotonic() + gap()
                self._alive[dice.choice(sorted(self._alive))].kill()
            self._reap(dice)
            time.sleep(0.02)
        return True

    def _reap(self, dice: random.Random | None) -> None:
        for case, process in list(self._alive.items()):
            code = process.poll()
            if code is None:
                continue
            self.exits.append(code)
            del self._alive[case]
            if code == -9:
                self.kills += 1
                if dice is not None and (len(self._alive) < 2 or dice.random() < 0.8):
                    self._alive[case] = self._start(case)
