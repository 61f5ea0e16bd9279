"""`runner allow-starts`: let runs start again after `runner stop --all`."""

from __future__ import annotations

import os

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("allow-starts")(allow_starts)


def allow_starts() -> int:
    """Let runs start again after `runner stop --all`.

    Who stopped everything, when and why, and who lets it go on, stays on record (`runner audit export`). No run goes on
    by itself: `runner resume RUN` goes on with one that was stopped.

    Example:
      runner allow-starts
    """
    from runner.app import identity, reach
    from runner.app.clock import SystemClock
    from runner.app.places import State
    from runner.config import load
    from runner.store.halted import lift

    settings = load(os.environ)
    found = None
    # where nothing was ever run nothing is made
    if State(settings.state_dir.value.expanduser()).database.exists():
        access = reach.open_state(reach.state_of(settings), settings)
        found = lift(access.database, by=identity.user(), at=SystemClock().now())
    if found is None:
        typer.echo("starts were not blocked: nothing to allow")
    else:
        typer.echo(f"runs may start again; they were stopped by {found.by}{f': {found.why}' if found.why else ''}")
        typer.echo("go on with one that was stopped: runner resume RUN")
    return 0
