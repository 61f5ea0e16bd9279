"""The objects of our own git directory, read and written without starting git.

A git process costs more than the few objects of a step. Written are loose objects and packs without deltas, the way
git writes them: under a temporary name, flushed to disk, then renamed. Read is whatever git may have made of them
(`git repack` makes deltas), and each object is held against its name.

Formats: `gitformat-pack(5)`, `gitrepository-layout(5)`.
"""

# Paths are strings here: a step asks for many, and a Path costs more than the call it is made for.
# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH110, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runner.errors import StateError, WorkspaceError
from runner.workspace.objects import NAMES
from runner.workspace.packed import Index

_LEVEL = 1
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# As git calls what is unfinished.
_LOOSE, _PACK, _INDEX = "tmp_obj_", "tmp_pack_", "tmp_idx_"
# A pack that is open for reading costs a descriptor.
_MOST_OPEN = 32
_KINDS = {name: kind for kind, name in NAMES.items()}


def flush(handle: int) -> None:
    """Bring a file's bytes to the disk, past its cache where the system makes a difference (macOS)."""
    os.fsync(handle)
    if (whole := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        fcntl.fcntl(handle, whole)


def flush_all(handles: list[int]) -> None:
    """Flush several files at once: the file system brings them to the disk together, in the time of one or two."""
    errors: list[OSError] = []

    def one(handle: int) -> None:
        try:
            flush(handle)
        except OSError as error:
            errors.append(error)

    started: list[threading.Thread] = []
    for handle in handles[1:]:
        thread = threading.Thread(target=one, args=(handle,))
        try:
            thread.start()
            started.append(thread)
        except RuntimeError:  # this user may have no more of them
            one(handle)
    for handle in handles[:1]:
        one(handle)
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]


