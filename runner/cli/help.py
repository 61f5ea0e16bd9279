"""`runner help`: what `--help` says, for those who ask in this way."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("help")(help_)


def help_(
    command: Annotated[list[str] | None, typer.Argument(help="A command, and one within it; none for all.")] = None,
) -> int:
    """Show the help of a command, as its --help does.

    Examples:
      runner help loop

      runner help budget set
    """
    from runner.cli.helping import rendered
    from runner.cli.pages import page
    from runner.cli.tree import COMMANDS, real, root
    from runner.errors import ConfigError, closest

    if not command:
        typer.echo(rendered(root().page()))
        return 0
    first, *more = command
    if first not in COMMANDS:
        near = closest(first, COMMANDS)
        hint = f"did you mean 'runner help {near}'?" if near else "runner help lists them all"
        raise ConfigError(f"there is no command {first!r}", hint=hint)
    shown = page(real(COMMANDS[first].module, first), (first,))
    for name in more:
        inner = next((one for one in shown.pages if one.words[-1] == name), None)
        if inner is None:
            names = ", ".join(one.words[-1] for one in shown.pages)
            hint = f"it has {names}" if names else f"runner help {' '.join(shown.words)}"
            raise ConfigError(f"`{shown.title}` has no command {name!r}", hint=hint)
        shown = inner
    typer.echo(rendered(shown))
    return 0
