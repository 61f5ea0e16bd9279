"""What `runner spec check FILE` tells: what was understood, the cost at worst, and whether every cap can bind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from runner.errors import ConfigError
from runner.spec.binding import InForce, Price, notes, problems
from runner.spec.fields import SHELL
from runner.spec.model import Check, Spec
from runner.values import Limits, NanoUsd, format_duration, format_usd

__all__ = ["InForce", "Price", "Understood", "understood"]

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_NAMES = ("usd", "tokens", "calls", "iterations", "steps", "duration_s", "deadline", "idle_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A spec as runner reads it. `lines` are for people, `data` for machines; any problem means exit 2."""

    lines: tuple[str, ...]
    data: Mapping[str, Json]
    problems: tuple[ConfigError, ...]
    notes: tuple[str, ...]


def understood(spec: Spec, world: InForce) -> Understood:
    """Everything runner read from `spec`, under the limits in force."""
    found, hints = problems(spec, world), notes(spec, world)
    lines = [*_said(spec), *_limit_lines(world), *_cost_lines(world)]
    lines += [f"note        {hint}" for hint in hints]
    lines += [f"problem     {line}" for problem in found for line in str(problem).splitlines()]
    return Understood(lines=tuple(lines), data=_data(spec, world, found, hints), problems=found, notes=hints)


def worst_run(limits: Limits, price: Price | None) -> NanoUsd | None:
    """The most a run can cost; None when nothing limits it."""
    bounds = [] if limits.usd is None else [limits.usd]
    if price is not None:
        calls = [] if limits.calls is None else [limits.calls]
        if limits.iterations is not None and limits.steps is not None:
            calls.append(limits.iterations * limits.steps)
        bounds += [count * price.worst_call for count in calls]
        if limits.tokens is not None:
            bounds.append(price.call(limits.tokens, 0) if price.input > price.output else price.call(0, limits.tokens))
    return min(bounds, default=None)


def _said(spec: Spec) -> Iterator[str]:
    yield f"spec        {spec.path}: {spec.title}"
    for check in spec.checks:
        yield f"check       {check.name}: {_command(check.argv)} ({_reading(check)})"
    if not spec.checks:
        yield "check       none"
    yield f"target      {spec.target:g}"
    open_items = sum(not item.ticked for item in spec.checklist)
    yield f"checklist   {len(spec.checklist)} items, {open_items} open" if spec.checklist else "checklist   none"
    for glob in spec.protect:
        yield f"protected   {glob}"
    yield "protected   the spec, files named in checks, and the tests as the run finds them"
    for argv in spec.setup:
        yield f"setup       {_command(argv)}"
    if spec.setup_inputs:
        yield f"setup       again when one of these changes: {', '.join(spec.setup_inputs)}"
    for service in spec.services:
        ready = f", ready on port {service.ready_port}" if service.ready_port is not None else ""
        yield f"service     {service.name}: {_command(service.argv)}{ready}"
    if spec.workspace is not None:
        yield f"workspace   {spec.workspace}"
    if spec.model is not None:
        yield f"model       {spec.model}"
    if spec.models:
        yield f"models      {', then '.join(spec.models)}"
    stall = spec.stall.iterations
    yield f"stall       {'never' if stall is None else f'after {stall} iterations without a better score'}"
    yield f"promise     {spec.promise or 'not asked for by the spec'}"
    yield f"false claim {spec.on_false_claim}"


def _limit_lines(world: InForce) -> Iterator[str]:
    for name in _NAMES:
        source = world.sources.get(name)
        yield f"limit       {name.removesuffix('_s')} {_limit(world.limits, name)}{f' ({source})' if source else ''}"


def _cost_lines(world: InForce) -> Iterator[str]:
    if world.price is not None:
        yield f"worst case  one call to {world.price.model}: {format_usd(world.price.worst_call)}"
    worst = worst_run(world.limits, world.price)
    yield f"worst case  the run: {format_usd(worst)}"


def _limit(limits: Limits, name: str) -> str:
    if name == "usd":
        return format_usd(limits.usd)
    if name == "deadline":
        at = limits.deadline
        return "none" if at is None else datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    value = _number(limits, name)
    if value is None:
        return "none"
    return format_duration(value) if name.endswith("_s") else f"{value:,}"


def _number(limits: Limits, name: str) -> int | None:
    values: dict[str, int | None] = {
        "usd": limits.usd,
        "tokens": limits.tokens,
        "calls": limits.calls,
        "iterations": limits.iterations,
        "steps": limits.steps,
        "duration_s": limits.duration_s,
        "deadline": limits.deadline,
        "idle_s": limits.idle_s,
    }
    return values[name]


def _command(argv: tuple[str, ...]) -> str:
    return " ".join((argv[2] if argv[:2] == SHELL and len(argv) == 3 else " ".join(argv)).split())


def _reading(check: Check) -> str:
    match check.parse:
        case "junit":
            how = f"JUnit XML {check.report}"
        case "number":
            how = f"last number of {check.out_of:g}"
        case "tap":
            how = "TAP"
        case _:
            how = "exit code"
    weight = "" if check.weight == 1 else f", weight {check.weight:g}"
    return f"{how}{weight}, at most {format_duration(check.timeout_s)}"


def _data(spec: Spec, world: InForce, found: tuple[ConfigError, ...], hints: tuple[str, ...]) -> dict[str, Json]:
    return {
        "path": spec.path,
        "title": spec.title,
        "checks": [_check_data(check) for check in spec.checks],
        "target": spec.target,
        "checklist": [{"text": item.text, "ticked": item.ticked, "line": item.line} for item in spec.checklist],
        "protect": list(spec.protect),
        "setup": [list(argv) for argv in spec.setup],
        "setup_inputs": list(spec.setup_inputs),
        "services": [{"name": one.name, "argv": list(one.argv), "ready_port": one.ready_port} for one in spec.services],
        "workspace": spec.workspace,
        "model": spec.model,
        "models": list(spec.models),
        "limits": {
            "usd_nano" if name == "usd" else name: {
                "value": _number(world.limits, name),
                "source": world.sources.get(name),
            }
            for name in _NAMES
        },
        "stall_iterations": spec.stall.iterations,
        "promise": spec.promise,
        "on_false_claim": spec.on_false_claim,
        "worst_call_nano_usd": None if world.price is None else world.price.worst_call,
        "worst_run_nano_usd": worst_run(world.limits, world.price),
        "problems": [_problem_data(problem) for problem in found],
        "notes": list(hints),
    }


def _check_data(check: Check) -> dict[str, Json]:
    return {
        "name": check.name,
        "argv": list(check.argv),
        "parse": check.parse,
        "report": check.report or None,
        "out_of": check.out_of,
        "weight": check.weight,
        "timeout_s": check.timeout_s,
        "creates": check.creates,
        "line": check.line,
    }


def _problem_data(problem: ConfigError) -> dict[str, Json]:
    return {
        "path": None if problem.path is None else str(problem.path),
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "hint": problem.hint,
    }
