"""Random sequences of everything a provider does, on every adapter's real SDK. `make soak-providers`.

The provider bills by its own arithmetic, in fractions of dollars over list prices drawn for each sequence. After each:
what it billed is at most what the ledger recorded, and that at most the limit, call by call and in all; as many requests
came as attempts are recorded. `rough`: random faults. `clean`: none, and at least 97 % of the cap is used. `busy`: an hour
of nothing but status 529, by an injected clock, uses none of it. `drops`: ten replies cut mid-stream use ten holds.
`over` are the rough ones in which the provider broke its promise to keep the limit it was sent.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from runner.app.build import _backoff_s as backoff_s  # the very one a run waits by
from runner.events import facts
from runner.policy.model import Policy
from runner.pricing.cost import Asks
from runner.store.database import Database
from runner.testing.fakes import FakeClock
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import Limits, StopKind
from tests.wire.lab import ADAPTERS, KEY, Adapter, Lab, Sold

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"
FULL = 10_000
SLOW = frozenset({Fault.STALL, Fault.STALL_MIDSTREAM})
FAST = tuple(fault for fault in Fault if fault not in SLOW)
# of a hundred sequences; a clean one has as many requests as a hundred rough ones
SHARES = {"clean": 1, "busy": 1, "drops": 1}
LEAST_USED = 0.97
MOST_ROUNDED = 8
"""Nano-dollars by which a settled call may lie above its bill: each class of tokens is rounded up once."""
_HOUR_MS = 3_600_000
_CHUNK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One sequence's figures, nano-USD. `wrong` is empty when every promise held."""

    kind: str
    adapter: str
    seed: str
    limit: int
    billed: int
    recorded: int
    requests: int
    faults: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def used(self) -> float:
        return self.recorded / self.limit


@dataclass
class Flying(FakeClock):
    """A clock that flies to the time a run waits for."""

    lab: Lab | None = None

    def now(self) -> int:
        iteration = None if self.lab is None else self.lab.state.iteration
        self.at = max(self.at + self.step_ms, 0 if iteration is None else iteration.retry_at)
        return self.at


class Machine:
    """One provider and one database, for many sequences one after the other."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "runner.db")
        self.provider = ScriptedProvider()
        self._runs = 0

    def lab(self, adapter: Adapter, script: Script, *, limits: Limits, **more) -> Lab:
        """A run that is about to begin; what the provider knew is forgotten."""
        self._runs += 1
        provider = self.provider
        provider.script = script
        for seen in (provider.billed, provider.bodies, provider.counted, provider.refused):
            seen.clear()
        clock = Flying(step_ms=7)
        clock.lab = lab = Lab(
            self.database, provider, adapter, f"r{self._runs}", limits=limits, clock=clock, backoff_s=backoff_s, **more
        )
        return lab


def prices(dice: random.Random) -> Sold:
    """List prices nobody has, to the sixth decimal; tiers that a sequence crosses, services and places of all kinds."""

    def page(times: Fraction) -> dict[str, str]:
        base = {
            "input": Fraction(dice.randint(10_000, 6_000_000), 1_000_000),
            "output": Fraction(dice.randint(100_000, 30_000_000), 1_000_000),
        }
        base["cached"] = base["input"] * dice.randint(1, 10) / 10
        base["write"] = base["input"] * Fraction(dice.choice((1, "1.25", "1.3")))
        base["write_1h"] = base["input"] * 2
        if reasoned:
            base["reasoning"] = base["output"] * dice.choice((1, 2)) / dice.choice((1, 3))
        return {name: f"{int(usd * times * 1_000_000) / 1_000_000:.6f}" for name, usd in base.items()}

    reasoned = dice.random() < 0.3
    first = page(Fraction(1))
    tiers = sorted(dice.sample(range(150, 1500), dice.choice((0, 0, 1, 2))))
    return Sold(
        first,
        above=tuple((tokens, page(Fraction(dice.randint(5, 30), 10))) for tokens in tiers),
        services={"flex": page(Fraction(dice.choice((1, 3)), 2))},
        geo={"us": "1.1"},
    )


def dearest(sold: Sold, input_tokens: int, output_tokens: int) -> int:
    """More than any call of these sizes costs, nano-USD."""
    pages = [sold.usd, *(usd for _, usd in sold.above), *sold.services.values()]
    into = max(Fraction(page[name]) for page in pages for name in ("input", "cached", "write", "write_1h"))
    out = max(Fraction(page.get(name, "0")) for page in pages for name in ("output", "reasoning"))
    place = max(map(Fraction, ("1", *sold.geo.values())))
    return int((into * input_tokens + out * output_tokens) * place * 1000) + 10


def asked(adapter: Adapter, dice: random.Random, most: int) -> dict:
    """What the sequence's requests ask for."""
    thinks = adapter.thinking != "off" and most > 4000 and dice.random() < 0.5
    service = dice.choice(("", "flex")) if adapter.name.startswith("openai") else ""
    geo = dice.choice(("", "us")) if adapter.name == "anthropic" else ""
    asks = Asks(cache=dice.choice(adapter.lives), service=service, geo=geo)
    return {"asks": asks, "thinking": adapter.thinking if thinks else "off"}


