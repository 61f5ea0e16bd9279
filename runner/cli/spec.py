"""`runner spec check`: what runner understands of a spec, before it costs anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from runner.cli.here import here


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Say what is understood of a spec, and what it may cost.",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.callback()(_specs)
    group.command("check")(check)
    app.add_typer(group, name="spec")


def _specs() -> None:
    """Say what is understood of a spec, and what it may cost."""


def check(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="The spec; `-` reads standard input.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Price it for this model.")] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="More prices, TOML (also RUNNER_PRICES).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything understood as JSON.")] = False,
) -> int:
    """Say what is understood of a spec, and what it may cost.

    That is: what it asks for, which checks judge it, what it costs at worst, and whether every cap can bind. Nothing is
    written or sent, and no key is needed. Without FILE the spec is found as `runner loop` finds it.

    Exit codes: 0 it can run, 2 something is wrong, named with file and line.

    Example:
      runner spec check spec.md --model openai/gpt-5.4
    """
    from runner.app.checking import check as checked
    from runner.app.plan import Asked
    from runner.cli.output import say
    from runner.config import Flags
    from runner.secrets import Keys

    keys = context.obj if isinstance(context.obj, Keys) else Keys()
    asked = Asked(spec=file, cwd=here(), environ=os.environ, keys=keys, flags=Flags(model=model, prices=prices))
    told, no_price = checked(asked)
    note = f"no price: {no_price}" if no_price else ""
    vault = keys.vault()
    if as_json:
        typer.echo(vault.mask(json.dumps({**told.data, "notes": [*told.notes, *filter(None, [note])]})))
    else:
        say(*(vault.mask(line) for line in [*told.lines, *([f"note        {note}"] if note else [])]))
        say("something is wrong: see `problem`" if told.problems else "it can run: runner loop")
    return 2 if told.problems else 0
