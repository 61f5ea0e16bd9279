"""`runner apply` and `runner export`: bring a run's work to where its user works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from runner.values import counted

if TYPE_CHECKING:
    from runner.app.applying import Brought


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("apply")(apply)
    app.command("export")(export)


Run = Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")]


def apply(
    run: Run = "last",
    checkpoint: Annotated[str, typer.Option("--checkpoint", "-c", metavar="N", help="A number, or `best`.")] = "last",
    undo: Annotated[bool, typer.Option("--undo", help="Take the newest apply back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> int:
    """Bring what a run did in its own copy into your directory.

    Refused, with every path named, when you changed the same files differently; then nothing is written. Your branch,
    index and commits stay as they are. The printed undo takes it back.

    Exit codes: 0 done, 1 refused or nothing to apply, 2 no such run or checkpoint, 75 another run works there.

    Examples:
      runner apply last

      runner apply last --checkpoint best

      runner apply last --undo
    """
    import os

    from runner.app import applying
    from runner.app.reach import reach
    from runner.errors import ConfigError

    if undo and checkpoint != "last":
        raise ConfigError("--undo takes the newest apply back, whatever it was", hint="leave --checkpoint out")
    access, _ = reach(os.environ)
    brought = applying.undo(run, access) if undo else applying.apply(run, checkpoint, access)
    if as_json:
        changes = [{"path": one.path, "kind": one.kind} for one in brought.changes]
        told = {"run": brought.run, "workspace": brought.root, "checkpoint": brought.checkpoint, "changes": changes}
        typer.echo(json.dumps(told))
    else:
        _say(brought, undo=undo)
    return 0


def _say(brought: Brought, *, undo: bool) -> None:
    if brought.yours:
        names = ", ".join(brought.yours[:10])
        typer.echo(f"applied before, and changed there since, so left alone: {names}; nothing was changed")
        typer.echo(f"look: runner diff {brought.run} 0 last   as a branch: runner export {brought.run}")
        return
    if not brought.changes:
        typer.echo(f"{brought.root} has that already; nothing was changed")
        return
    what = "undone" if undo else f"checkpoint {brought.checkpoint} of run {brought.run} applied"
    typer.echo(f"{what}: {counted(len(brought.changes), 'file')} changed in {brought.root}")
    for one in brought.changes:
        typer.echo(f"  {one.kind:8}{one.path}")
    if brought.best is not None and brought.best != brought.checkpoint:
        typer.echo(f"the best score was at checkpoint {brought.best}: --undo, then --checkpoint best")
    again = "once more applies it again" if undo else "takes this back"
    typer.echo(f"undo: runner apply {brought.run} --undo   ({again})")


def export(
    run: Run = "last",
    force: Annotated[bool, typer.Option("--force", help="Replace the branch when it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the branch as JSON.")] = False,
) -> int:
    """Write a run's checkpoints as a branch of your repository.

    The branch is `runner/RUN`, with a commit for each checkpoint. Only that branch and its objects are added: what is
    checked out, the index and every other branch stay as they are.

    Exit codes: 0 done, 1 refused (no repository, the branch exists, nothing changed), 2 no such run.

    Example:
      runner export last
    """
    import os

    from runner.app.applying import to_branch
    from runner.app.reach import reach

    access, _ = reach(os.environ)
    exported = to_branch(run, access, force=force)
    if as_json:
        told = {"branch": exported.branch, "commit": exported.commit, "notes": list(exported.notes)}
        typer.echo(json.dumps(told))
        return 0
    typer.echo(f"branch {exported.branch} ({exported.commit[:12]})")
    for note in exported.notes:
        typer.echo(f"  note: {note}")
    typer.echo(f"look: git log --stat HEAD..{exported.branch}   git diff HEAD...{exported.branch}")
    typer.echo(f"take: git merge {exported.branch}   forget: git branch -D {exported.branch}")
    return 0