def rough(machine: Machine, adapter: Adapter, seed: str) -> Result:
    """Some calls with some faults, on a cap for a few or for many of them."""
    dice = random.Random(seed)
    sold, most = prices(dice), dice.choice((60, 300, 2000, 8000))
    slow = dice.random() < 0.03
    kinds = tuple(dice.sample(FAST, dice.randint(1, 8))) + ((dice.choice(tuple(SLOW)),) if slow else ())
    limit = dearest(sold, 600, most) * dice.randint(2, 30)
    script = Script(
        seed=dice.randrange(2**31), random_usage=True, key=KEY, fault_rate=dice.choice((0.1, 0.3, 0.6)),
        fault_kinds=kinds, cache=dice.random() < 0.3,
        count_ratio=dice.choice((None, 0.2, 0.35)),
    )  # fmt: skip
    lab = machine.lab(
        adapter, script, limits=Limits(usd=limit, calls=dice.randint(5, 15)), sold=sold, max_output=most,
        idle_s=0.15 if slow else 20.0, policy=Policy(max_attempts=20, min_output=dice.choice((1, 50, 1024))),
        **asked(adapter, dice, most),
    )  # fmt: skip
    stop = lab.drive()
    return result("rough", lab, seed, limit, over(lab, stop.kind))


def over(lab: Lab, kind: StopKind) -> list[str]:
    """A provider that breaks its promise is called no more."""
    broken = lab.events(facts.BoundViolated)
    if bool(broken) != (kind is StopKind.BOUND_VIOLATED):
        return [f"{len(broken)} bounds were violated, and the run ended as {kind}"]
    if broken and [one.fault for one in lab.provider.billed][:-1].count("over"):
        return ["it was called again after it had gone over its limit"]
    return []


def clean(machine: Machine, adapter: Adapter, seed: str) -> Result:
    """No faults on a cap of a hundred worst cases and more: hardly anything of it is left."""
    dice = random.Random(seed)
    sold, most = prices(dice), dice.choice((1000, 2000, 4000))
    more = asked(adapter, dice, most)
    # a conversation of four steps, what a provider may add to it, and what blocks it alone can read may weigh
    sealed = 3 * most if adapter.name == "openai responses" else 0
    bound = sealed + 3000
    limit = dearest(sold, bound, most) * dice.randint(100, 120)
    script = Script(seed=dice.randrange(2**31), random_usage=True, key=KEY)
    lab = machine.lab(
        adapter, script, limits=Limits(usd=limit), sold=sold, max_output=most, policy=Policy(min_output=50), **more
    )
    stop = lab.drive()
    wrong = [] if stop.kind is StopKind.BUDGET else [f"it ended as {stop.kind}: {stop.detail}"]
    rows = lab.rows()
    if (largest := max(row.hold for row in rows)) * 100 > limit:
        wrong.append(f"the cap {limit} is not a hundred worst cases of {largest}")
    if (used := sum(row.recorded for row in rows) / limit) < LEAST_USED:
        wrong.append(f"only {used:.2%} of the cap was used")
    return result("clean", lab, seed, limit, wrong)


def busy(machine: Machine, adapter: Adapter, seed: str) -> Result:
    """An hour of status 529: the run is parked in the end, and nothing was spent or held."""
    dice = random.Random(seed)
    sold, limit = prices(dice), 10**9
    script = Script(fault_rate=1.0, fault_kinds=(Fault.REFUSE_529,), key=KEY)
    lab = machine.lab(adapter, script, limits=Limits(usd=limit), sold=sold, policy=Policy(patience_ms=_HOUR_MS))
    begun = lab.clock.at
    stop = lab.drive()
    wrong = []
    if (stop.kind, stop.rule) != (StopKind.PARKED, "overload"):
        wrong.append(f"it ended as {stop.kind}, {stop.rule}: {stop.detail}")
    if (took := lab.clock.at - begun) < _HOUR_MS * 9 // 10:
        wrong.append(f"it gave up after {took} ms")
    if used := sum(row.recorded for row in lab.rows()):
        wrong.append(f"{used} of the cap were used by refusals")
    return result("busy", lab, seed, limit, wrong)


