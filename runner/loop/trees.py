"""What the loop does with the tree: keep it, compare it, name who changed protected files, score it."""

from __future__ import annotations

import hashlib

from runner.events.facts import (
    CheckpointMade,
    ChecksFinished,
    ProtectedChanged,
    TreeUnchanged,
    WorkspaceChanged,
    WorkspaceCompared,
)
from runner.loop.world import World
from runner.ports import Recorder, Snapshot, Workspace
from runner.state import State
from runner.values import Effect


def checkpoint(reason: str, workspace: Workspace, recorder: Recorder) -> None:
    """Keep the tree as the next checkpoint, unless it is the last one's."""
    snapshot = workspace.snapshot()
    last = recorder.state.checkpoint
    if last is not None and last.tree == snapshot.tree:
        recorder.record(TreeUnchanged(tree=snapshot.tree))
    else:
        _keep(snapshot, reason, workspace, recorder)


def _keep(snapshot: Snapshot, reason: str, workspace: Workspace, recorder: Recorder) -> None:
    state = recorder.state
    number = 0 if state.checkpoint is None else state.checkpoint.number + 1
    commit = workspace.commit(
        snapshot,
        run=state.created.run if state.created else "",
        number=number,
        parent=state.checkpoint.commit if state.checkpoint else None,
        at=state.at,
        message=reason,
    )
    recorder.record(
        CheckpointMade(number=number, commit=commit, tree=snapshot.tree, reason=reason, skipped=snapshot.skipped)
    )


def compare(world: World, recorder: Recorder) -> None:
    """After a resume: is the tree what this run left? What its own tools did since the checkpoint counts as that."""
    world.tools.end_leftovers()
    state = recorder.state
    snapshot = world.workspace.snapshot()
    strangers = strange(snapshot, state, world.workspace, has_setup=bool(world.spec.setup))
    if not strangers:
        if any(tool.background for tool in state.acted):
            attribute("agent", world, recorder)  # the driver died while they were at it
        recorder.record(WorkspaceCompared(tree=snapshot.tree))
        return
    attribute("other", world, recorder)
    # in this order: a crash between the two finds the same difference again
    recorder.record(WorkspaceChanged(paths=strangers))
    _keep(snapshot, "changed by somebody else", world.workspace, recorder)


def strange(snapshot: Snapshot, state: State, workspace: Workspace, *, has_setup: bool) -> tuple[str, ...]:
    """Paths that differ from the last checkpoint by somebody else's doing.

    A command may have done anything, and so may the spec's setup; a write said what it would leave.
    """
    last = state.checkpoint.tree if state.checkpoint else ""
    if snapshot.tree == last or any(tool.effect is Effect.COMMANDS for tool in state.acted):
        return ()
    if has_setup and state.setup is None:
        return ()  # setup was under way
    changed = (one.path for one in workspace.changes(last, snapshot.tree))
    return tuple(path for path in changed if not _written(path, snapshot.tree, state, workspace))


def _written(path: str, tree: str, state: State, workspace: Workspace) -> bool:
    """Whether a writing tool of this run said that it would leave this."""
    content = workspace.read(tree, path)
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    return any(tool.path == path and digest in (tool.before, tool.after) for tool in state.acted)


def attribute(by: str, world: World, recorder: Recorder) -> None:
    """Name the author of whatever changed in protected files since the last look.

    While a command of the agent's goes on in the background, every change is the agent's.
    """
    state = recorder.state
    if state.base is None:
        return
    by = "agent" if state.background else by
    base = world.guard.base()
    for path, digest in world.guard.look().items():
        known = (
            state.protected[path].digest if path in state.protected else state.accepted.get(path, base.get(path, ""))
        )
        if digest != known:
            recorder.record(ProtectedChanged(path=path, digest=digest, by=by))


def run_checks(world: World, recorder: Recorder) -> None:
    """Score the newest checkpoint on a scoring view. A verdict under an interrupt is none."""
    state = recorder.state
    if state.checkpoint is None or state.base is None:
        return
    attribute("other", world, recorder)
    state = recorder.state
    tree = state.checkpoint.tree if state.checkpoint else ""
    base = state.base.tree if state.base else ""
    verdict = world.checks.run(world.spec, tree=tree, base=base, accepted=state.accepted, interrupt=recorder.interrupt)
    if recorder.interrupt.fired:
        recorder.drain()
        return
    differing = world.guard.differing()
    agents = {path for path, change in state.protected.items() if change.by == "agent"}
    recorder.record(
        ChecksFinished(
            iteration=state.iterations,
            results=verdict.results,
            score=verdict.score,
            tree=tree,
            unticked=world.texts.checklist(state),
            tampered=tuple(path for path in differing if path in agents),
            foreign=tuple(path for path in differing if path not in agents),
            left_out=verdict.left_out,
            self_tested=verdict.self_tested,
            sandbox=verdict.sandbox,
        )
    )
