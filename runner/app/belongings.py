"""Everything runner owns on this machine: where it is, how much it is, and how it goes away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from runner.app.lending import lent
from runner.app.look import Look
from runner.app.places import State
from runner.errors import BusyError, StateError
from runner.store import journal
from runner.store.database import Database
from runner.store.journal import RunRow
from runner.store.lease import Lease, holder_of, is_held
from runner.values import Ms

# The only names runner ever makes in its state directory; whatever else lies there is not runner's to remove.
_FOLDERS = {
    "runs": "logs and long outputs of runs",
    "workspaces": "checkpoints, one git directory for each workspace",
    "worktrees": "working copies of runs with --worktree",
    "approvals": "what `runner approvals serve` keeps: its key, its socket",
}
_DATABASE = "runner."


@dataclass(frozen=True, slots=True)
class Owned:
    """One thing of runner's. `bytes` is what it takes on the disk."""

    path: Path
    what: str
    bytes: int


def owned(state: State) -> Iterator[Owned]:
    """What there is in the state directory; nothing when there is no such directory."""
    for path in _within(state.root):
        if path.name in _FOLDERS:
            yield Owned(path, _FOLDERS[path.name], size(path))
        elif path.name == state.database.name:
            yield Owned(path, "journal and ledger", size(path))
        else:
            yield Owned(path, "beside the database", size(path))


def foreign(state: State) -> tuple[Path, ...]:
    """What lies in the state directory and is not runner's."""
    ours = set(_within(state.root))
    return tuple(sorted(path for path in _listed(state.root) if path not in ours))


def _within(root: Path) -> Iterator[Path]:
    for path in sorted(_listed(root)):
        if path.name in _FOLDERS or (path.name.startswith(_DATABASE) and path.is_file() and not path.is_symlink()):
            yield path


def _listed(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        msg = f"cannot look into the state directory {root}: {error.strerror}"
        raise StateError(msg, hint="check who owns it, or set RUNNER_STATE_DIR") from error


def size(path: Path) -> int:
    """What a file or a directory with all below it takes on the disk, in bytes; links are not followed."""
    total = 0
    with suppress(OSError):
        status = path.lstat()
        total = status.st_blocks * 512
        if path.is_dir() and not path.is_symlink():
            total += sum(size(below) for below in _below(path))
    return total


def _below(path: Path) -> list[Path]:
    try:
        return [Path(one) for one in os.scandir(path)]
    except OSError:
        return []


# ---- going away ------------------------------------------------------------------------------------------


def old(found: Look, *, before: Ms) -> list[RunRow]:
    """The ended runs whose last event is older than `before`; open runs never get old."""
    return [
        row
        for row in journal.runs(found.database)
        if row.summary.get("status") == "ended" and _last(row) < before and found.driver(row.id) is None
    ]


def _last(row: RunRow) -> Ms:
    at = row.summary.get("updated_at_ms")
    return at if isinstance(at, int) else row.created_at


def forget(state: State, database: Database, row: RunRow) -> None:
    """Remove what an ended run left: journal, log, outputs, working copy, checkpoints. Its sums stay counted.

    Raises BusyError while somebody works on the run or in its workspace. Safe to repeat after a crash.
    """
    from runner.workspace.shadow import ShadowWorkspace

    place = state.run(row.id)
    with ExitStack() as held:
        lease = Lease(place.lease, f"run {row.id}")
        held.callback(lease.release)
        root = str(row.summary.get("workspace") or row.workspace)
        copy_of = None if root == row.workspace else Path(row.workspace)
        workspace = ShadowWorkspace(Path(root), state.root, copy_of=copy_of)
        if workspace.git.directory.is_dir():
            with workspace.lock():
                workspace.drop(row.id)
        _remove(state.worktree(row.id))
        if copy_of is not None:
            _remove(workspace.git.directory.parent)
        with database.transaction(durable=True) as tx:
            journal.forget(tx, row.id)
        for elsewhere in lent(place.root):
            _remove(elsewhere)
        _remove(place.root)


def forget_all(state: State) -> tuple[Path, ...]:
    """Remove everything runner owns in the state directory, the sums included; give what is not runner's and stays.

    Raises BusyError, having removed nothing, while any run is driven.
    """
    for place in _listed(state.root / "runs"):
        if is_held(place / "lease"):
            holder = holder_of(place / "lease")
            msg = f"run {place.name} is driven by another process{f' (pid {holder})' if holder else ''}"
            raise BusyError(msg, hint="nothing was removed; `runner stop --all` stops every run")
    if is_held(state.approvals / "lease"):
        raise BusyError(
            "approvals are served from here", hint="nothing was removed; end `runner approvals serve` first"
        )
    for place in _listed(state.root / "runs"):
        for elsewhere in lent(place):
            _remove(elsewhere)
    # the database last: a crash on the way leaves something that the same command removes
    for path in sorted(_within(state.root), key=lambda path: (path.name.startswith(_DATABASE), path.name)):
        _remove(path)
    with suppress(OSError):
        state.root.rmdir()
    return foreign(state)


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            _open_up(path)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"cannot remove {error.filename or path}: {error.strerror}"
        raise StateError(msg, hint="check who owns it, then do the same again") from error


def _open_up(folder: Path) -> None:
    """Let everything below be removed: a tool may have taken the rights away from a directory it made."""
    folder.chmod(0o700)
    for one in os.scandir(folder):
        if one.is_dir(follow_symlinks=False):
            _open_up(Path(one))
