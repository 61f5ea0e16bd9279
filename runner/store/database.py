"""One SQLite file: opening, migrating, and transactions that either happened or did not."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from runner.errors import StateError

BUSY_MS = 20_000


class Database:
    """The state database. One connection per thread that writes; other processes queue fairly behind a side file.

    Raises StateError (exit 73) whenever the disk or the file refuses.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._lock = threading.RLock()
        if not create and not path.exists():
            msg = f"no state database at {path}"
            raise StateError(msg, hint="nothing was ever run with this state directory; see `runner where`")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._side = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
            )
            path.chmod(0o600)
            for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
        except (OSError, sqlite3.Error) as error:
            raise _refused(path, error) from error
        self._full = True
        self._migrate()

    def close(self) -> None:
        """Close the file; the database stays usable by others."""
        with self._lock:
            self._connection.close()
            os.close(self._side)

    @contextmanager
    def transaction(self, *, durable: bool) -> Generator[sqlite3.Connection]:
        """All or nothing. `durable` waits for the disk itself; otherwise a power loss may take the last commits."""
        with self._lock:
            try:
                fcntl.flock(self._side, fcntl.LOCK_EX)
                if durable != self._full:
                    self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                    self._full = durable
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except (OSError, sqlite3.Error) as error:
                raise _refused(self.path, error) from error
            finally:
                fcntl.flock(self._side, fcntl.LOCK_UN)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Read rows by name, outside any transaction of ours."""
        with self._lock:
            try:
                cursor = self._connection.cursor()
                cursor.row_factory = sqlite3.Row
                # the row factory set just above makes these Rows
                rows: list[sqlite3.Row] = cursor.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise _refused(self.path, error) from error
        return rows

    def _migrate(self) -> None:
        scripts = _scripts()
        have = self._version()
        if have == len(scripts):
            return
        if have > len(scripts):
            msg = f"{self.path} was written by a newer runner (state version {have}, this one knows {len(scripts)})"
            raise StateError(msg, hint="use the newer runner, or another directory with RUNNER_STATE_DIR")
        with self.transaction(durable=True) as connection:
            have = self._version()
            if have:
                self._back_up(have)
            for script in scripts[have:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(scripts)}")

    def _back_up(self, version: int) -> None:
        target = sqlite3.connect(self.path.with_suffix(f".v{version}.bak"))
        source = sqlite3.connect(self.path)
        with target, source:
            source.backup(target)
        target.close()
        source.close()

    def _version(self) -> int:
        try:
            row: tuple[int] = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise _refused(self.path, error) from error
        return row[0]


def _scripts() -> list[str]:
    folder = resources.files("runner.store") / "migrations"
    return [one.read_text() for one in sorted(folder.iterdir(), key=lambda one: one.name) if one.name.endswith(".sql")]


def _statements(script: str) -> list[str]:
    plain = re.sub(r"--[^\n]*", "", script)
    return [statement for statement in (part.strip() for part in plain.split(";")) if statement]


def _refused(path: Path, error: Exception) -> StateError:
    msg = f"cannot use the state database {path}: {error}"
    hint = f"check free space and permissions of {path.parent}, or set RUNNER_STATE_DIR; nothing more was sent"
    return StateError(msg, hint=hint)
