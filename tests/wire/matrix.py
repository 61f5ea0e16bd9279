"""Every adapter through everything a provider does, on its real SDK: `python -m tests.wire.matrix` writes the page.

Each cell is a run of one or two calls against the scripted provider, through a real journal and ledger; what it says is
read from there. A cell that breaks a promise raises.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.decide import RunTool, decide
from runner.events import facts
from runner.loop.perform import perform
from runner.models.outcomes import CODES, TABLES
from runner.models.recording import Recording
from runner.pricing.cost import Asks
from runner.store.database import Database
from runner.testing.provider import Billed, ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import Limits, StopKind
from tests.wire.lab import ADAPTERS, KEY, PLAIN, STANDARD, Adapter, Lab, Sold

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "providers.md"
RECORDING = Recording.parse(
    """\
{"recording": 1, "model": "openai/m"}
{"step": 1, "text": "Let me look at it – now, and with some care.", "tools": [{"name": "list_files", "arguments": {"path": "ä/\\"b\\"\\n"}}, {"name": "list_files"}]}
{"otherwise": true, "text": "Done, as far as I can see."}
""",
    Path("matrix"),
)
PROMPT = "Iteration 1\nDo it, and say what you did."
_BACKOFF_S = 3.0
_REASONED = Sold({**PLAIN.usd, "reasoning": "16"})
_NO_MORE_THAN = 6
"""Nano-dollars by which a settled cost may lie above the bill: each class of tokens is rounded up once."""


class Bench:
    """Where cells are made: one provider, one database, a run for each cell."""

    def __init__(self, folder: Path) -> None:
        self.provider = ScriptedProvider(Script(recording=RECORDING))
        self.database = Database(folder / "runner.db")
        self._runs = 0

    def lab(
        self, adapter: Adapter, script: Script, *, sold: Sold = PLAIN, asks: Asks = STANDARD, thinking: str = "off",
        idle_s: float = 10.0,
    ) -> Lab:  # fmt: skip
        """A run that is about to make its first call."""
        self._runs += 1
        self.provider.script = script
        self.provider.billed.clear()
        self.provider.bodies.clear()
        lab = Lab(
            self.database, self.provider, adapter, f"r{self._runs}", limits=Limits(usd=10**9), sold=sold, asks=asks,
            thinking=thinking, idle_s=idle_s, backoff_s=lambda _: _BACKOFF_S,
        )  # fmt: skip
        # its own words: what the provider kept of another run must not be found again
        lab.begin(PROMPT, system=f"Be good in run {self._runs}. " * 300 if script.cache else "Be good.")
        return lab

    def script(
        self, *faults: Fault | None, random_usage: bool = False, seed: int = 0, cache: bool = False,
        count_ratio: float | None = None,
    ) -> Script:  # fmt: skip
        return Script(
            recording=RECORDING, faults=faults, key=KEY, random_usage=random_usage, seed=seed, cache=cache,
            count_ratio=count_ratio,
        )  # fmt: skip


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench on a disk of memory, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        made = Bench(Path(folder))
        with made.provider:
            yield made
        made.database.close()


def checked(lab: Lab) -> list[Billed]:
    """What the provider saw of a run, after comparing it with the ledger: every request known, none for less."""
    billed, rows = list(lab.provider.billed), lab.rows()
    assert lab.provider.refused == [], lab.provider.refused
    assert len(rows) == len(billed), f"{len(billed)} requests, {len(rows)} calls in the ledger"
    for one, row in zip(billed, rows, strict=True):
        assert one.billed_nano_usd <= row.recorded, f"billed {one.billed_nano_usd}, recorded {row}"
        if row.state == "settled":
            assert row.cost - one.billed_nano_usd <= _NO_MORE_THAN, f"billed {one.billed_nano_usd}, settled {row}"
    return billed


def answered(lab: Lab, calls: int = 1) -> None:
    """Make so many calls; between them every tool the model asked for is answered."""
    for step in range(1, calls + 1):
        lab.call(step)
        while (iteration := lab.state.iteration) is not None and iteration.pending:
            perform(RunTool(iteration.pending[0]), lab.policy, lab.world, lab.recorder)
    billed = checked(lab)
    assert len(billed) == calls
    states = [row.state for row in lab.rows()]
    assert states == ["settled"] * calls, states


def tools(bench: Bench, adapter: Adapter) -> str:
    lab = bench.lab(adapter, bench.script())
    answered(lab, 2)
    first = lab.events(facts.CallSettled)[0].reply
    assert [(call.name, call.arguments) for call in first.tool_calls] == [
        ("list_files", '{"path":"ä/\\"b\\"\\n"}'),
        ("list_files", "{}"),
    ]
    assert [one.step for one in lab.provider.billed] == [1, 2]
    return "settled: calls exact, answered next"


def streaming(bench: Bench, adapter: Adapter) -> str:
    lab = bench.lab(adapter, bench.script())
    answered(lab)
    (settled,) = lab.events(facts.CallSettled)
    assert len(lab.pieces) > 1
    assert "".join(lab.pieces) == settled.reply.text == RECORDING.replies[0].text
    assert b'"stream":true' in lab.provider.bodies[0].replace(b" ", b"")
    return "settled: shown piece by piece"


def thinking(bench: Bench, adapter: Adapter) -> str:
    lab = bench.lab(
        adapter, bench.script(Fault.THINKING, Fault.THINKING, random_usage=True), sold=_REASONED,
        thinking=adapter.thinking,
    )  # fmt: skip
    answered(lab, 2)
    first, second = lab.events(facts.CallSettled)
    billed = lab.provider.billed[0].usage
    assert billed is not None
    assert first.usage.reasoning_tokens == billed.reasoning_tokens > 0
    kept = len(first.reply.opaque)
    if not kept:
        return "settled: counted, not sent back"
    body = lab.provider.bodies[1]
    if not second.reply.opaque:
        # a field of the message with the calls, not a block; without calls nobody asks for it
        (sent,) = (one for one in json.loads(body)["messages"] if one.get("tool_calls"))
        assert [json.loads(one.data).items() <= sent.items() for one in first.reply.opaque] == [True]
        return "settled: sent back with the calls it led to"
    assert len(second.reply.opaque) == kept
    for one in first.reply.opaque:
        assert one.data.encode() in body
    return f"settled: {kept} {'block' if kept == 1 else 'blocks'} sent back byte-equal"


def caching(bench: Bench, adapter: Adapter) -> str:
    written = []
    for life in adapter.lives:
        lab = bench.lab(adapter, bench.script(cache=True, count_ratio=0.25), asks=Asks(cache=life))
        answered(lab, 2)
        first, second = (one.usage for one in lab.events(facts.CallSettled))
        if life == "off":
            assert first.cache_write_tokens == second.cached_tokens == 0
            continue
        assert first.cache_write_tokens > 1000
        # the same prefix is a token more or less of a longer request
        assert second.cached_tokens >= first.cache_write_tokens - 2
        assert first.cache_write_1h_tokens == (first.cache_write_tokens if life == "1h" else 0)
        written.append({"": "", "5m": "5 min", "1h": "1 h"}[life])
    lives = f" ({', '.join(written)})" if any(written) else ""
    return f"settled: writes{lives}, reads"


def usage_fields(bench: Bench, adapter: Adapter) -> str:
    life = adapter.lives[-1]
    lab = bench.lab(
        adapter, bench.script(*[Fault.THINKING] * 4, random_usage=True, seed=4), sold=_REASONED,
        asks=Asks(cache=life), thinking=adapter.thinking,
    )  # fmt: skip
    answered(lab, 4)
    told = [one.usage for one in lab.events(facts.CallSettled)]
    true = [one.usage for one in lab.provider.billed]
    names = {"input_tokens": "input", "output_tokens": "output", "cached_tokens": "cached",
             "cache_write_tokens": "written", "cache_write_1h_tokens": "for 1 h", "reasoning_tokens": "reasoning"}  # fmt: skip
    found = [word for name, word in names.items() if any(getattr(one, name) for one in true)]
    for name in names:
        assert [getattr(one, name) for one in told] == [getattr(one, name) for one in true], name
    return f"settled: {', '.join(found)}"


def refusal(bench: Bench, adapter: Adapter) -> str:
    lab = bench.lab(adapter, bench.script(Fault.REFUSAL))
    answered(lab)
    (settled,) = lab.events(facts.CallSettled)
    assert not settled.reply.tool_calls
    assert not lab.world.texts.claims(settled.reply.text)
    if adapter.name == "litellm":
        # it hands over neither the refusal's words nor that it is one
        assert settled.reply.text == ""
        return "settled: an empty reply, claims nothing"
    assert settled.reply.ending == "refused"
    return "settled: ends the iteration, claims nothing"


def truncation(bench: Bench, adapter: Adapter) -> str:
    lab = bench.lab(adapter, bench.script(Fault.TRUNCATED))
    lab.call()
    checked(lab)
    (settled,) = lab.events(facts.CallSettled)
    assert settled.reply.cut
    assert lab.state.iteration is not None
    assert not lab.state.iteration.pending
    return "settled: its calls never run"


def over(bench: Bench, adapter: Adapter) -> str:
    lab = bench.lab(adapter, bench.script(Fault.OVER))
    lab.call()
    checked(lab)
    assert lab.events(facts.BoundViolated)
    assert lab.drive().kind is StopKind.BOUND_VIOLATED
    assert len(lab.provider.billed) == 1
    return "settled in full: the run ends, exit 8"


def garbage(bench: Bench, adapter: Adapter) -> str:
    if adapter.name != "litellm":
        return _lost(Fault.GARBAGE)(bench, adapter)
    # it goes on behind a piece it cannot read; end and usage must still come
    lab = bench.lab(adapter, bench.script(Fault.GARBAGE))
    answered(lab)
    return "settled: the broken piece is skipped"


def failing(*faults: Fault, idle_s: float = 10.0, expect: str = "") -> Callable[[Bench, Adapter], str]:
    """A column whose requests fail; every one of the faults comes to the same."""

    def cell(bench: Bench, adapter: Adapter) -> str:
        said = {_failed(bench.lab(adapter, bench.script(fault), idle_s=idle_s), expect) for fault in faults}
        assert len(said) == 1, said
        return said.pop()

    return cell


def _failed(lab: Lab, expect: str) -> str:
    lab.call()
    checked(lab)
    (row,) = lab.rows()
    assert row.state == expect, row
    (event,) = lab.events(facts.CallReleased if row.state == "released" else facts.CallUnknown)
    assert event.cause
    wait = event.retry_after_ms
    again = "" if wait is None else ", retried" if wait == _BACKOFF_S * 1000 else ", waits as told"
    assert decide(lab.state, lab.policy, lab.state.at) is not None
    assert len(lab.provider.billed) == 1
    return f"{row.state} ({event.cause}){again}"


def _status(*faults: Fault) -> Callable[[Bench, Adapter], str]:
    return failing(*faults, expect="released")


def _lost(*faults: Fault, idle_s: float = 10.0) -> Callable[[Bench, Adapter], str]:
    return failing(*faults, idle_s=idle_s, expect="unknown")


COLUMNS: Mapping[str, Callable[[Bench, Adapter], str]] = {
    "tools": tools,
    "streaming": streaming,
    "thinking": thinking,
    "caching": caching,
    "usage fields": usage_fields,
    "refusal": refusal,
    "truncation": truncation,
    "time-out before the reply": _lost(Fault.STALL, idle_s=0.25),
    "time-out within it": _lost(Fault.STALL_MIDSTREAM, idle_s=0.25),
    "400": _status(Fault.REFUSE_400),
    "401": _status(Fault.REFUSE_401),
    "402": _status(Fault.REFUSE_402),
    "403": _status(Fault.REFUSE_403),
    "404": _status(Fault.REFUSE_404),
    "413": _status(Fault.REFUSE_413),
    "429 with `retry-after`": _status(Fault.REFUSE_429),
    "429 with reset headers": _status(Fault.RATE_RESET),
    "429 with neither": _status(Fault.RATE_BARE),
    "429 of somebody in between (no error body)": _lost(Fault.BARE_429),
    "500": _lost(Fault.ERROR_500),
    "502 of somebody in between": _lost(Fault.BARE_502),
    "503 of somebody in between": _lost(Fault.BARE_503),
    "529": _status(Fault.REFUSE_529),
    "drop before headers": _lost(Fault.DROP, Fault.DROP_BEFORE),
    "drop mid-stream": _lost(Fault.DROP_MIDSTREAM),
    "error inside the stream": _lost(Fault.ERROR_IN_STREAM),
    "garbage JSON": garbage,
    "usage missing": _lost(Fault.NO_USAGE),
    "usage zero": _lost(Fault.ZERO_USAGE),
    "usage impossible": _lost(Fault.BAD_USAGE),
    "output above the limit sent": over,
}


@dataclass(frozen=True)
class Matrix:
    """Every cell, by column and adapter."""

    cells: Mapping[tuple[str, str], str]

    def table(self) -> str:
        """What providers do down, adapters across."""
        lines = ["| | " + " | ".join(ADAPTERS) + " |", "|---|" + "---|" * len(ADAPTERS)]
        lines += [
            f"| {column} | " + " | ".join(self.cells[column, name] for name in ADAPTERS) + " |" for column in COLUMNS
        ]
        return "\n".join(lines)


def made() -> Matrix:
    """Run every cell."""
    with bench() as here:
        return Matrix({(name, row): cell(here, ADAPTERS[row]) for row in ADAPTERS for name, cell in COLUMNS.items()})


def page(matrix: Matrix) -> str:
    """The whole reference page."""
    return f"""\
