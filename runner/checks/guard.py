"""Watches the protected files of a workspace, so that a change of one has an author."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from runner.checks.protect import Protection
from runner.ports import Workspace

# Two writes within one tick of the file system's clock leave the same time stamp: what is that young is read again.
_RACY_NS = 100_000_000

_Stamp = tuple[int, int, int, int, int]


_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def _unreadable(error: OSError) -> str:
    """Unreadable is not unchanged: the name of the error is no digest of any content."""
    return f"unreadable: {error.strerror}"


def _nothing() -> Mapping[str, str]:
    return {}


class WorkspaceGuard:
    """Implements `ports.Guard`. `accepted` gives the changes the user accepted (path -> digest, "" = deleted)."""

    def __init__(
        self,
        workspace: Workspace,
        protection: Protection,
        *,
        base: str,
        accepted: Callable[[], Mapping[str, str]] = _nothing,
    ) -> None:
        self._workspace = workspace
        self._protection = protection
        self._paths = tuple(sorted(protection.paths))
        self._base = base
        self._accepted = accepted
        self._known: dict[str, tuple[_Stamp, str]] = {}
        self._base_digests: dict[str, str] = {}
        self._found: tuple[int, int, str] | None = None

    def base(self) -> Mapping[str, str]:
        """Digests of the protected files as checkpoint 0 has them."""
        if len(self._base_digests) < len(self._paths):
            unknown = self._protection.paths - self._base_digests.keys()
            found = self._workspace.read_many(self._base, sorted(unknown))
            self._base_digests.update((path, self._protection.digest(path, found.get(path))) for path in unknown)
        return self._base_digests

    def look(self) -> Mapping[str, str]:
        """Digests as `Protection.digest` makes them: ticks in the spec, and parts that steer nothing, do not show."""
        root = self._root()
        folders = {root: True}
        return {path: self._digest(root, path, folders) for path in self._paths}

    def differing(self) -> tuple[str, ...]:
        accepted = self._accepted()
        changed = {change.path for change in self._workspace.changes(self._base, self._workspace.snapshot().tree)}
        root = self._root()
        folders = {root: True}
        differing: list[str] = []
        for path in sorted(changed & self._protection.paths):
            digest = self._digest(root, path, folders)
            if digest != self._base_digest(path) and digest != accepted.get(path):
                differing.append(path)
        return tuple(differing)

    def _root(self) -> str:
        """Where the workspace is, links resolved: walked anew when another directory stands there."""
        try:
            here = self._workspace.root.stat()
        except OSError:
            return os.path.realpath(self._workspace.root)
        if self._found is None or self._found[:2] != (here.st_dev, here.st_ino):
            self._found = (here.st_dev, here.st_ino, os.path.realpath(self._workspace.root))
        return self._found[2]

    def _base_digest(self, path: str) -> str:
        return self.base()[path]

    def _digest(self, root: str, path: str, folders: dict[str, bool]) -> str:
        # in plain strings: this is asked of every protected file around every tool call
        full = f"{root}/{path}"
        folder = full.rpartition("/")[0]
        if folder not in folders:
            # A folder that became a link leads elsewhere: what it shows is not the workspace's.
            folders[folder] = os.path.realpath(folder) == folder
        try:
            found = os.lstat(full)
        except OSError as error:
            # a folder that was made a link to itself leads nowhere
            return "" if error.errno in _NOWHERE else _unreadable(error)
        if not folders[folder] or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return ""
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = self._read(path, full, is_link=stat.S_ISLNK(found.st_mode))
        if time.time_ns() - found.st_ctime_ns > _RACY_NS:
            self._known[path] = (stamp, digest)
        return digest

    def _read(self, path: str, full: str, *, is_link: bool) -> str:
        try:
            # git keeps a link as the bytes of its target.
            data = os.fsencode(Path(full).readlink()) if is_link else Path(full).read_bytes()
        except OSError as error:
            return _unreadable(error)
        return self._protection.digest(path, data)
