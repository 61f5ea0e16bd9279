"""Bring what a run did in its own working copy into the user's directory, and take it back again.

What stood there before and after is kept in checkpoints of the user's directory, a pair for each time (`applied-RUN`,
0 and 1, 2 and 3…), so that the newest pair undoes itself and the next apply knows what is there already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runner.app.clock import SystemClock
from runner.app.drive import Access
from runner.app.reach import fold, number_of, workspace_of
from runner.errors import RefusedError
from runner.ports import Change, Snapshot
from runner.workspace.beneath import show
from runner.workspace.export import Exported, export
from runner.workspace.shadow import ShadowWorkspace
from runner.workspace.worktree import apply_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What was written. `checkpoint` is what the directory now has of the run; None after everything is undone.

    `yours` names what was written before, was changed there since, and was therefore left alone.
    """

    run: str
    root: str
    checkpoint: int | None
    changes: tuple[Change, ...]
    best: int | None
    yours: tuple[str, ...] = ()


def apply(run: str, checkpoint: str, access: Access) -> Brought:
    """Write what the run changed up to `checkpoint` (a number, `best`, `last`) into the user's directory.

    RefusedError lists every file that was changed there as well, differently, and nothing is written; also for a run
    that worked in place. BusyError (75) while another run works there.
    """
    run, created, state = fold(run, access)
    if not created.worktree:
        raise RefusedError(
            f"run {run} worked in {created.workspace} itself: there is nothing to apply",
            hint=f"look: runner diff {run} 0 last   a branch of it: runner export {run}",
        )
    number = number_of(checkpoint, state, run)
    work, target = workspace_of(created, access), _target(created.origin, run, access)
    with target.lock():
        past = _Past(target, run)
        first, result = work.checkpoint(run, 0), work.checkpoint(run, number)
        base = work.checkpoint(run, past.holds or 0)
        if not _differing(work, target, first, base, wanted=first):
            base = first  # what was applied was taken back, with git for example
        applied = apply_back(work, target, base=base, result=result, keep=past.before)
        after = target.snapshot()
        changes = target.changes(applied.before.tree, after.tree)
        if applied.paths:
            past.after(after, holds=number)
        yours = () if applied.paths else _differing(work, target, first, result, wanted=result)
    best = state.best.checkpoint if state.best else None
    return Brought(run=run, root=str(target.root), checkpoint=number, changes=changes, best=best, yours=yours)


def _differing(work: ShadowWorkspace, target: ShadowWorkspace, old: str, new: str, *, wanted: str) -> tuple[str, ...]:
    """The paths the run changed from `old` to `new` that are not in `target` as `wanted` has them."""
    was, became, want = work.entries(old), work.entries(new), work.entries(wanted)
    now = target.entries(target.snapshot().tree)
    changed = sorted(path for path in was.keys() | became.keys() if was.get(path) != became.get(path))
    return tuple(show(path) for path in changed if now.get(path) != want.get(path))


def undo(run: str, access: Access) -> Brought:
    """Set the user's directory back to before the newest apply. Doing it twice applies again.

    RefusedError names what was changed there since then.
    """
    run, created, _ = fold(run, access)
    target = _target(created.origin, run, access)
    with target.lock():
        past = _Past(target, run)
        if not past.commits:
            raise RefusedError(f"nothing of run {run} was applied", hint=f"runner apply {run}")
        before, after = past.commits[-2:]
        present = target.snapshot()
        if theirs := target.changes(after, present.tree):
            raise RefusedError(
                f"changed since then: {', '.join(one.path for one in theirs[:10])}",
                hint="nothing was changed; put these aside, undo, and bring them back",
            )
        past.before(present)
        target.restore(before)
        past.after(target.snapshot(), holds=past.held)
    changes = target.changes(present.tree, before)
    return Brought(run=run, root=str(target.root), checkpoint=past.held, changes=changes, best=None)


def to_branch(run: str, access: Access, *, force: bool) -> Exported:
    """Write a run's checkpoints as a branch of the user's repository."""
    run, created, _ = fold(run, access)
    work = ShadowWorkspace(Path(created.workspace), access.state.root)
    target = _target(created.origin, run, access) if created.worktree else None
    return export(work, run, into=target, force=force)


def _target(origin: str, run: str, access: Access) -> ShadowWorkspace:
    root = Path(origin)
    if not root.is_dir():
        raise RefusedError(f"{root}, where run {run} was started, is gone", hint=f"make it, or look: runner show {run}")
    return ShadowWorkspace(root, access.state.root)


class _Past:
    """What was applied of a run before. `holds` is the checkpoint the directory has now, `held` the one before."""

    def __init__(self, target: ShadowWorkspace, run: str) -> None:
        self._target, self._name = target, f"applied-{run}"
        self.commits = list(target.checkpoints(self._name))
        # a kill between the two of a pair leaves a "before" that nothing followed
        if len(self.commits) % 2:
            self._keep(target.snapshot(), "holds none")
        self.holds = self._holds(self.commits[-1]) if self.commits else None
        self.held = self._holds(self.commits[-3]) if len(self.commits) > 2 else None

    def before(self, snapshot: Snapshot) -> None:
        """Keep what stands there; call it before the first file is written."""
        self._keep(snapshot, "before")

    def after(self, snapshot: Snapshot, *, holds: int | None) -> None:
        """Keep what stands there now, and of which checkpoint of the run it has everything."""
        self._keep(snapshot, f"holds {'none' if holds is None else holds}")

    def _keep(self, snapshot: Snapshot, message: str) -> None:
        number, parent = len(self.commits), self.commits[-1] if self.commits else None
        at = SystemClock().now()
        commit = self._target.commit(snapshot, run=self._name, number=number, parent=parent, at=at, message=message)
        self.commits.append(commit)

    def _holds(self, commit: str) -> int | None:
        found = re.search(rb"^holds ([0-9]+)$", self._target.git.run("cat-file", "commit", commit), re.MULTILINE)
        return int(found[1]) if found else None
