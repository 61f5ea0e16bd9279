"""`runner spec check`: what runner understands of a spec, before it costs anything."""

from __future__ import annotations

import json
import os
import shlex
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
    found = checked(asked)
    told = found.told
    note = f"no price: {found.no_price}" if found.no_price else ""
    vault = keys.vault()
    if as_json:
        typer.echo(vault.mask(json.dumps({**told.data, "notes": [*told.notes, *filter(None, [note])]})))
    else:
        say(*(vault.mask(line) for line in [*told.lines, *([f"note        {note}"] if note else [])]))
        last = "something is wrong: see `problem`" if told.problems else _next(found.cannot, file, model, prices)
        say(vault.mask(last))
    return 2 if told.problems else 0


def _next(cannot: str, file: str | None, model: str | None, prices: Path | None) -> str:
    """The loop of what was typed, or why there can be none yet."""
    if cannot:
        return f"the spec is sound, but {cannot}"
    words = ["runner", "loop", *([file] if file else [])]
    words += ["--model", model] if model else []
    words += ["--prices", str(prices)] if prices else []
    return f"next: {shlex.join(words)}"
