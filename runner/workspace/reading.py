"""Takes a file of the workspace into the store as it is at one moment, although others may write to it meanwhile."""

from __future__ import annotations

import os
import stat
import time

from runner.errors import WorkspaceError
from runner.workspace.beneath import CHUNK, Beneath, pieces, show
from runner.workspace.folders import Identity, identity, is_settled
from runner.workspace.objects import BLOB, FILE, LINK, PROGRAM, Entry
from runner.workspace.pack import Pack

READS = 5


def take(beneath: Beneath, path: bytes, pack: Pack, notes: list[str]) -> tuple[Entry, Identity | None] | None:
    """Read a file into the pack, again when it changes under our eyes; None when it went away or cannot be read.

    The identity is None when a later write may leave it as it is.
    """
    for _ in range(READS):
        now = time.time_ns()
        try:
            status = beneath.status(path)
            if status is None:
                return None
            if stat.S_ISLNK(status.st_mode):
                target = beneath.link(path)
                name, whole = pack.add(BLOB, len(target), [target])
                entry, after = Entry(LINK, name), beneath.status(path)
            else:
                handle = beneath.open(path)
                with os.fdopen(handle, "rb", buffering=0) as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    name, whole = pack.add(BLOB, status.st_size, iter(lambda: file.read(CHUNK), b""))
                    after = os.fstat(file.fileno())
                entry = Entry(PROGRAM if status.st_mode & stat.S_IXUSR else FILE, name)
        except PermissionError:
            notes.append(f"{show(path)}: cannot be read")
            return None
        except FileNotFoundError:
            return None
        except OSError:
            continue  # replaced by something else between the look and the open
        if whole and after is not None and identity(status) == identity(after):
            return entry, identity(status) if is_settled(status, now) else None
    return _take_moment(beneath, path, pack, notes), None


def _take_moment(beneath: Beneath, path: bytes, pack: Pack, notes: list[str]) -> Entry:
    """Take a file that never stands still (a server's log) as long as it was at one look, and say so."""
    try:
        with os.fdopen(beneath.open(path), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            name, whole = pack.add(BLOB, status.st_size, pieces(file, status.st_size))
    except (OSError, WorkspaceError):  # gone, or shorter than it was a moment ago
        whole, name, status = False, "", None
    if not whole or status is None or not stat.S_ISREG(status.st_mode):
        raise WorkspaceError(
            f"{show(path)} kept changing while it was read ({READS} times)",
            hint="stop what writes to it, or name it in .gitignore",
        )
    notes.append(f"{show(path)}: kept as it was at one moment, it was being written")
    return Entry(PROGRAM if status.st_mode & stat.S_IXUSR else FILE, name)
