"""Paths that stay inside the workspace, symlinks included.

A path is walked one component at a time with `openat` and `O_NOFOLLOW`, and symlinks are expanded here, not by
the kernel. So what was checked is what gets opened, whoever renames directories meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_MOST_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RefusedPathError(Exception):
    """A path no tool may touch, or that is not what the tool needs; the message is for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path leads: `name` in the open directory `parent`. `relative` is `/`-separated from the root.

    `name` is "." for the workspace itself. `missing` are directories between `parent` and `name` that do not exist.
    """

    parent: int
    name: str
    relative: str
    missing: tuple[str, ...] = ()

    def stat(self) -> os.stat_result | None:
        """What is there now (never a symlink's target); None when nothing is."""
        if self.missing:
            return None
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None


@contextmanager
def locate(root: Path, path: str, *, make: bool = False) -> Generator[Place]:
    """Find `path` under `root`; `make` creates missing directories. Raises RefusedPathError when it leads outside."""
    walk = _Walk(root, path)
    try:
        yield walk.to_the_end(make=make)
    finally:
        walk.close()


class _Walk:
    """Open directories from the root down, and the components still to go."""

    def __init__(self, root: Path, path: str) -> None:
        if not path or "\0" in path:
            raise RefusedPathError("the path is empty or contains a NUL character")
        self._root = root
        self._path = path
        self._todo = self._parts(path, self._root)
        self._open = [os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        self._names: list[str] = []
        self._links = 0

    def close(self) -> None:
        for directory in self._open:
            os.close(directory)

    def _outside(self) -> RefusedPathError:
        return RefusedPathError(f"{self._path}: leads out of the workspace; only paths inside it can be used")

    def _parts(self, path: str, root: Path) -> list[str]:
        """Components in reverse order; an absolute path must begin with the root."""
        if not path.startswith("/"):
            return [part for part in reversed(path.split("/")) if part not in ("", ".")]
        parts = list(PurePosixPath(path).parts)
        for start in (root, Path(os.path.realpath(root))):
            if tuple(parts[: len(start.parts)]) == start.parts:
                return list(reversed(parts[len(start.parts) :]))
        raise self._outside()

    def to_the_end(self, *, make: bool) -> Place:
        while self._todo:
            name = self._todo.pop()
            if name == "..":
                if not self._names:
                    raise self._outside()
                self._names.pop()
                os.close(self._open.pop())
                continue
            try:
                found = os.stat(name, dir_fd=self._open[-1], follow_symlinks=False)
            except FileNotFoundError:
                return self._absent(name, make=make)
            if stat.S_ISLNK(found.st_mode):
                self._expand(name)
            elif self._todo:
                self._enter(name)
            else:
                return self._place(name)
        return Place(parent=self._open[-1], name=".", relative="/".join(self._names) or ".")

    def _enter(self, name: str) -> None:
        try:
            self._open.append(os.open(name, _DIRECTORY, dir_fd=self._open[-1]))
        except NotADirectoryError:
            raise RefusedPathError(f"{self._path}: {'/'.join([*self._names, name])} is not a directory") from None
        self._names.append(name)

    def _expand(self, name: str) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise RefusedPathError(f"{self._path}: too many symbolic links")
        target = os.readlink(name, dir_fd=self._open[-1])
        if target.startswith("/"):
            todo = self._parts(target, self._root)
            for directory in self._open[1:]:
                os.close(directory)
            del self._open[1:], self._names[:]
        else:
            todo = self._parts(target, self._root)
        self._todo += todo

    def _absent(self, name: str, *, make: bool) -> Place:
        rest = [name, *reversed(self._todo)]
        if ".." in rest:
            raise RefusedPathError(f"{self._path}: {'/'.join([*self._names, name])} does not exist")
        if not make:
            relative = "/".join([*self._names, *rest])
            return Place(parent=self._open[-1], name=rest[-1], relative=relative, missing=tuple(rest[:-1]))
        for directory in rest[:-1]:
            os.mkdir(directory, dir_fd=self._open[-1])
            self._enter(directory)
        return self._place(rest[-1])

    def _place(self, name: str) -> Place:
        return Place(parent=self._open[-1], name=name, relative="/".join([*self._names, name]))


def refuse_git(place: Place) -> None:
    """Raise RefusedPathError for anything that git keeps for itself, in whatever case a file system may fold."""
    if any(part.casefold() == ".git" for part in place.relative.split("/")):
        raise RefusedPathError(f"{place.relative}: git's own files are not changed by tools")


def open_regular(place: Place, path: str) -> int:
    """Open a regular file for reading; a directory, FIFO, socket or device is refused before it is opened."""
    found = place.stat()
    if found is None:
        raise RefusedPathError(f"{path}: no such file")
    if stat.S_ISDIR(found.st_mode):
        raise RefusedPathError(f"{path}: is a directory; use list_files")
    if not stat.S_ISREG(found.st_mode):
        raise RefusedPathError(f"{path}: is not a regular file")
    file = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.parent)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise RefusedPathError(f"{path}: is not a regular file")
    return file


def open_directory(place: Place, path: str) -> int:
    """Open a directory for reading its names."""
    try:
        return os.open(place.name, _DIRECTORY, dir_fd=place.parent)
    except FileNotFoundError:
        raise RefusedPathError(f"{path}: no such directory") from None
    except NotADirectoryError:
        raise RefusedPathError(f"{path}: is not a directory") from None