def drops(machine: Machine, adapter: Adapter, seed: str) -> Result:
    """Ten replies cut mid-stream: exactly their ten holds are used, for nobody knows what they were billed."""
    dice = random.Random(seed)
    sold, most = prices(dice), dice.choice((60, 300, 2000))
    limit = dearest(sold, 20_000, most) * 11
    script = Script(
        seed=dice.randrange(2**31), random_usage=True, fault_rate=1.0, fault_kinds=(Fault.DROP_MIDSTREAM,), key=KEY
    )
    lab = machine.lab(
        adapter, script, limits=Limits(usd=limit, calls=10), sold=sold, max_output=most,
        policy=Policy(max_attempts=50, min_output=10),
    )  # fmt: skip
    lab.drive()
    rows = lab.rows()
    wrong = [] if len(rows) == 10 else [f"{len(rows)} calls instead of ten"]
    if any(row.state != "unknown" for row in rows):
        wrong.append(f"calls ended as {[row.state for row in rows]}")
    if lab.state.money.unknown != sum(row.hold for row in rows):
        wrong.append(f"{lab.state.money.unknown} are unknown, {sum(row.hold for row in rows)} were held")
    return result("drops", lab, seed, limit, wrong)


def result(kind: str, lab: Lab, seed: str, limit: int, wrong: list[str]) -> Result:
    """Compare the provider's truth with the ledger."""
    billed, rows, money = list(lab.provider.billed), lab.rows(), lab.state.money
    if lab.provider.refused:
        wrong.append(f"the provider would not read a request: {lab.provider.refused[0]}")
    if len(billed) != len(rows):
        wrong.append(f"{len(billed)} requests came, {len(rows)} attempts are recorded")
    for one, row in zip(billed, rows, strict=False):
        if one.billed_nano_usd > row.recorded:
            wrong.append(f"request {one.number} ({one.fault}): billed {one.billed_nano_usd}, {row}")
        if row.state == "settled" and row.cost - one.billed_nano_usd > MOST_ROUNDED:
            wrong.append(f"request {one.number} ({one.fault}): settled {row.cost}, billed {one.billed_nano_usd}")
        if row.state == "released" and one.billed_nano_usd:
            wrong.append(f"request {one.number} ({one.fault}): released, and billed {one.billed_nano_usd}")
    total, recorded = sum(one.billed_nano_usd for one in billed), sum(row.recorded for row in rows)
    # what a provider bills above its own limit is recorded in full: it is the one thing a cap cannot prevent
    beyond = sum(max(0, row.cost - row.hold) for row in rows)
    if not total <= recorded <= limit + beyond:
        wrong.append(f"billed {total}, recorded {recorded}, limit {limit} and {beyond} beyond it")
    if beyond and not any(one.fault == Fault.OVER for one in billed):
        wrong.append(f"{beyond} above the holds, though the provider kept its limits")
    if (money.spent + money.unknown, money.held) != (recorded, 0):
        wrong.append(f"the journal says {money.spent} spent, {money.unknown} unknown, {money.held} held")
    if any(one.fault == Fault.OVER for one in billed):
        kind = "over"
    return Result(
        kind=kind, adapter=lab.adapter.name, seed=seed, limit=limit, billed=total, recorded=recorded,
        requests=len(billed), faults=tuple(sorted({one.fault for one in billed if one.fault})), wrong=tuple(wrong),
    )  # fmt: skip


KINDS: Mapping[str, Callable[[Machine, Adapter, str], Result]] = {
    "rough": rough, "clean": clean, "busy": busy, "drops": drops,
}  # fmt: skip


