"""Flags that several commands take: declared once, as the fields of a value, and spread over a command's parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

_LIMITS = "Limits"
_OUTPUT = "Output"

Model = Annotated[str | None, typer.Option("--model", "-m", help="openai/NAME, or replay:FILE for a recording.")]
EnvFile = Annotated[
    Path | None, typer.Option("--env-file", metavar="FILE", help="A file of variables to trust wholly.")
]
Prices = Annotated[
    Path | None, typer.Option("--prices", metavar="FILE", help="More prices, TOML (also RUNNER_PRICES).")
]
Worktree = Annotated[bool | None, typer.Option("--worktree/--in-place", help="Work in an own copy.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """What a run works with."""

    model: Model = None
    unattended: Annotated[
        bool | None, typer.Option("--unattended", help="Never ask; work in a copy (--in-place: here).")
    ] = None
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="NAME", help="A policy by name, or a file (also RUNNER_POLICY).")
    ] = None
    sandbox: Annotated[
        str | None, typer.Option("--sandbox", metavar="KIND", help="auto, bubblewrap, landlock or none.")
    ] = None
    env_file: EnvFile = None
    prices: Prices = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFlags:
    """What a run may use, as typed."""

    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost", "--max-budget-usd", metavar="USD", help="Cap in US dollars.", rich_help_panel=_LIMITS
        ),
    ] = None
    max_tokens: Annotated[
        str | None,
        typer.Option("--max-tokens", metavar="N", help="Cap in tokens, input and output.", rich_help_panel=_LIMITS),
    ] = None
    max_calls: Annotated[
        str | None, typer.Option("--max-calls", metavar="N", help="Cap in model calls.", rich_help_panel=_LIMITS)
    ] = None
    max_iterations: Annotated[
        str | None,
        typer.Option(
            "--max-iterations", "--max-runs", "-n", metavar="N", help="Cap in iterations.", rich_help_panel=_LIMITS
        ),
    ] = None
    max_steps: Annotated[
        str | None,
        typer.Option("--max-steps", metavar="N", help="Steps that end an iteration.", rich_help_panel=_LIMITS),
    ] = None
    max_duration: Annotated[
        str | None,
        typer.Option("--max-duration", metavar="TIME", help="Active time, e.g. 1h30m.", rich_help_panel=_LIMITS),
    ] = None
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="WHEN", help="Wall time, e.g. 07:00.", rich_help_panel=_LIMITS)
    ] = None
    no_budget: Annotated[
        bool, typer.Option("--no-budget", help="Lift the built-in and the spec's money cap.", rich_help_panel=_LIMITS)
    ] = False

    def read(self) -> dict[str, int | None]:
        """Read those that were given, by limit; None is unlimited. Raises ConfigError for one that cannot be meant."""
        from runner.app.clock import SystemClock
        from runner.config import limit_flag

        typed = {
            "usd": self.max_cost,
            "tokens": self.max_tokens,
            "calls": self.max_calls,
            "iterations": self.max_iterations,
            "steps": self.max_steps,
            "duration_s": self.max_duration,
            "deadline": self.deadline,
        }
        now = SystemClock().now()
        return {name: limit_flag(name, value, now=now) for name, value in typed.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFlags:
    """How much of a run is shown."""

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only warnings and the end.", rich_help_panel=_OUTPUT)
    ] = False
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Lines instead of the live view (also RUNNER_PLAIN=1).", rich_help_panel=_OUTPUT),
    ] = False
    log_stderr: Annotated[
        bool,
        typer.Option("--log-stderr", help="Write each line of the log to standard error too.", rich_help_panel=_OUTPUT),
    ] = False
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run as JSON at the end, nothing else.", rich_help_panel=_OUTPUT)
    ] = False


def spread(command: Callable[..., int]) -> Callable[..., int]:
    """Give typer a command with a parameter for each field of the values above, where `command` takes the values."""
    signature = inspect.signature(command, eval_str=True)
    # annotations are of any kind
    kinds: dict[str, Any] = {name: one.annotation for name, one in signature.parameters.items()}
    values = {name: kind for name, kind in kinds.items() if hasattr(kind, "__dataclass_fields__")}
    parameters: list[inspect.Parameter] = []
    for name, one in signature.parameters.items():
        parameters += _fields(values[name]) if name in values else [one.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

    @functools.wraps(command)
    # typer calls with what it read, by name
    def typed(**words: Any) -> int:  # noqa: ANN401  as above
        for name, value in values.items():
            words[name] = value(**{field.name: words.pop(field.name) for field in dataclasses.fields(value)})
        return command(**words)

    # where typer looks for parameters and their types
    setattr(typed, "__signature__", signature.replace(parameters=parameters))  # noqa: B010  functions do not declare it
    typed.__annotations__ = {one.name: one.annotation for one in parameters}
    return typed


# a value's class, of any kind
def _fields(value: Any) -> Iterator[inspect.Parameter]:  # noqa: ANN401  as above
    hints = get_type_hints(value, include_extras=True)
    for field in dataclasses.fields(value):
        kind = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])
