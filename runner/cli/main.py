"""The command line as a whole. Commands are listed in `tree`, each in a module that is imported when it is typed."""

from __future__ import annotations

import sys

import typer

from runner import __version__
from runner.cli.tree import Tree
from runner.secrets import Keys

app = typer.Typer(
    name="runner",
    cls=Tree,
    help=(
        "Run an LLM agent against a spec, again and again, under a cap that holds,"
        " until the spec's own checks say it is done.\n\n"
        "`runner help COMMAND` says more of a command.\n\n"
        "Examples:\n\n"
        "  runner init                        write a commented spec.md\n\n"
        "  runner loop spec.md --max-cost 2   work on it, for at most 2 dollars\n\n"
        "  runner runs                        what ran, what it cost, how it ended\n\n"
        "  runner show last                   the newest run, and how to go on"
    ),
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"runner {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),  # noqa: ARG001, FBT003  typer's way to write a flag
) -> None:
    """Options of every command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def command(keys: Keys) -> int:
    """Run the command line; give the exit code. Raises ConfigError (exit 2) for what cannot be understood."""
    try:
        result: object = app(obj=keys, standalone_mode=False)
    except typer.TyperException as error:
        if error.__class__.__name__ == "NoArgsIsHelpError":  # a group named alone: its help, as `runner` alone gives
            typer.echo(error.format_message())
            return 2
        from runner.cli.usage import explained

        raise explained(error, sys.argv[1:]) from error
    except typer.Abort:
        return 130
    except SystemExit as error:
        raise BrokenPipeError from error  # what typer makes of a closed standard output
    return result if isinstance(result, int) else 0
