"""`runner loop` and `runner resume`: drive a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.flags import LimitFlags, RunFlags, ViewFlags, Worktree, spread
from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.plan import Asked
    from runner.cli.driving import View


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("loop")(spread(loop))
    app.command("resume")(spread(resume))


def loop(
    context: typer.Context,
    spec: Annotated[str | None, typer.Argument(help="A Markdown file; `-` reads standard input.")] = None,
    *,
    text: Annotated[str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="A one-line spec.")] = None,
    with_: RunFlags,
    limits: LimitFlags,
    worktree: Worktree = None,
    new: Annotated[bool, typer.Option("--new", help="Abandon the open run of this spec and start one.")] = False,
    require_verified: Annotated[
        bool, typer.Option("--require-verified", help="Refuse a spec without checks (exit 2).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; send nothing.")] = False,
    view: ViewFlags,
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

    asked = _asked(context, with_, limits, spec=spec, text=text, worktree=worktree, require_verified=require_verified)
    shown = _view(view)
    return driving.dry_run(asked, shown) if dry_run else driving.loop(asked, shown, new=new)


def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")] = "last",
    *,
    with_: RunFlags,
    limits: LimitFlags,
    view: ViewFlags,
) -> int:
    """Go on with a run, with other limits if you like.

    No counter starts anew. A run that ended on a budget or limit needs that limit raised.

    Example:
      runner resume last --max-cost 10
    """
    from runner.cli import driving

    return driving.resume(run, _asked(context, with_, limits), _view(view))


def _view(flags: ViewFlags) -> View:
    from runner.cli.driving import View

    as_json = flags.as_json
    return View(quiet=flags.quiet or as_json, as_json=as_json, log_stderr=flags.log_stderr, plain=flags.plain)


def _asked(
    context: typer.Context,
    with_: RunFlags,
    limits: LimitFlags,
    *,
    spec: str | None = None,
    text: str | None = None,
    worktree: bool | None = None,
    require_verified: bool = False,
) -> Asked:
    """Gather what was typed into one value."""
    from runner.app.plan import Asked
    from runner.config import Flags
    from runner.secrets import Keys

    return Asked(
        spec=spec,
        text=text,
        cwd=here(),
        environ=os.environ,
        keys=context.obj if isinstance(context.obj, Keys) else Keys(),
        flags=Flags(
            model=with_.model,
            prices=with_.prices,
            unattended=with_.unattended,
            # nobody can be asked without a terminal; the copy is chosen by --unattended or config alone
            worktree=worktree,
            policy=with_.policy,
            sandbox=with_.sandbox,
        ),
        limits=limits.read(),
        no_budget=limits.no_budget,
        env_file=with_.env_file,
        require_verified=require_verified,
    )