# Providers

Made by `python -m tests.wire.matrix` and compared by the tests: do not edit it by hand.

## What each adapter does with what a provider does

Every cell is a real call: the adapter on its real SDK, a scripted provider on loopback that bills by its own arithmetic,
and a real journal and ledger. The word before the colon is the state the call's hold ends in:

- `settled`: the reply came whole with its usage; the exact cost is booked. It is never below what the provider billed.
- `released`: the provider refused before it generated anything, and its error body proves it. The hold is given back.
- `unknown`: nobody can know whether it was billed. The whole hold counts as spent until you reconcile it.

No SDK retries by itself: each of these is one request, and the loop decides whether there is another (*retried*, after
a back-off with jitter; *waits as told*, for as long as the provider's headers say). In brackets is the cause, which
decides what else follows: another model of your list, a handoff to a fresh iteration, or the end of the run.

{matrix.table()}

Images and documents are never sent to a model.

## What a refusal proves

A refusal is `released` where its status stands here as unbilled and its body is the provider's own error. Every other
status, and these without such a body, is `unknown`.

{_outcomes()}

## Codes that say more than their status

{_codes()}
"""


def _outcomes() -> str:
    lines = ["| provider | status | the hold is | another attempt | cause | source |", "|---|---|---|---|---|---|"]
    for provider, rules in TABLES.items():
        for rule in rules:
            state, again = "released" if rule.unbilled else "kept", "yes" if rule.retry else "no"
            lines.append(f"| {provider} | {rule.status} | {state} | {again} | {rule.cause} | {rule.source} |")
    return "\n".join(lines)


def _codes() -> str:
    lines = ["| provider | code or type | another attempt | cause | source |", "|---|---|---|---|---|"]
    for provider, codes in CODES.items():
        for one in codes:
            again = "yes" if one.retry else "no"
            lines.append(f"| {provider} | `{one.code}` | {again} | {one.cause} | {one.source} |")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(made()), "utf-8")
