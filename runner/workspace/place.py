"""Where the checkpoints of one workspace live in the state directory, and the lock on it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import BusyError, StateError
from runner.workspace.git import Git
from runner.workspace.store import remove_leftovers

_LAST_WORDS_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """`<state>/workspaces/<key>`; the key comes from the workspace's canonical path."""

    root: Path
    folder: Path
    # kept out of PATH as the workspace itself is
    copy_of: Path | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, root: Path, state: Path, *, copy_of: Path | None) -> Place:
        key = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        return cls(root, state.resolve() / "workspaces" / key, copy_of=copy_of)

    @property
    def git(self) -> Git:
        return Git(self.folder / "git", (self.root, *(() if self.copy_of is None else (self.copy_of,))))

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
    def lock(self, git: Git) -> Generator[None]:
        """Hold this workspace alone; BusyError names who has it. The lock ends with the process, however it ends.

        A git that `git` started and that outlives a killed holder keeps the lock for the moment it still needs.
        """
        self.create()
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(handle)
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            remove_leftovers(git.directory)
            git.keeps_open = (handle,)
            yield
        finally:
            git.keeps_open = ()
            os.close(handle)

    def _take(self, handle: int) -> None:
        patience = time.monotonic() + _LAST_WORDS_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
                if _is_alive(holder) or time.monotonic() > patience:
                    raise BusyError(
                        f"process {holder or 'unknown'} is working in {self.root}",
                        hint="wait for it, or stop its run: runner stop",
                    ) from error
            # Only a git of a dead holder is left; it is done in milliseconds.
            time.sleep(0.005)


def _is_alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    with suppress(OSError):
        # Killed and not yet collected by its parent is not alive. Elsewhere than on Linux it counts as alive.
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
