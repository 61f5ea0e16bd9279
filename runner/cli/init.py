"""`runner init`: a first spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("init")(init)


def init(file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("spec.md")) -> int:
    """Write a commented spec to begin with.

    A file that is there already is never touched.

    Example:
      runner init docs/next.md
    """
    from runner.errors import ConfigError, RefusedError
    from runner.spec.starter import starter

    try:
        # "x" makes the file or fails: there is no moment in which another one could be overwritten
        with file.open("x", encoding="utf-8") as spec:
            spec.write(starter())
    except FileExistsError:
        raise RefusedError(f"{file} is there already; nothing was written", hint="runner init OTHER.md") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}", hint="choose another place") from error
    typer.echo(f"wrote {file}")
    typer.echo(f"next: edit it, then  runner spec check {file}   and  runner loop {file} --max-cost 2")
    return 0
