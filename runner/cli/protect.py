"""`runner protect`: the files the agent must not change, and how they stand."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("protect")(protect)


def protect(
    run: Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")] = "last",
    accept: Annotated[
        str | None, typer.Option("--accept", metavar="PATH", help="Accept this file as it is now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """List a run's protected files, or accept a change of one.

    A file is unchanged, changed by the agent or by somebody else, or accepted. While one of them differs from
    checkpoint 0 the run is not done. A change of yours counts once you accept it; one the agent made cannot be
    accepted. PATH is relative to the workspace.

    Exit codes: 0 fine or accepted, 1 refused, 2 no such run or file.

    Examples:
      runner protect last

      runner protect --accept tests/test_slug.py
    """
    import os

    from runner.app import protecting
    from runner.app.reach import reach

    access, _ = reach(os.environ)
    if accept is not None:
        name, one = protecting.accept(run, accept, access)
        found = [one]
    else:
        name, every = protecting.standings(run, access)
        found = list(every)
    if as_json:
        typer.echo(json.dumps([{"path": one.path, "standing": one.how, "digest": one.digest} for one in found]))
    elif accept is not None:
        typer.echo(f"{accept} is accepted as it is now in run {name}")
        typer.echo("it counts from the next checks on: runner resume, unless the run is going")
    else:
        for one in found:
            typer.echo(f"{one.how:26}{one.path}")
        if any(one.how == protecting.OTHER for one in found):
            typer.echo(f"yours? runner protect {name} --accept PATH")
        if not found:
            typer.echo(f"run {name} has no protected files")
    return 0
