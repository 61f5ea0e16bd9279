"""What commands that do not drive a run need to read it, and to write to it while it stands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from runner import config
from runner.app.drive import Access
from runner.app.places import State
from runner.config import Settings
from runner.errors import NotFoundError, RefusedError, StateError
from runner.events.facts import Event, RunCreated
from runner.secrets import Keys
from runner.spec.model import Spec
from runner.spec.parse import parse_spec
from runner.state import State as RunState
from runner.store import journal
from runner.values import Ms
from runner.workspace.shadow import ShadowWorkspace


class NoScreen:
    """Implements `ports.Screen` for commands that say themselves what they did."""

    def event(self, at: Ms, event: Event, state: RunState) -> None:
        """Show nothing."""

    def text(self, piece: str) -> None:
        """Show nothing."""

    def output(self, data: bytes) -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Tell the user on standard error, so that a result on standard output stays alone."""
        say(line)


def say(line: str) -> None:
    """Tell the user something beside the result."""
    sys.stderr.write(f"{line}\n")


def reach(environ: Mapping[str, str], *, create: bool = False) -> tuple[Access, Settings]:
    """Open the state directory that the user's settings name. Raises StateError (73) when there is none yet."""
    settings = config.load(environ)
    access = open_state(state_of(settings), settings, create=create)
    return access, settings


def state_of(settings: Settings) -> State:
    """The state directory; nothing is read or made in it."""
    return State(config.state_dir(settings.state_dir.value))


def open_state(state: State, settings: Settings, *, create: bool = False) -> Access:
    """Open a state directory's database."""
    vault = Keys().vault(settings.listed_secrets())
    return Access(state=state, database=state.open(create=create), vault=vault, screen=NoScreen(), say=say)


def fold(run: str, access: Access) -> tuple[str, RunCreated, RunState]:
    """A run's id, its beginning and its state, by its name; nothing is written. Raises NotFoundError."""
    row = journal.find_run(access.database, run)
    state = journal.fold(row.id, journal.rows(access.database, row.id))
    if state.created is None:
        raise StateError(f"run {row.id} has no beginning", hint=f"runner log verify {row.id}")
    return row.id, state.created, state


def spec_of(created: RunCreated, state: RunState) -> Spec:
    """The spec a run began with; its front matter is in force to the end."""
    return parse_spec(created.spec_text, created.spec_path, on_path=lambda _: True, now=state.at)


def workspace_of(created: RunCreated, access: Access) -> ShadowWorkspace:
    """Where a run works: the user's directory, or the run's own copy. Raises RefusedError when it is gone."""
    root = Path(created.workspace)
    if not root.is_dir():
        raise RefusedError(
            f"the {'working copy' if created.worktree else 'workspace'} of run {created.run} is gone: {root}",
            hint=f"its checkpoints are kept: runner checkpoints {created.run}",
        )
    return ShadowWorkspace(root, access.state.root)


def number_of(name: str, state: RunState, run: str) -> int:
    """The checkpoint a person means: a number, `last`, or `best` (of the first iteration with the highest score)."""
    last = state.checkpoint
    if last is None:
        raise NotFoundError(f"run {run} has no checkpoint yet")
    if name == "last":
        return last.number
    if name == "best":
        if state.best is None:
            raise NotFoundError(f"no iteration of run {run} has a score yet", hint=f"runner checkpoints {run}")
        return state.best.checkpoint
    if not (name.isascii() and name.isdecimal()) or int(name) > last.number:
        raise NotFoundError(
            f"run {run} has no checkpoint {name!r}: it has 0 to {last.number}, `best` and `last`",
            hint=f"runner checkpoints {run} lists them",
        )
    return int(name)
