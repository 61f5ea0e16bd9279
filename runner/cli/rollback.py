"""`runner rollback`: set a run's workspace back to a checkpoint."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("rollback")(rollback)


def rollback(
    run: Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")],
    to: Annotated[str, typer.Argument(metavar="N", help="A checkpoint's number, `best` or `last`.")],
    force: Annotated[bool, typer.Option("--force", help="Also over changes somebody else made; kept first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> int:
    """Set a run's workspace back to a checkpoint, byte by byte.

    What is there is kept first. Refused when somebody else changed a file since the run's last checkpoint (they are
    named), and while the run is driven. A run with its own working copy is rolled back there. The printed undo brings
    everything forward again.

    Exit codes: 0 done, 1 refused, 2 no such run or checkpoint, 75 the run or its workspace is busy.

    Examples:
      runner rollback last best

      runner rollback 20261122-0904 3
    """
    import os

    from runner.app.reach import reach
    from runner.app.rolling import roll_back

    access, _ = reach(os.environ)
    back = roll_back(run, to, access, force=force)
    if as_json:
        changes = [{"path": one.path, "kind": one.kind} for one in back.changes]
        told = {"run": back.run, "workspace": back.root, "to": back.to, "undo": back.undo, "changes": changes}
        typer.echo(json.dumps(told))
        return 0
    if not back.changes:
        typer.echo(f"{back.root} is as checkpoint {back.to} has it; nothing was changed")
        return 0
    from runner.values import counted

    changed = counted(len(back.changes), "file")
    typer.echo(f"{back.root} is back at checkpoint {back.to} of run {back.run}: {changed} changed")
    for one in back.changes[:20]:
        typer.echo(f"  {one.kind:8}{one.path}")
    if len(back.changes) > 20:
        typer.echo(f"  and {len(back.changes) - 20} more: runner diff {back.run} {back.undo} {back.to}")
    typer.echo(f"undo: runner rollback {back.run} {back.undo}")
    return 0
