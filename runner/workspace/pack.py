"""New objects on their way into the store: few become loose objects, many become one pack."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runner.errors import StateError
from runner.workspace.objects import NAMES
from runner.workspace.store import Store, write_all

# A loose object costs a flush of its own, a pack costs two.
_MOST_LOOSE = 16
_MOST_HELD = 4_000_000
_PIECE = 1 << 20


class Pack:
    """Objects being gathered. `known` are objects that are stored already: they are not written again."""

    def __init__(self, store: Store, known: set[str]) -> None:
        self._store = store
        self._known = known
        self._new: set[str] = set()
        self._held: list[tuple[str, int, bytes]] = []
        self._size = 0
        self._file: tuple[int, str] | None = None
        self._rows: list[tuple[bytes, int, int]] = []
        self._at = 12

    def close(self) -> None:
        """Give up what was not stored."""
        if self._file is not None:
            os.close(self._file[0])
            with suppress(FileNotFoundError):
                Path(self._file[1]).unlink()
            self._file = None

    def add(self, kind: int, size: int, chunks: Iterable[bytes]) -> tuple[str, bool]:
        """Add an object of `size` bytes and name it; False says the chunks had another size, and nothing was added."""
        if size > _PIECE:
            return self._stream(kind, size, chunks)
        data = b"".join(chunks)
        name = hashlib.sha1(b"%s %d\0%s" % (NAMES[kind], size, data), usedforsecurity=False).hexdigest()
        if len(data) != size:
            return name, False
        if self._is_new(name):
            self._new.add(name)
            if self._file is None:
                self._held.append((name, kind, data))
                self._size += size
                if len(self._held) > _MOST_LOOSE or self._size > _MOST_HELD:
                    self._begin()
            else:
                self._append(name, kind, data)
        return name, True

    def store(self) -> None:
        """Put everything into the store. When this returns it is on disk."""
        if self._file is not None:
            self._finish(*self._file)
        elif self._held:
            self._store.put(self._held)
        self._known |= self._new

    def _is_new(self, name: str) -> bool:
        if name in self._known or name in self._new:
            return False
        if self._store.has(name):
            self._known.add(name)
            return False
        return True

    def _begin(self) -> int:
        """Go over from loose objects to a pack."""
        if self._file is None:
            # Beside the objects, so that a full disk shows here first.
            self._file = self._store.temporary_pack()
            self._write(self._file[0], struct.pack(">4sII", b"PACK", 2, 0))
            for name, kind, data in self._held:
                self._append(name, kind, data)
            self._held.clear()
        return self._file[0]

    def _append(self, name: str, kind: int, data: bytes) -> None:
        packed = _head(kind, len(data)) + zlib.compress(data, 1)
        self._write(self._begin(), packed)
        self._rows.append((bytes.fromhex(name), zlib.crc32(packed), self._at))
        self._at += len(packed)

    def _stream(self, kind: int, size: int, chunks: Iterable[bytes]) -> tuple[str, bool]:
        handle, start = self._begin(), self._at
        name = hashlib.sha1(b"%s %d\0" % (NAMES[kind], size), usedforsecurity=False)
        squeeze = zlib.compressobj(1)
        crc, at = self._more(handle, _head(kind, size), (0, start))
        left, whole = size, True
        for chunk in chunks:
            whole = whole and len(chunk) <= left
            piece = chunk[:left]
            name.update(piece)
            crc, at = self._more(handle, squeeze.compress(piece), (crc, at))
            left -= len(piece)
        crc, at = self._more(handle, squeeze.flush(), (crc, at))
        named, whole = name.hexdigest(), whole and not left
        if whole and self._is_new(named):
            self._new.add(named)
            self._rows.append((bytes.fromhex(named), crc, start))
            self._at = at
        else:
            os.lseek(handle, start, os.SEEK_SET)
            os.ftruncate(handle, start)
        return named, whole

    def _more(self, handle: int, packed: bytes, so_far: tuple[int, int]) -> tuple[int, int]:
        self._write(handle, packed)
        return zlib.crc32(packed, so_far[0]), so_far[1] + len(packed)

    def _finish(self, handle: int, path: str) -> None:
        if not self._rows:
            return
        self._patch(handle)
        total, at = hashlib.sha1(usedforsecurity=False), 0
        while piece := os.pread(handle, _PIECE, at):
            total.update(piece)
            at += len(piece)
        self._write(handle, total.digest())
        self._store.adopt(handle, path, self._rows, total.digest())

    def _patch(self, handle: int) -> None:
        try:
            os.pwrite(handle, struct.pack(">I", len(self._rows)), 8)
        except OSError as error:
            raise self._full(error) from error

    def _write(self, handle: int, data: bytes) -> None:
        try:
            write_all(handle, data)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> StateError:
        return StateError(f"cannot write to {self._store.directory}: {error.strerror}")


def _head(kind: int, size: int) -> bytes:
    byte, size = (kind << 4) | (size & 15), size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    out.append(byte)
    return bytes(out)
