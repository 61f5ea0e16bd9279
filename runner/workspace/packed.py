"""Reads packs as git may have made them, deltas included. Format: `gitformat-pack(5)`."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path

from runner.errors import WorkspaceError
from runner.workspace.objects import NAMES

_NAMES_AT = 8 + 1024
# A mapped file keeps a descriptor for as long as it is mapped (until Python 3.13), and a long run makes many packs.
_MOST_READ = 1 << 22
# Deltas, by what they name their base.
_BY_OFFSET, _BY_NAME = 6, 7


class Index:
    """The index of one pack (version 2), and the pack."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._data = _content(path)
        if self._data[:8] != b"\xfftOc\0\0\0\x02" or len(self._data) < _NAMES_AT:
            raise WorkspaceError(f"{path} is not an index of a pack that runner can read")
        self._fan = struct.unpack_from(">256I", self._data, 8)
        self._pack: mmap.mmap | None = None

    def find(self, raw: bytes) -> int | None:
        """Where in the pack an object begins; None when it is not there."""
        first, data = raw[0], self._data
        start = _NAMES_AT + 20 * (self._fan[first - 1] if first else 0)
        end = _NAMES_AT + 20 * self._fan[first]
        at = data.find(raw, start, end)
        while at != -1 and (at - _NAMES_AT) % 20:
            at = data.find(raw, at + 1, end)
        if at == -1:
            return None
        count, row = self._fan[255], (at - _NAMES_AT) // 20
        offset: int = struct.unpack_from(">I", data, _NAMES_AT + 24 * count + 4 * row)[0]
        if offset & 0x80000000:
            place = _NAMES_AT + 28 * count + 8 * (offset & 0x7FFFFFFF)
            offset = struct.unpack_from(">Q", data, place)[0]
        return offset

    @property
    def is_open(self) -> bool:
        """Whether the pack itself is mapped."""
        return self._pack is not None

    def shut(self) -> None:
        """Let go of the pack until the next `read`."""
        if self._pack is not None:
            self._pack.close()
            self._pack = None

    def among(self, names: set[bytes]) -> set[bytes]:
        """Those of many names that it has."""
        count, data = self._fan[255], self._data
        if count > 8 * len(names):
            return {raw for raw in names if self.find(raw) is not None}
        return names.intersection(data[at : at + 20] for at in range(_NAMES_AT, _NAMES_AT + 20 * count, 20))

    def read(self, start: int) -> tuple[int, bytes] | None:
        """The object at an offset; None when it builds on one that is in no place this pack tells of."""
        if self._pack is None:
            self._pack = _mapped(self._path.removesuffix(".idx") + ".pack")
        at, kind, size = _header(self._pack, start)
        if kind in NAMES:
            return kind, _inflated(self._pack, at, size)
        if kind == _BY_OFFSET:
            back, after = _distance(self._pack, at)
            base = self.read(start - back)
        elif kind == _BY_NAME:
            place, after = self.find(self._pack[at : at + 20]), at + 20
            base = None if place is None else self.read(place)
        else:
            return None
        return base and (base[0], patched(base[1], _inflated(self._pack, after, size)))


def _content(path: str) -> bytes | mmap.mmap:
    """A file's bytes without a descriptor left open, unless it is large."""
    with Path(path).open("rb", buffering=0) as file:
        data = file.read(_MOST_READ + 1)
    return data if len(data) <= _MOST_READ else _mapped(path)


def _header(pack: mmap.mmap, at: int) -> tuple[int, int, int]:
    """Where an entry's content begins, of what kind it is and how large."""
    byte = pack[at]
    kind, size, shift = (byte >> 4) & 7, byte & 15, 4
    while byte & 0x80:
        at += 1
        byte = pack[at]
        size |= (byte & 0x7F) << shift
        shift += 7
    return at + 1, kind, size


def _distance(pack: mmap.mmap, at: int) -> tuple[int, int]:
    """How far before it the base of a delta begins, and where that number ends."""
    byte = pack[at]
    back = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = pack[at]
        back = ((back + 1) << 7) | (byte & 0x7F)
    return back, at + 1


def _inflated(pack: mmap.mmap, at: int, size: int) -> bytes:
    with memoryview(pack) as view, view[at:] as rest:
        return zlib.decompressobj().decompress(rest, size + 1)


def patched(base: bytes, delta: bytes) -> bytes:
    """What a delta makes of its base: pieces copied from it, and pieces of its own."""
    at = _skip_number(delta, _skip_number(delta, 0))
    pieces: list[bytes] = []
    while at < len(delta):
        order = delta[at]
        at += 1
        if not order & 0x80:
            pieces.append(delta[at : at + order])
            at += order
            continue
        numbers = [0] * 7
        for bit in range(7):
            if order & (1 << bit):
                numbers[bit] = delta[at]
                at += 1
        offset = int.from_bytes(numbers[:4], "little")
        size = int.from_bytes(numbers[4:], "little") or 0x10000
        pieces.append(base[offset : offset + size])
    return b"".join(pieces)


def _skip_number(data: bytes, at: int) -> int:
    while data[at] & 0x80:
        at += 1
    return at + 1


def _mapped(path: str) -> mmap.mmap:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(handle)
