"""`runner loop` and `runner resume`: drive a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.plan import Asked

_LIMITS = "Limits"
_OUTPUT = "Output"

MaxCost = Annotated[
    str | None,
    typer.Option("--max-cost", "--max-budget-usd", metavar="USD", help="Cap in US dollars.", rich_help_panel=_LIMITS),
]
MaxTokens = Annotated[
    str | None,
    typer.Option("--max-tokens", metavar="N", help="Cap in tokens, input and output.", rich_help_panel=_LIMITS),
]
MaxCalls = Annotated[
    str | None, typer.Option("--max-calls", metavar="N", help="Cap in model calls.", rich_help_panel=_LIMITS)
]
MaxIterations = Annotated[
    str | None,
    typer.Option(
        "--max-iterations", "--max-runs", "-n", metavar="N", help="Cap in iterations.", rich_help_panel=_LIMITS
    ),
]
MaxSteps = Annotated[
    str | None, typer.Option("--max-steps", metavar="N", help="Steps that end an iteration.", rich_help_panel=_LIMITS)
]
MaxDuration = Annotated[
    str | None, typer.Option("--max-duration", metavar="TIME", help="Active time, e.g. 1h30m.", rich_help_panel=_LIMITS)
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", metavar="WHEN", help="Wall time, e.g. 07:00.", rich_help_panel=_LIMITS)
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="openai/NAME, or replay:FILE for a recording.")]
Unattended = Annotated[
    bool | None, typer.Option("--unattended", help="Nobody watches: never ask, never wait for a person.")
]
NoBudget = Annotated[
    bool, typer.Option("--no-budget", help="Lift the built-in and the spec's money cap.", rich_help_panel=_LIMITS)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the end.", rich_help_panel=_OUTPUT)]
Plain = Annotated[bool, typer.Option("--plain", help="Lines instead of the live view (also RUNNER_PLAIN=1).")]
LogStderr = Annotated[
    bool,
    typer.Option("--log-stderr", help="Write each line of the log to standard error too.", rich_help_panel=_OUTPUT),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the run as JSON at the end, nothing else.", rich_help_panel=_OUTPUT)
]
EnvFile = Annotated[
    Path | None, typer.Option("--env-file", metavar="FILE", help="A file of variables to trust wholly.")
]
Prices = Annotated[
    Path | None, typer.Option("--prices", metavar="FILE", help="More prices, TOML (also RUNNER_PRICES).")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("loop")(loop)
    app.command("resume")(resume)


def loop(  # noqa: PLR0917  one parameter per flag is how typer declares them
    context: typer.Context,
    spec: Annotated[str | None, typer.Argument(help="A Markdown file; `-` reads standard input.")] = None,
    text: Annotated[str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="A one-line spec.")] = None,
    model: Model = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    max_calls: MaxCalls = None,
    max_iterations: MaxIterations = None,
    max_steps: MaxSteps = None,
    max_duration: MaxDuration = None,
    deadline: Deadline = None,
    no_budget: NoBudget = False,
    unattended: Unattended = None,
    worktree: Annotated[bool | None, typer.Option("--worktree/--in-place", help="Work in an own copy.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Abandon the open run of this spec and start one.")] = False,
    require_verified: Annotated[
        bool, typer.Option("--require-verified", help="Refuse a spec without checks (exit 2).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; send nothing.")] = False,
    env_file: EnvFile = None,
    prices: Prices = None,
    quiet: Quiet = False,
    plain: Plain = False,
    log_stderr: LogStderr = False,
    as_json: AsJson = False,
) -> int:
    """Run the agent on a spec until its checks say it is done.

    It ends earlier when a limit says stop, or when it gets nowhere.

    Without SPEC: the only one of spec.md, SPEC.md, PROMPT.md, .ralph/PROMPT.md, specs/*.md. An open run of the same
    spec goes on where it stopped.

    Exit codes: 0 done, 1 failed, 2 usage, 3 budget, 4 limit, 5 stalled, 6 false claim, 7 denied, 8 bound violated,
    9 stopped by an operator, 70 a bug in runner, 73 state unwritable, 75 parked or busy, 130 interrupted,
    143 terminated.

    Examples:
      runner loop spec.md --max-cost 2

      runner loop spec.md --unattended --deadline 07:00 -n 50

      runner loop -p "make the tests pass" --model openai/gpt-5-mini
    """
    from runner.cli import driving

    asked = _asked(
        context,
        spec=spec,
        text=text,
        model=model,
        prices=prices,
        unattended=unattended,
        worktree=worktree,
        env_file=env_file,
        no_budget=no_budget,
        require_verified=require_verified,
        limits={
            "usd": max_cost,
            "tokens": max_tokens,
            "calls": max_calls,
            "iterations": max_iterations,
            "steps": max_steps,
            "duration_s": max_duration,
            "deadline": deadline,
        },
    )
    view = driving.View(quiet=quiet or as_json, as_json=as_json, log_stderr=log_stderr, plain=plain)
    return driving.dry_run(asked, view) if dry_run else driving.loop(asked, view, new=new)


def resume(  # noqa: PLR0917  one parameter per flag is how typer declares them
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's id, the end of one, or `last`.")] = "last",
    model: Model = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    max_calls: MaxCalls = None,
    max_iterations: MaxIterations = None,
    max_steps: MaxSteps = None,
    max_duration: MaxDuration = None,
    deadline: Deadline = None,
    no_budget: NoBudget = False,
    unattended: Unattended = None,
    env_file: EnvFile = None,
    prices: Prices = None,
    quiet: Quiet = False,
    plain: Plain = False,
    log_stderr: LogStderr = False,
    as_json: AsJson = False,
) -> int:
    """Go on with a run, with other limits if you like.

    No counter starts anew. A run that ended on a budget or limit needs that limit raised.

    Example:
      runner resume last --max-cost 10
    """
    from runner.cli import driving

    asked = _asked(
        context,
        model=model,
        prices=prices,
        unattended=unattended,
        env_file=env_file,
        no_budget=no_budget,
        limits={
            "usd": max_cost,
            "tokens": max_tokens,
            "calls": max_calls,
            "iterations": max_iterations,
            "steps": max_steps,
            "duration_s": max_duration,
            "deadline": deadline,
        },
    )
    view = driving.View(quiet=quiet or as_json, as_json=as_json, log_stderr=log_stderr, plain=plain)
    return driving.resume(run, asked, view)


def _asked(
    context: typer.Context,
    *,
    limits: dict[str, str | None],
    no_budget: bool,
    model: str | None,
    prices: Path | None,
    unattended: bool | None,
    env_file: Path | None,
    spec: str | None = None,
    text: str | None = None,
    worktree: bool | None = None,
    require_verified: bool = False,
) -> Asked:
    """Gather what was typed into one value."""
    from runner.app.clock import SystemClock
    from runner.app.plan import Asked
    from runner.config import Flags, limit_flag
    from runner.secrets import Keys

    keys = context.obj if isinstance(context.obj, Keys) else Keys()
    now = SystemClock().now()
    return Asked(
        spec=spec,
        text=text,
        cwd=here(),
        environ=os.environ,
        keys=keys,
        flags=Flags(
            model=model,
            prices=prices,
            unattended=unattended,
            # nobody can be asked without a terminal; the copy is chosen by --unattended or config alone
            worktree=worktree,
        ),
        limits={name: limit_flag(name, value, now=now) for name, value in limits.items() if value is not None},
        no_budget=no_budget,
        env_file=env_file,
        require_verified=require_verified,
    )
