"""The command tree. Each command lives in a module of its own and imports its machinery when it runs."""

from __future__ import annotations

import typer

from runner import __version__
from runner.cli import loop
from runner.secrets import Keys

app = typer.Typer(
    name="runner",
    help=(
        "Run an LLM agent against a spec, again and again, under a cap that holds,"
        " until the spec's own checks say it is done.\n\n"
        "Examples:\n\n"
        "  runner init                          write a commented spec.md\n\n"
        "  runner loop spec.md --max-cost 2     work on it, for at most 2 dollars\n\n"
        "  runner runs                          what ran, what it cost, how it ended\n\n"
        "  runner log last --follow             every step of the newest run"
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
loop.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"runner {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),  # noqa: FBT003  typer's way to write a flag
) -> None:
    """Options of every command."""


def command(keys: Keys) -> int:
    """Run the command line; give the exit code. Usage errors are 2."""
    result: object = app(obj=keys, standalone_mode=False)
    return result if isinstance(result, int) else 0
