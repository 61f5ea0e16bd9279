"""Git objects, written as git would write them: blobs as they are read, trees from a list of paths.

Objects are collected in one pack file and handed to git, which checks every one of them, names it itself and flushes
it to disk. Format: `gitformat-pack(5)`.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import StateError
from runner.workspace.git import Git

BLOB, TREE = 3, 2
_NAMES = {BLOB: b"blob", TREE: b"tree"}

FILE, PROGRAM, LINK = "100644", "100755", "120000"

# Git's own limit between single files and a pack (transfer.unpackLimit).
_UNPACK_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree: its mode (FILE, PROGRAM or LINK) and the name of its blob."""

    mode: str
    blob: str


class Pack:
    """A pack being written. `known` are objects that are stored already: they are not written again."""

    def __init__(self, git: Git, known: set[str]) -> None:
        self._git = git
        self._known = known
        self._new: set[str] = set()
        try:
            # Beside the objects, so that a full disk shows here first. Unbuffered, so that it shows at the write.
            self._file = tempfile.TemporaryFile(dir=git.directory, buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise StateError(f"cannot write to {git.directory}: {error.strerror}") from error
        self._write(struct.pack(">4sII", b"PACK", 2, 0))

    @property
    def is_empty(self) -> bool:
        return not self._new

    def close(self) -> None:
        self._file.close()

    def add(self, kind: int, size: int, chunks: Iterable[bytes]) -> tuple[str, bool]:
        """Add an object of `size` bytes and name it; False says the chunks had another size, and nothing was added."""
        start = self._file.tell()
        name = hashlib.sha1(b"%s %d\0" % (_NAMES[kind], size), usedforsecurity=False)
        squeeze = zlib.compressobj(1)
        self._write(_head(kind, size))
        left, whole = size, True
        for chunk in chunks:
            whole = whole and len(chunk) <= left
            piece = chunk[:left]
            name.update(piece)
            self._write(squeeze.compress(piece))
            left -= len(piece)
        self._write(squeeze.flush())
        named, whole = name.hexdigest(), whole and not left
        if not whole or named in self._known or named in self._new:
            self._file.seek(start)
            self._file.truncate()
        else:
            self._new.add(named)
        return named, whole

    def store(self) -> None:
        """Hand everything to git. When this returns it is on disk."""
        if not self._new:
            return
        self._file.seek(0)
        self._write(struct.pack(">4sII", b"PACK", 2, len(self._new)))
        self._file.seek(0)
        total = hashlib.sha1(usedforsecurity=False)
        while chunk := self._file.read(1 << 20):
            total.update(chunk)
        self._write(total.digest())
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        if len(self._new) < _UNPACK_LIMIT:
            self._git.run("unpack-objects", "-q", give=self._file)
        else:
            self._git.run("index-pack", "--stdin", give=self._file)
        self._known |= self._new

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise StateError(f"cannot write to {self._git.directory}: {error.strerror}") from error


def _head(kind: int, size: int) -> bytes:
    byte, size = (kind << 4) | (size & 15), size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    out.append(byte)
    return bytes(out)


def name_of(data: bytes, kind: int = BLOB) -> str:
    """What git calls an object with these bytes."""
    return hashlib.sha1(b"%s %d\0%s" % (_NAMES[kind], len(data), data), usedforsecurity=False).hexdigest()


def trees(entries: Mapping[bytes, Entry]) -> tuple[str, dict[str, bytes]]:
    """The root tree of these paths, and every tree object it is made of (name -> bytes)."""
    folders: dict[bytes, list[tuple[bytes, bytes, str]]] = {b"": []}
    for path, entry in entries.items():
        folder, _, name = path.rpartition(b"/")
        folders.setdefault(folder, []).append((name, entry.mode.encode(), entry.blob))
        while folder and (above := folder.rpartition(b"/")[0]) not in folders:
            folders[above] = []
            folder = above
    made: dict[str, bytes] = {}
    root = ""
    for folder in sorted(folders, key=lambda path: path.count(b"/") + bool(path), reverse=True):
        # A folder sorts as if its name ended in a slash.
        rows = sorted(folders[folder], key=lambda row: row[0] + b"/" if row[1] == b"40000" else row[0])
        data = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(blob) for name, mode, blob in rows)
        tree = name_of(data, TREE)
        made[tree] = data
        if folder:
            above, _, name = folder.rpartition(b"/")
            folders[above].append((name, b"40000", tree))
        else:
            root = tree
    return root, made


def listing(git: Git, tree: str, *, env: Mapping[str, str] | None = None) -> dict[bytes, Entry]:
    """Every file of a stored tree."""
    found: dict[bytes, Entry] = {}
    for line in git.run("ls-tree", "-r", "-z", "--full-tree", tree, env=env).split(b"\0"):
        if line:
            facts, _, path = line.partition(b"\t")
            mode, _, blob = facts.decode().split(" ")
            found[path] = Entry(mode, blob)
    return found


def remove_leftovers(git: Git) -> None:
    """Remove what a killed git left in our own directory. Only for the holder of the workspace's lock."""
    stale = [
        *(git.directory / "refs").rglob("*.lock"),
        *git.directory.glob("*.lock"),
        *(git.directory / "objects" / "pack").glob("tmp_*"),
        *(git.directory / "objects").glob("??/tmp_obj_*"),
        *(git.directory / "objects").glob("tmp_objdir-*"),
    ]
    for path in stale:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