class Store:
    """Objects under `<git directory>/objects`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._objects = os.fspath(directory / "objects")
        self._indexes: dict[str, Index] | None = None

    # ---- reading -----------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether an object is stored. One that another process stored a moment ago may be missed."""
        raw = bytes.fromhex(name)
        indexes = self._packs() if self._indexes is None else self._indexes
        return any(index.find(raw) is not None for index in indexes.values()) or os.path.exists(self._loose(name))

    def missing(self, names: Iterable[str]) -> set[str]:
        """Which of these objects are not stored, as it is at this moment."""
        left = {bytes.fromhex(name) for name in names}
        for index in self._packs().values():
            left -= index.among(left)
        return {raw.hex() for raw in left if not os.path.exists(self._loose(raw.hex()))}

    def read(self, name: str) -> tuple[int, bytes] | None:
        """An object's kind and bytes, checked against its name; None when it is not there, or only git can read it."""
        found = self._read_packed(name) or self._read_loose(name)
        if found is None:
            self._packs()  # another process may have packed it meanwhile
            found = self._read_packed(name)
        if found is not None:
            kind, data = found
            if hashlib.sha1(b"%s %d\0%s" % (NAMES[kind], len(data), data), usedforsecurity=False).hexdigest() != name:
                raise WorkspaceError(f"object {name} in {self.directory} is damaged")
        return found

    def _packs(self) -> dict[str, Index]:
        folder, known = f"{self._objects}/pack", self._indexes or {}
        try:
            there = set(os.listdir(folder))
        except OSError:
            there = set[str]()
        # as git does: an index that has lost its pack holds nothing
        names = sorted(name for name in there if name.endswith(".idx") and name.removesuffix("idx") + "pack" in there)
        found: dict[str, Index] = {}
        for name in names:
            # Gone since the look: packed again by another process. Damaged: what it held counts as not stored.
            with suppress(FileNotFoundError, ValueError, WorkspaceError):
                found[name] = known.get(name) or Index(f"{folder}/{name}")
        self._indexes = found
        return found

    def _read_packed(self, name: str) -> tuple[int, bytes] | None:
        raw = bytes.fromhex(name)
        indexes = self._packs() if self._indexes is None else self._indexes
        for index in indexes.values():
            with suppress(FileNotFoundError, IndexError, zlib.error):
                at = index.find(raw)
                if at is None:
                    continue
                if not index.is_open and sum(one.is_open for one in indexes.values()) >= _MOST_OPEN:
                    for one in indexes.values():
                        one.shut()
                if (found := index.read(at)) is not None:
                    return found
        return None

    def _read_loose(self, name: str) -> tuple[int, bytes] | None:
        try:
            with open(self._loose(name), "rb", buffering=0) as file:
                head, _, data = zlib.decompress(file.readall()).partition(b"\0")
            return _KINDS[head.partition(b" ")[0]], data
        except FileNotFoundError:
            return None
        except (zlib.error, KeyError) as error:
            raise WorkspaceError(f"object {name} in {self.directory} is damaged") from error

    def _loose(self, name: str) -> str:
        return f"{self._objects}/{name[:2]}/{name[2:]}"

    # ---- writing -----------------------------------------------------------------------------------------

    def put(self, objects: Iterable[tuple[str, int, bytes]]) -> None:
        """Store (name, kind, bytes) as loose objects. When this returns they are on disk."""
        written: list[tuple[int, str, str]] = []
        try:
            for name, kind, data in objects:
                place = self._loose(name)
                temporary = f"{self._objects}/{name[:2]}/{_LOOSE}{secrets.token_hex(6)}"
                try:
                    handle = os.open(temporary, _NEW, 0o444)
                except FileNotFoundError:
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    handle = os.open(temporary, _NEW, 0o444)
                written.append((handle, temporary, place))
                write_all(handle, zlib.compress(b"%s %d\0%s" % (NAMES[kind], len(data), data), _LEVEL))
            flush_all([handle for handle, _, _ in written])
            for _, temporary, place in written:
                os.rename(temporary, place)
        except OSError as error:
            for _, temporary, _ in written:
                with suppress(OSError):
                    os.unlink(temporary)
            raise StateError(f"cannot write to {self.directory}: {error.strerror}") from error
        finally:
            for handle, _, _ in written:
                os.close(handle)

    def adopt(self, handle: int, temporary: str, rows: list[tuple[bytes, int, int]], checksum: bytes) -> None:
        """Put a finished pack in place, with an index of its (raw name, crc, offset) rows. It is on disk then."""
        folder = f"{self._objects}/pack"
        name = f"{folder}/pack-{checksum.hex()}"
        index = f"{folder}/{_INDEX}{secrets.token_hex(6)}"
        try:
            second = os.open(index, _NEW, 0o444)
            try:
                write_all(second, _index_of(rows, checksum))
                os.fchmod(handle, 0o444)
                flush_all([handle, second])
            finally:
                os.close(second)
            # git looks for indexes: one that is there has its pack.
            os.rename(temporary, f"{name}.pack")
            os.rename(index, f"{name}.idx")
        except OSError as error:
            with suppress(OSError):
                os.unlink(index)
            raise StateError(f"cannot write to {self.directory}: {error.strerror}") from error
        if self._indexes is not None:
            self._indexes[os.path.basename(name) + ".idx"] = Index(f"{name}.idx")

    def temporary_pack(self) -> tuple[int, str]:
        """A new file, open for writing and reading, to become a pack."""
        path = f"{self._objects}/pack/{_PACK}{secrets.token_hex(6)}"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path
        except OSError as error:
            raise StateError(f"cannot write to {self.directory}: {error.strerror}") from error

    @property
    def is_crowded(self) -> bool:
        """Whether so many loose objects or packs have gathered that packing them is worth a while."""
        loose, packs = [], []
        with suppress(FileNotFoundError):
            packs = os.listdir(f"{self._objects}/pack")
        with suppress(FileNotFoundError):
            # Names are spread evenly: one folder tells of all, as git's own gc judges.
            loose = os.listdir(f"{self._objects}/17")
        return len(loose) > 16 or len(packs) > 100


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write every byte. OSError when the disk takes no more."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _index_of(rows: list[tuple[bytes, int, int]], checksum: bytes) -> bytes:
    rows.sort()
    counts = [0] * 256
    for raw, _, _ in rows:
        counts[raw[0]] += 1
    total, fan = 0, list[int]()
    for count in counts:
        total += count
        fan.append(total)
    far = [offset for _, _, offset in rows if offset > 0x7FFFFFFF]
    place = {offset: 0x80000000 | number for number, offset in enumerate(far)}
    data = b"".join(
        (
            b"\xfftOc\0\0\0\x02",
            struct.pack(">256I", *fan),
            b"".join(raw for raw, _, _ in rows),
            struct.pack(f">{total}I", *(crc for _, crc, _ in rows)),
            struct.pack(f">{total}I", *(place.get(offset, offset) for _, _, offset in rows)),
            struct.pack(f">{len(far)}Q", *far),
            checksum,
        )
    )
    return data + hashlib.sha1(data, usedforsecurity=False).digest()


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed process left in our own directory. Only for the holder of the workspace's lock."""
    for folder, _, names in os.walk(directory / "refs"):
        _remove(folder, (name for name in names if name.endswith(".lock")))
    _remove(os.fspath(directory), (name for name in os.listdir(directory) if name.endswith(".lock")))
    objects = os.fspath(directory / "objects")
    for name in os.listdir(objects):
        if len(name) == 2:
            _remove(f"{objects}/{name}", (one for one in os.listdir(f"{objects}/{name}") if one.startswith(_LOOSE)))
        elif name.startswith("tmp_objdir-"):
            for folder, folders, files in os.walk(f"{objects}/{name}", topdown=False):
                _remove(folder, files)
                for one in folders:
                    os.rmdir(f"{folder}/{one}")
            os.rmdir(f"{objects}/{name}")
    packs = set(os.listdir(f"{objects}/pack"))
    lonely = {one for one in packs if one.endswith(".pack") and one.removesuffix(".pack") + ".idx" not in packs}
    _remove(f"{objects}/pack", (one for one in packs if one.startswith("tmp_") or one in lonely))


def _remove(folder: str, names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")
