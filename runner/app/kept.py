"""What a run's checkpoints hold, read with git alone: no lock, no snapshot, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.app.look import Look, Picture, Point
from runner.errors import NotFoundError
from runner.ports import Change
from runner.workspace.beneath import show
from runner.workspace.git import Git
from runner.workspace.shadow import ShadowWorkspace

_KINDS = {"A": "added", "D": "deleted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint with what changed since the one before it."""

    point: Point
    changed: tuple[Change, ...]


def kept(found: Look, run: Picture) -> Iterator[Kept]:
    """Every checkpoint of a run in order; of the first, nothing changed."""
    git = _git(found, run)
    before: str | None = None
    for point in run.points:
        tree = point.made.tree
        yield Kept(point=point, changed=() if before in {None, tree} else _changes(git, before or "", tree))
        before = tree


def changes(found: Look, run: Picture, old: Point, new: Point) -> tuple[Change, ...]:
    """Which paths differ between two checkpoints, sorted."""
    return _changes(_git(found, run), old.made.tree, new.made.tree)


def diff(found: Look, run: Picture, old: Point, new: Point, *, stat: bool, colour: bool) -> str:
    """The difference between two checkpoints as text; no program of anybody's is run for it."""
    how = "--stat" if stat else "--patch"
    paint = "--color=always" if colour else "--color=never"
    told = _git(found, run).run(
        "diff", "--no-ext-diff", "--no-textconv", paint, how, old.made.tree, new.made.tree, "--"
    )
    return told.decode("utf-8", "replace")


def _git(found: Look, run: Picture) -> Git:
    copy_of = Path(run.row.workspace) if run.state.created is not None and run.state.created.worktree else None
    git = ShadowWorkspace(run.workspace, found.state.root, copy_of=copy_of).git
    if not git.directory.is_dir():
        msg = f"the checkpoints of run {run.run} are gone: there is no {git.directory}"
        raise NotFoundError(msg, hint="they live in the state directory; was it moved, or cleaned by hand?")
    return git


def _changes(git: Git, old: str, new: str) -> tuple[Change, ...]:
    parts = git.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new).split(b"\0")
    pairs = zip(parts[0::2], parts[1::2], strict=False)
    found = (Change(path=show(path), kind=_KINDS.get(status.decode(), "changed")) for status, path in pairs)
    return tuple(sorted(found, key=lambda change: change.path))
