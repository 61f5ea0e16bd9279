"""A lease the kernel gives back by itself: an exclusive `flock` on a side file, gone when its holder is."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from runner.errors import BusyError, StateError

_LOOKS, _LOOK_S = 5, 0.01


class Lease:
    """Held by one process at a time. Raises BusyError (exit 75) naming the holder."""

    def __init__(self, path: Path, what: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            msg = f"cannot use {path}: {error}"
            raise StateError(msg, hint="check free space and permissions, or set RUNNER_STATE_DIR") from error
        try:
            _lock_alone(self._file)
        except BlockingIOError:
            holder = holder_of(path)
            os.close(self._file)
            msg = f"{what} is held by another process{f' (pid {holder})' if holder else ''}"
            hint = "wait for it, look on with `runner watch`, or end it with `runner stop`"
            raise BusyError(msg, hint=hint) from None
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, str(os.getpid()).encode(), 0)
        except OSError as error:
            os.close(self._file)
            msg = f"cannot write {path}: {error}"
            raise StateError(msg, hint="check free space and permissions, or set RUNNER_STATE_DIR") from error

    def release(self) -> None:
        """Give it back now rather than at process end."""
        os.close(self._file)


def _lock_alone(file: int) -> None:
    """Take the lock, or raise BlockingIOError. A look at it by `is_held` is over within these tries."""
    for _ in range(_LOOKS):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_S)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder_of(path: Path) -> int | None:
    """The pid that wrote itself into a lease file; None if nobody did. It may have died since."""
    try:
        text = path.read_text()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def is_held(path: Path) -> bool:
    """Whether some living process holds this lease now."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
