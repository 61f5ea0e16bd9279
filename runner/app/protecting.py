"""The protected files of a run: how each stands, and accepting one that somebody else than the agent changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runner.app.build import spec_file_in
from runner.app.clock import SystemClock
from runner.app.drive import Access, standing
from runner.app.reach import fold, spec_of, workspace_of
from runner.checks import WorkspaceGuard
from runner.checks.protect import protection
from runner.errors import BusyError, NotFoundError, RefusedError
from runner.events.facts import ProtectedAccepted
from runner.spec.checklist import normalised
from runner.state import State as RunState
from runner.store.recorder import leave_in_inbox

UNCHANGED, AGENT, OTHER, ACCEPTED = "unchanged", "changed by the agent", "changed by somebody else", "accepted"


@dataclass(frozen=True, slots=True)
class Standing:
    """One protected file: `how` it stands against checkpoint 0, and its digest now ("" = deleted)."""

    path: str
    how: str
    digest: str


def standings(run: str, access: Access) -> tuple[str, tuple[Standing, ...]]:
    """The run's id, and how each of its protected files stands now. Raises NotFoundError before checkpoint 0."""
    run, created, state = fold(run, access)
    if state.base is None:
        raise NotFoundError(f"run {run} has no checkpoint 0 yet, which says what is protected")
    workspace = workspace_of(created, access)
    base = state.base.tree
    spec, file = spec_of(created, state), spec_file_in(created)
    protected = protection(
        spec if file is None else replace(spec, path=str(file)),
        workspace.paths(base),
        read=lambda path: workspace.read(base, path),
        root=workspace.root,
        normalise=normalised,
    )
    guard = WorkspaceGuard(workspace, protected, base=base, accepted=lambda: state.accepted)
    first = guard.base()
    found = (
        Standing(path, _how(path, digest, first.get(path, ""), state), digest) for path, digest in guard.look().items()
    )
    return run, tuple(found)


def _how(path: str, digest: str, first: str, state: RunState) -> str:
    if digest == first:
        return UNCHANGED
    if state.accepted.get(path) == digest:
        return ACCEPTED
    known = state.protected.get(path)
    at_work = (*state.open_tools.values(), *state.background)
    if any(tool.path in {"", path} for tool in at_work) and (known is None or known.digest != digest):
        # a tool of the agent is at work right now: until the loop has looked, it may have been that one
        return AGENT
    return AGENT if known is not None and known.digest == digest and known.by == "agent" else OTHER


def accept(run: str, path: str, access: Access) -> tuple[str, Standing]:
    """Accept a protected file as it is now, when somebody else than the agent changed it.

    RefusedError for a file the agent changed: accepting that would let it grade itself. A driven run takes the word
    with its next step.
    """
    run, found = standings(run, access)
    one = next((each for each in found if each.path == path), None)
    if one is None:
        raise NotFoundError(f"{path!r} is no protected file of run {run}", hint=f"runner protect {run} lists them")
    if one.how == AGENT:
        raise RefusedError(
            f"{path} was changed by the agent: a check it changed itself proves nothing",
            hint=f"bring it back: runner rollback {run} N   or, if it is right, write it so yourself, then accept it",
        )
    if one.how in {UNCHANGED, ACCEPTED}:
        raise RefusedError(f"{path} is {one.how}: there is nothing to accept")
    accepted = ProtectedAccepted(path=path, digest=one.digest)
    try:
        with standing(run, access) as recorder:
            recorder.record(accepted)
    except BusyError:
        leave_in_inbox(access.database, run, accepted, SystemClock().now())
    return run, Standing(path, ACCEPTED, one.digest)