def planned(sequences: int, adapters: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Kind, adapter and number of every sequence; at least one of each kind for each adapter."""
    for place, adapter in enumerate(adapters):
        mine = len(range(place, sequences, len(adapters)))
        shares = {kind: max(1, mine * share // 100) for kind, share in SHARES.items()}
        kinds = [kind for kind, share in shares.items() for _ in range(share)]
        for number in range(mine):
            yield kinds[number] if number < len(kinds) else "rough", adapter, number


def run(jobs: Sequence[tuple[str, str, int]], seed: int) -> list[Result]:
    """Run some sequences on a machine of their own."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="soak-providers-") as folder:
        machine = Machine(Path(folder))
        with machine.provider:
            found = [KINDS[kind](machine, ADAPTERS[name], f"{seed}:{kind}:{name}:{n}") for kind, name, n in jobs]
        machine.database.close()
    return found


@dataclass(frozen=True, slots=True)
class Report:
    """What a whole run came to."""

    seed: int
    seconds: int
    results: tuple[Result, ...]

    @property
    def wrong(self) -> list[Result]:
        return [one for one in self.results if one.wrong]

    def table(self) -> str:
        """One line for each kind and adapter."""
        lines = [
            "| sequences | adapter | number | requests | most recorded of the limit | least | billed of recorded | wrong |",
            "|---|---|---|---|---|---|---|---|",
        ]
        groups: dict[tuple[str, str], list[Result]] = {}
        for one in self.results:
            groups.setdefault((one.kind, one.adapter), []).append(one)
        for (kind, adapter), group in groups.items():
            used = [one.used for one in group]
            recorded = sum(one.recorded for one in group)
            share = f"{sum(one.billed for one in group) / recorded:.2%}" if recorded else "nothing of nothing"
            lines.append(
                f"| {kind} | {adapter} | {len(group)} | {sum(one.requests for one in group)} | {max(used):.2%}"
                f" | {min(used):.2%} | {share} | {sum(bool(one.wrong) for one in group)} |"
            )
        return "\n".join(lines)

    def faults(self) -> str:
        """How many sequences met each fault."""
        counts = {fault.value: sum(fault.value in one.faults for one in self.results) for fault in Fault}
        return ", ".join(f"{name} {count}" for name, count in counts.items())

    def write(self, folder: Path) -> None:
        """Leave the evidence: the figures as JSON, and a page to read."""
        folder.mkdir(parents=True, exist_ok=True)
        head = {"commit": _commit(), "seed": self.seed, "sequences": len(self.results), "seconds": self.seconds}
        wrong = [asdict(one) for one in self.wrong]
        text = json.dumps({**head, "green": not wrong, "faults": self.faults(), "wrong": wrong}, indent=1)
        (folder / "providers.json").write_text(text + "\n")
        when = time.strftime("%Y-%m-%d", time.gmtime())
        command = f"python -m tests.soak.providers --sequences {len(self.results)} --seed {self.seed}"
        (folder / "providers.md").write_text(
            f"# Billed, recorded, limit: the last full run\n\n{when}, commit {_commit()}, `{command}`, {self.seconds} s,"
            f" {'RED' if wrong else 'every promise held'}. What the sequences do stands in `tests/soak/providers.py`.\n"
            f"`over` are those in which the provider billed more output than the limit it was sent: that is recorded in"
            f" full, and the run ends.\n\n"
            f"{self.table()}\n\nSequences that met each fault: {self.faults()}.\n"
        )


def _commit() -> str:
    """The commit that was tried, `+` where files differ from it; empty outside a repository."""
    argv = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(argv, cwd=EVIDENCE.parents[1], capture_output=True, text=True, check=False).stdout.strip()


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.providers", description=__doc__)
    parser.add_argument("--sequences", type=int, default=FULL)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--adapters", default=",".join(ADAPTERS), help=f"comma-separated, of {', '.join(ADAPTERS)}")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--evidence", type=Path, help=f"where results go (a full run: {EVIDENCE})")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it all; 0 when every promise held."""
    options = arguments(argv)
    seed: int = options.seed
    print(f"seed {seed}, {options.sequences} sequences", flush=True)
    began = time.monotonic()
    plan = list(planned(options.sequences, options.adapters.split(",")))
    chunks = [plan[start : start + _CHUNK] for start in range(0, len(plan), _CHUNK)]
    results: list[Result] = []
    if options.jobs == 1:
        told: Iterator[list[Result]] = (run(chunk, seed) for chunk in chunks)
        _gather(told, results, len(plan))
    else:
        # not forked: the provider's threads and the SDKs' locks would come along
        with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
            _gather(pool.map(run, chunks, [seed] * len(chunks)), results, len(plan))
    report = Report(seed, round(time.monotonic() - began), tuple(results))
    print(report.table(), report.faults(), sep="\n\n", flush=True)
    target: Path | None = options.evidence
    if target is None and options.sequences >= FULL and options.adapters == ",".join(ADAPTERS):
        target = EVIDENCE
    if target is not None:
        report.write(target)
    return 1 if report.wrong else 0


def _gather(told: Iterator[list[Result]], results: list[Result], planned: int) -> None:
    for chunk in told:
        results += chunk
        for one in chunk:
            if one.wrong:
                print(
                    f"  WRONG {one.kind} {one.adapter}, seed {one.seed}", *(f"    {w}" for w in one.wrong[:3]), sep="\n"
                )
        if len(results) % (20 * _CHUNK) < _CHUNK:
            print(f"  {len(results)} of {planned}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
