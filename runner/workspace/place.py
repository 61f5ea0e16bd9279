"""Where the checkpoints of one workspace live in the state directory, and the lock on it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.errors import BusyError, StateError
from runner.workspace.git import Git
from runner.workspace.objects import remove_leftovers


@dataclass(frozen=True, slots=True)
class Place:
    """`<state>/workspaces/<key>`; the key comes from the workspace's canonical path."""

    root: Path
    folder: Path

    @classmethod
    def of(cls, root: Path, state: Path) -> Place:
        key = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        return cls(root, state.resolve() / "workspaces" / key)

    @property
    def git(self) -> Git:
        return Git(self.folder / "git")

    def create(self) -> None:
        """Make the directory (0700), its git directory and a file that names the workspace."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (self.folder / "root").exists():
                (self.folder / "root").write_bytes(os.fsencode(self.root) + b"\n")
        except OSError as error:
            raise StateError(f"cannot make {self.folder}: {error.strerror}") from error
        self.git.create()

    def keep(self, name: str, data: bytes) -> None:
        """Replace a small file in one step. These files only save work: losing one loses no checkpoint."""
        temporary = self.folder / f"{name}.{os.getpid()}.new"
        try:
            temporary.write_bytes(data)
            temporary.replace(self.folder / name)
        except OSError as error:
            raise StateError(f"cannot write {self.folder / name}: {error.strerror}") from error

    def kept(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StateError(f"cannot read {self.folder / name}: {error.strerror}") from error

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold this workspace alone; BusyError names who has it. The lock ends with the process, however it ends."""
        self.create()
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise BusyError(
                    f"process {holder} is working in {self.root}", hint="wait for it, or stop its run: runner stop"
                ) from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            remove_leftovers(self.git)
            yield
        finally:
            os.close(handle)
