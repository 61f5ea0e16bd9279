"""Which files of a workspace belong in a checkpoint: a walk of our own, with git's word on what is ignored.

`git add` would do it in one command, but it looks into nested repositories (and runs `git status` in submodules, which
reads *their* configuration), stops with nothing done at one without a commit, and leaves the content of the others out.
"""

from __future__ import annotations

import os
import stat
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from runner.errors import WorkspaceError
from runner.workspace.beneath import TEMPORARY, Beneath, show

LARGEST_UNTRACKED = 20_000_000

Identity = tuple[int, int, int, int, int]

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def identity(status: os.stat_result) -> Identity:
    """Equal identities of one path mean equal content: ctime cannot be set by the writer."""
    return (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether a later write would show in ctime: clocks of file systems tick in up to 10 ms, some in 2 s."""
    tick = 2_000_000_000 if status.st_ctime_ns % 1_000_000_000 == 0 else 50_000_000
    return status.st_ctime_ns + tick < now_ns


class Tracked:
    """Paths that are kept even where a rule ignores them: the user's index knows them, or the last checkpoint does."""

    def __init__(self, index: frozenset[bytes], last: Iterable[bytes]) -> None:
        self.index = index
        self._all = index.union(last)
        self._sorted: list[bytes] | None = None

    def __contains__(self, path: bytes) -> bool:
        return path in self._all

    def below(self, folder: bytes) -> bool:
        if self._sorted is None:
            self._sorted = sorted(self._all)
        start = folder + b"/"
        at = bisect_left(self._sorted, start)
        return at < len(self._sorted) and self._sorted[at].startswith(start)


@dataclass(slots=True)
class Scan:
    """Files and links found, each with its `lstat`, and what was left out (`path: why`)."""

    files: dict[bytes, os.stat_result] = field(default_factory=dict[bytes, os.stat_result])
    notes: list[str] = field(default_factory=list[str])


class Ignore:
    """Git's answers to "is this path ignored?", remembered until a rule changes."""

    def __init__(self, ask: Callable[[list[bytes]], set[bytes]]) -> None:
        self._ask = ask
        self._verdicts: dict[bytes, bool] = {}
        self._rules: dict[bytes, Identity | None] = {}
        self.stale = False

    def forget(self) -> None:
        self._verdicts.clear()
        self._rules.clear()
        self.stale = False

    def rules(self, folder: bytes, status: os.stat_result | None) -> None:
        """Note the `.gitignore` of a directory; one that differs from the remembered one makes answers stale."""
        now = None if status is None else identity(status)
        if status is not None and not is_settled(status, time.time_ns()):
            now = (0, 0, 0, 0, time.monotonic_ns())
        if self._rules.setdefault(folder, now) != now:
            self.stale = True

    def ignored(self, paths: list[tuple[bytes, bool]]) -> set[bytes]:
        """Those of the paths that a rule ignores. Each comes with whether it is a directory."""
        keys = {path: path + b"/" if folder else path for path, folder in paths}
        unknown = [path for path, key in keys.items() if key not in self._verdicts]
        if unknown:
            found = self._ask(unknown)
            self._verdicts.update((keys[path], path in found) for path in unknown)
        return {path for path, key in keys.items() if self._verdicts[key]}


def scan(beneath: Beneath, ignore: Ignore, tracked: Tracked, *, without: bytes | None) -> Scan:
    """Walk the workspace, `without` one directory (runner's own state, when it lies inside)."""
    for _ in range(2):
        found = Scan()
        level = [b""]
        while level and not ignore.stale:
            level = _level(beneath, ignore, tracked, found, [path for path in level if path != without])
        if not ignore.stale:
            found.notes.sort()
            return found
        ignore.forget()
    raise WorkspaceError("the ignore rules of the workspace change faster than they can be read")


def _level(beneath: Beneath, ignore: Ignore, tracked: Tracked, found: Scan, folders: list[bytes]) -> list[bytes]:
    seen: list[tuple[bytes, os.stat_result]] = []
    for folder in folders:
        try:
            inside = beneath.names(folder)
        except PermissionError:
            found.notes.append(f"{show(folder) or '.'}/: cannot be read")
            continue
        except OSError:
            continue  # gone, or no directory any more: nothing to keep
        _notice_rules(ignore, folder, inside)
        start = folder + b"/" if folder else b""
        for name, status in inside:
            if name.lower() == b".git":
                _notice_git(found, folder, name)
            elif name.startswith(TEMPORARY):
                found.notes.append(f"{show(start + name)}: left by an interrupted write of runner, safe to delete")
            else:
                seen.append((start + name, status))
    ignored = ignore.ignored([(path, stat.S_ISDIR(status.st_mode)) for path, status in seen])
    below: list[bytes] = []
    for path, status in seen:
        if stat.S_ISDIR(status.st_mode):
            if path not in ignored or tracked.below(path):
                below.append(path)
        elif path not in ignored or path in tracked:
            _file(found, tracked, path, status)
    return below


def _notice_rules(ignore: Ignore, folder: bytes, inside: list[tuple[bytes, os.stat_result]]) -> None:
    status = next((status for name, status in inside if name == b".gitignore"), None)
    if status is not None and stat.S_IFMT(status.st_mode) in _KINDS:
        # git would open it and wait for ever.
        what = _KINDS[stat.S_IFMT(status.st_mode)]
        place = show(folder + b"/.gitignore" if folder else b".gitignore")
        raise WorkspaceError(f"{place} is {what}, so nobody can say what is ignored", hint="remove it")
    ignore.rules(folder, status)


def _notice_git(found: Scan, folder: bytes, name: bytes) -> None:
    if name != b".git":
        found.notes.append(f"{show(folder + b'/' + name if folder else name)}: a name that git refuses to keep")
    elif folder:
        found.notes.append(f"{show(folder)}/.git: a repository of its own; its files are kept, its history is not")


def _file(found: Scan, tracked: Tracked, path: bytes, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind in _KINDS:
        found.notes.append(f"{show(path)}: {_KINDS[kind]}")
    elif status.st_size > LARGEST_UNTRACKED and path not in tracked.index:
        size, most = round(status.st_size / 1e6, 1), LARGEST_UNTRACKED // 1_000_000
        found.notes.append(f"{show(path)}: {size:,g} MB, larger than {most} MB")
    elif kind in (stat.S_IFREG, stat.S_IFLNK):
        found.files[path] = status
