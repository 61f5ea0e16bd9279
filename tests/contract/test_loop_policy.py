"""The judge of a run in the loop, on a real store with the real tools: what goes wrong inside is a deny on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runner.app.judge import PolicyJudge
from runner.config import policies
from runner.decide import CallModel, RecoverTool, RunTool, StartIteration
from runner.events import facts
from runner.policy.book import Rulebook
from runner.policy.facts import Facts
from runner.policy.trial import AnyMachine
from runner.secrets import Vault
from runner.tools import BuiltinTools
from runner.values import CallId, Decision, Reply, Ruling, ToolCall
from tests.contract.test_loop import Bench, bench

__all__ = ["bench"]

WRITE: tuple[str, dict[str, object]] = ("write_file", {"path": "a.txt", "content": "x"})


class Odd(str):
    """A path that no matcher can look at."""

    __slots__ = ()

    def startswith(self, *_: object) -> bool:
        raise RuntimeError

    def split(self, *_: object) -> list[str]:
        raise RuntimeError


class Broken(AnyMachine):
    """A machine on which nobody can say where a path leads."""

    def path(self, text: str, cwd: str) -> tuple[str, bool]:
        raise OSError(5, "Input/output error", text, cwd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def judged(bench: Bench, root: Path, tmp_path: Path) -> Callable[..., Bench]:
    """A run whose calls are judged by this rulebook, on this machine."""

    def made(rulebook: Rulebook, around: AnyMachine) -> Bench:
        tools = BuiltinTools(
            root,
            env={},
            artefacts=tmp_path / "artefacts",
            vault=Vault({}),
            spec_path=None,
            tick=lambda _text, _item: None,
            on_tick=lambda _item: None,
        )
        judge = PolicyJudge(rulebook, around, agent=lambda: "builtin m", owner="o (uid 1)", mask=str.upper)
        bench.world = replace(bench.world, tools=tools, judge=judge)
        return bench

    return made


def default() -> Rulebook:
    return policies.load("default", environ={})


def run_all(bench: Bench, *calls: tuple[str, dict[str, object]]) -> list[facts.Event]:
    """Let the model ask for these; what came of each."""
    asked = tuple(ToolCall(f"t{n}", name, json.dumps(arguments)) for n, (name, arguments) in enumerate(calls))
    bench.reply(Reply(text="", tool_calls=asked))
    bench.do(StartIteration(1), CallModel(CallId(1, 1, 1)))
    for call in asked:
        bench.do(RunTool(call))
    return [*bench.events(facts.ToolRefused), *bench.events(facts.ToolStarted)]


def test_what_is_allowed_starts_with_the_decision_that_let_it(judged, root: Path) -> None:
    (started,) = run_all(judged(default(), AnyMachine()), WRITE)
    assert isinstance(started, facts.ToolStarted)
    assert started.decision is not None
    assert (started.decision.ruling, started.decision.owner, started.decision.agent) == (
        Ruling.ALLOW,
        "o (uid 1)",
        "builtin m",
    )
    assert (root / "a.txt").read_text() == "x"


def test_an_exception_while_facts_are_gathered_is_a_deny_on_record(judged, root: Path) -> None:
    (refused,) = run_all(judged(default(), Broken()), WRITE)
    assert isinstance(refused, facts.ToolRefused)
    assert refused.decision is not None
    assert (refused.decision.ruling, refused.decision.rule) == (Ruling.DENY, "builtin:error")
    assert "OSERROR" in refused.decision.reason
    assert not (root / "a.txt").exists()


def test_an_exception_inside_a_matcher_is_a_deny_on_record(judged, root: Path) -> None:
    class OddPlaces(AnyMachine):
        def path(self, text: str, cwd: str) -> tuple[str, bool]:
            return Odd(super().path(text, cwd)[0]), True

    (refused,) = run_all(judged(default(), OddPlaces()), WRITE)
    assert isinstance(refused, facts.ToolRefused)
    assert refused.decision is not None
    assert (refused.decision.ruling, refused.decision.rule) == (Ruling.DENY, "builtin:error")
    assert not (root / "a.txt").exists()


def test_a_write_that_a_dead_driver_began_is_decided_again_before_it_runs(judged, root: Path) -> None:
    def denies(_: Facts) -> Decision:
        return Decision(ruling=Ruling.DENY, rule="meanwhile")

    run = judged(replace(default(), decider=denies), AnyMachine())
    call = ToolCall("t0", WRITE[0], json.dumps(WRITE[1]))
    run.reply(Reply(text="", tool_calls=(call,)))
    run.do(StartIteration(1), CallModel(CallId(1, 1, 1)))
    prepared = run.world.tools.prepare(call)
    assert not isinstance(prepared, str)
    run.recorder.record(facts.StartTool(started=prepared.started))
    run.do(RecoverTool(prepared.started))
    (refused,) = run.events(facts.ToolRefused)
    assert refused.decision.rule == "meanwhile"
    assert not (root / "a.txt").exists()
    assert run.recorder.state.open_tools == {}
