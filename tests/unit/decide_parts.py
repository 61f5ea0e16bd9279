"""Facts of one run, and what is decided after them."""

from __future__ import annotations

from typing import Any

from runner import decide as commands
from runner.decide import decide
from runner.events import facts
from runner.policy.model import Policy
from runner.state import State, evolve
from runner.values import (
    CallId,
    CheckResult,
    Limits,
    Reply,
    Scope,
    ScopeKind,
    StopKind,
    ToolCall,
    Usage,
)

CREATED = facts.RunCreated(
    run="r",
    spec_path="/w/spec.md",
    spec_key="k",
    spec_text="# Work",
    workspace="/w",
    origin="/w",
    worktree=False,
    model="m",
    prices_digest="p",
    scopes=(Scope(ScopeKind.RUN, "r"),),
    limits=Limits(usd=10**9, iterations=3, steps=2, duration_s=100),
)
RESUMED = facts.RunResumed(epoch=1, pid=1, boot_id="b")
BASE = facts.CheckpointMade(number=0, commit="c0", tree="t0", reason="as found")
FIRST = facts.IterationStarted(iteration=1, system="s", prompt="p")
CHECKED = Policy(has_checks=True)


def call(step: int = 1, attempt: int = 1) -> CallId:
    return CallId(1, step, attempt)


def sent(step: int = 1, attempt: int = 1) -> facts.CallDispatched:
    return facts.CallDispatched(call=call(step, attempt), model="m", input_bound=10, granted_output=5, hold=100)


def settled(
    *tools: str, step: int = 1, text: str = "", cut: bool = False, ending: str = "", usage: Usage | None = None
) -> facts.CallSettled:
    calls = tuple(ToolCall(name, "write_file", "{}") for name in tools)
    reply = Reply(text=text, tool_calls=calls, cut=cut, ending=ending)
    return facts.CallSettled(call=call(step), usage=usage or Usage(7, 3), cost=40, reply=reply, input_cost=30)


def checked(iteration: int = 1, score: float | None = 1.0, tree: str = "t", **more: Any) -> facts.ChecksFinished:
    results = () if score is None else (CheckResult(name="c", exit_code=int(score < 1), score=score),)
    return facts.ChecksFinished(iteration=iteration, results=results, score=score, tree=tree, **more)


def state_after(*events: facts.Event, at: int = 1_000) -> State:
    state = State()
    for seq, event in enumerate((CREATED, RESUMED, *events), start=1):
        state = evolve(state, event, at, seq)
    return state


def next_after(*events: facts.Event, policy: Policy = CHECKED, at: int = 1_000) -> commands.Command:
    return decide(state_after(*events), policy, at)


def stop_after(*events: facts.Event, policy: Policy = CHECKED, at: int = 1_000) -> StopKind:
    command = next_after(*events, policy=policy, at=at)
    assert isinstance(command, commands.Stop), command
    return command.reason.kind


def one_iteration(number: int, score: float | None, tree: str = "t", *, claimed: bool = False, **more: object):
    return (
        facts.IterationStarted(iteration=number, system="s", prompt="p"),
        facts.IterationFinished(iteration=number, ending="answered", claimed=claimed),
        checked(number, score, tree, **more),
    )


SAME = facts.WorkspaceCompared(tree=BASE.tree)
SHORT = facts.CallRefused(call=call(2), scope="run:r", need=50, headroom=10)
PARKED = facts.RunStopped(kind=StopKind.PARKED, rule="rate_window", detail="later", resume_at=3_001_000)
SECOND = facts.ModelSwitched(model="n", engine=1, reason="x")
