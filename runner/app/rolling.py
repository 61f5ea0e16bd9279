"""Set a run's workspace back to a checkpoint. What stands there now is kept first, and how to get it back is told."""

from __future__ import annotations

from dataclasses import dataclass

from runner.app.drive import Access, standing
from runner.app.reach import fold, number_of, spec_of, workspace_of
from runner.errors import RefusedError
from runner.events.facts import CheckpointMade, RolledBack
from runner.loop.trees import strange
from runner.ports import Change, Snapshot
from runner.store.recorder import JournalRecorder
from runner.workspace.shadow import ShadowWorkspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """What a rollback did. `undo` is the checkpoint that brings everything forward again."""

    run: str
    root: str
    to: int
    undo: int
    changes: tuple[Change, ...]


def roll_back(run: str, to: str, access: Access, *, force: bool) -> Back:
    """Set the workspace of `run` back to checkpoint `to` (a number, `best`, `last`), byte by byte.

    RefusedError names what somebody else changed since the run's last checkpoint, unless `force`; then that is kept in
    a checkpoint as well. BusyError (75) while somebody drives the run or works in its workspace.
    """
    run, created, state = fold(run, access)
    has_setup = bool(spec_of(created, state).setup)
    workspace = workspace_of(created, access)
    with standing(run, access) as recorder, workspace.lock():
        number = number_of(to, recorder.state, run)
        commit = workspace.checkpoint(run, number)
        present = workspace.snapshot()
        _may(strange(present, recorder.state, workspace, has_setup=has_setup), force=force)
        wanted, now = workspace.entries(commit), workspace.entries(present.tree)
        differing = {path: entry for path, entry in wanted.items() if now.get(path) != entry}
        workspace.obstacles(differing, {path for path in now if path not in wanted}, now)
        changes = workspace.changes(present.tree, commit)
        undo = _keep(present, f"before the rollback to {number}", workspace, recorder)
        if changes:
            recorder.record(RolledBack(to=number, undo=undo))
            workspace.restore(commit)
            # the run's last checkpoint is the tree it finds: a resume takes what the rollback did for its own
            _keep(workspace.snapshot(), f"rolled back to {number}", workspace, recorder)
        return Back(run=run, root=str(workspace.root), to=number, undo=undo, changes=changes)


def _may(theirs: tuple[str, ...], *, force: bool) -> None:
    if theirs and not force:
        shown = ", ".join(theirs[:10]) + (f" and {len(theirs) - 10} more" if len(theirs) > 10 else "")
        raise RefusedError(
            f"changed by somebody else since the run's last checkpoint: {shown}",
            hint="nothing was changed; --force rolls back all the same and keeps these in a checkpoint first",
        )


def _keep(present: Snapshot, reason: str, workspace: ShadowWorkspace, recorder: JournalRecorder) -> int:
    """The number of the checkpoint that holds this tree: the last one, or a new one."""
    state = recorder.state
    last = state.checkpoint
    if last is not None and last.tree == present.tree:
        return last.number
    number = 0 if last is None else last.number + 1
    commit = workspace.commit(
        present,
        run=state.created.run if state.created else "",
        number=number,
        parent=last.commit if last else None,
        at=state.at,
        message=reason,
    )
    recorder.record(
        CheckpointMade(number=number, commit=commit, tree=present.tree, reason=reason, skipped=present.skipped)
    )
    return number
