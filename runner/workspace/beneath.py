"""Files under one directory, reached without ever following a link out of it.

Every step down is `openat` with `O_NOFOLLOW`, so a directory that becomes a link while we work is an error and never
a way out.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from runner.errors import WorkspaceError
from runner.workspace.objects import LINK, PROGRAM

TEMPORARY = b".runner-tmp-"
CHUNK = 1 << 20
_MOST_OPEN = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FORBIDDEN = frozenset({b"", b".", b"..", b".git", b"git~1"})


def show(path: bytes) -> str:
    """A path for people and for JSON."""
    return os.fsdecode(path)


def check_path(path: bytes) -> None:
    """Refuse a path that no tree of ours may hold."""
    if any(part.lower() in _FORBIDDEN for part in path.split(b"/")) or b"\0" in path:
        raise WorkspaceError(f"a tree names {show(path)!r}, which runner never writes")


class Beneath:
    """One directory, opened once. Paths are bytes, `/`-separated, relative to it."""

    def __init__(self, root: Path) -> None:
        try:
            self._root = os.open(root, _FOLDER)
        except OSError as error:
            raise WorkspaceError(f"cannot open {root}: {error.strerror}", hint="it must be a directory") from error
        self._held: tuple[bytes, int] | None = None
        self._chain: list[tuple[bytes, int]] = []
        self._deep: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()
        self._let_go(0)
        os.close(self._root)

    def _drop(self) -> None:
        if self._held is not None:
            os.close(self._held[1])
            self._held = None

    def folder(self, path: bytes, *, create: bool = False) -> int:
        """An open directory; it belongs to this object and lives until the next call. OSError when it is none."""
        if not path:
            return self._root
        if self._held is not None and self._held[0] == path:
            return self._held[1]
        self._drop()
        here = os.dup(self._root)
        try:
            for part in path.split(b"/"):
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
        except OSError:
            os.close(here)
            raise
        self._held = (path, here)
        return here

    def look(self, path: bytes) -> int:
        """An open directory, for looking and reading only; it lives until the next `look`. OSError when it is none.

        The directories above it stay open, so that its neighbours cost one step each.
        """
        parts = path.split(b"/") if path else []
        same = 0
        for (held, _), part in zip(self._chain, parts, strict=False):
            if held != part:
                break
            same += 1
        self._let_go(same)
        here = self._chain[-1][1] if self._chain else self._root
        for part in parts[same:]:
            here = os.open(part, _FOLDER, dir_fd=here)
            if len(self._chain) < _MOST_OPEN:
                self._chain.append((part, here))
            else:
                if self._deep is not None:
                    os.close(self._deep)
                self._deep = here
        return here

    def _let_go(self, keep: int) -> None:
        if self._deep is not None:
            os.close(self._deep)
            self._deep = None
        while len(self._chain) > keep:
            os.close(self._chain.pop()[1])

    def _split(self, path: bytes, *, create: bool = False) -> tuple[int, bytes]:
        folder, _, name = path.rpartition(b"/")
        return self.folder(folder, create=create), name

    def status(self, path: bytes) -> os.stat_result | None:
        """`lstat`; None when it is not there or lies behind something that is no directory."""
        try:
            folder, name = self._split(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if _is_link_error(error):
                return None
            raise

    def link(self, path: bytes) -> bytes:
        folder, name = self._split(path)
        return os.readlink(name, dir_fd=folder)

    def open(self, path: bytes) -> int:
        """Open a file for reading. Never blocks on a pipe; the caller looks at what it got with `fstat`."""
        folder, name = self._split(path)
        return os.open(name, _READ, dir_fd=folder)

    def names(self, path: bytes) -> list[tuple[bytes, os.stat_result]]:
        """What is in a directory, each with its `lstat`."""
        found: list[tuple[bytes, os.stat_result]] = []
        with os.scandir(self.folder(path)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
        return found

    def remove(self, path: bytes) -> None:
        """Remove a file or link, and the directories that became empty by it."""
        folder, name = self._split(path)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        above = path.rpartition(b"/")[0]
        while above:
            self._drop()
            try:
                folder, name = self._split(above)
                os.rmdir(name, dir_fd=folder)
            except OSError:
                return  # not empty, or gone: either way there is nothing more to tidy
            above = above.rpartition(b"/")[0]

    def write(self, path: bytes, mode: str, chunks: Iterable[bytes], *, fresh: bool = False) -> None:
        """Put a file or link in place in one step: readers see the old bytes or the new ones, never half.

        `fresh` says that there is nothing yet and nobody reads, which saves that care.
        """
        folder, name = self._split(path, create=True)
        if fresh and mode != LINK:
            _fill(folder, name, mode, chunks, None)
            return
        temporary = TEMPORARY + secrets.token_hex(8).encode()
        try:
            if mode == LINK:
                os.symlink(b"".join(chunks), temporary, dir_fd=folder)
            else:
                _fill(folder, temporary, mode, chunks, self._permissions(folder, name))
            _remove_empty(folder, name)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise

    @staticmethod
    def _permissions(folder: int, name: bytes) -> int | None:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None
        return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else None


def _fill(folder: int, name: bytes, mode: str, chunks: Iterable[bytes], permissions: int | None) -> None:
    program = mode == PROGRAM
    handle = os.open(name, _WRITE, 0o777 if program else 0o666, dir_fd=folder)
    with os.fdopen(handle, "wb") as out:
        for chunk in chunks:
            out.write(chunk)
        if permissions is not None:
            # Git keeps one bit of a file's permissions; the others stay as the user had them.
            readers = (permissions & 0o444) >> 2
            os.fchmod(out.fileno(), (permissions & ~0o111 & 0o777) | (readers if program else 0))


def _remove_empty(folder: int, name: bytes) -> None:
    """Remove a directory that holds nothing but directories; anything else stays, and the caller's rename fails."""
    try:
        inside = os.open(name, _FOLDER, dir_fd=folder)
    except OSError:
        return
    try:
        with os.scandir(inside) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        for below in names:
            _remove_empty(inside, below)
        os.rmdir(name, dir_fd=folder)
    except OSError:
        return
    finally:
        os.close(inside)


def _is_link_error(error: OSError) -> bool:
    return error.errno == errno.ELOOP


def pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Exactly `size` bytes of a stream."""
    while size:
        chunk = stream.read(min(size, CHUNK))
        if not chunk:
            raise WorkspaceError("git ended in the middle of an object")
        size -= len(chunk)
        yield chunk
