"""The refs of our own git directory, read and made without starting git, by git's own rules for its files.

A ref is made under `<ref>.lock`, which whoever else writes it (git as well) respects, and comes into being by a rename.
Formats: `gitrepository-layout(5)`, `git-pack-refs(1)`.
"""

# Paths are strings here, as in the store.
# ruff: noqa: PTH103, PTH104, PTH108, PTH120, PTH123, PTH208

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from runner.errors import StateError, WorkspaceError
from runner.workspace.store import flush, write_all

_NAME = re.compile(rb"[0-9a-f]{40}\Z")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Refs:
    """Refs by full name (`refs/…`), each the name of an object."""

    def __init__(self, directory: Path) -> None:
        self._directory = os.fspath(directory)

    def read(self, ref: str) -> str | None:
        """What a ref names; None when it is not there. A single file outranks the packed list."""
        return self._single(ref) or self._packed().get(ref)

    def below(self, folder: str) -> dict[str, str]:
        """Every ref directly in a folder of refs."""
        found: dict[str, str] = {}
        # In this order: git packs a ref before it removes the file, so none is missed.
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(f"{self._directory}/{folder}"):
                ref = f"{folder}/{name}"
                if not name.endswith(".lock") and (value := self._single(ref)) is not None:
                    found[ref] = value
        for ref, value in self._packed().items():
            if ref.rpartition("/")[0] == folder:
                found.setdefault(ref, value)
        return found

    def create(self, ref: str, value: str) -> bool:
        """Make a ref, on disk when this returns; False when it is there already, whatever it names."""
        place = f"{self._directory}/{ref}"
        lock, folder = f"{place}.lock", os.path.dirname(place)
        try:
            os.makedirs(folder, exist_ok=True)
            handle = os.open(lock, _NEW, 0o600)
        except FileExistsError as error:
            raise WorkspaceError(
                f"{ref} is locked: {lock} exists", hint="another process writes it, or died doing so"
            ) from error
        except OSError as error:
            raise StateError(f"cannot write {place}: {error.strerror}") from error
        try:
            if self.read(ref) is not None:
                return False
            write_all(handle, value.encode() + b"\n")
            flush(handle)
            os.rename(lock, place)
        except OSError as error:
            raise StateError(f"cannot write {place}: {error.strerror}") from error
        finally:
            os.close(handle)
            with suppress(FileNotFoundError):
                os.unlink(lock)
        return True

    def _single(self, ref: str) -> str | None:
        try:
            with open(f"{self._directory}/{ref}", "rb") as file:
                text = file.read(100).strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StateError(f"cannot read {ref} in {self._directory}: {error.strerror}") from error
        if not _NAME.match(text):
            raise StateError(f"{ref} in {self._directory} is damaged", hint="runner checkpoints lists the others")
        return text.decode("ascii")

    def _packed(self) -> dict[str, str]:
        try:
            with open(f"{self._directory}/packed-refs", "rb") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateError(f"cannot read packed-refs in {self._directory}: {error.strerror}") from error
        pairs = [line.split(b" ", 1) for line in lines if line[:1] not in (b"#", b"^")]
        if any(len(pair) != 2 or not _NAME.match(pair[0]) for pair in pairs):
            raise StateError(f"packed-refs in {self._directory} is damaged", hint=f"git -C {self._directory} fsck")
        return {os.fsdecode(ref): name.decode("ascii") for name, ref in pairs}
