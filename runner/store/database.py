"""One SQLite file: opening, migrating, and transactions that either happened or did not."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from runner.errors import StateError

BUSY_MS = 20_000


class Database:
    """The state database. One connection per thread that writes; other processes queue fairly behind a side file.

    Raises StateError (exit 73) whenever the disk or the file refuses.
    """

    def __init__(self, path: Path, *, create: bool = True, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._side, self._full = -1, True
        if (read_only or not create) and not path.exists():
            msg = f"no state database at {path}"
            raise StateError(msg, hint="nothing was ever run with this state directory; see `runner where`")
        if read_only:
            self._connection = _reading(path)
            self._refuse_older()
        else:
            self._open_to_write()
            self._file = _identity(path)
            self._migrate()

    def _open_to_write(self) -> None:
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._side = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
            )
            path.chmod(0o600)
            # changing to WAL does not wait for others that open the file at the same moment
            fcntl.flock(self._side, fcntl.LOCK_EX)
            try:
                for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
                    self._connection.execute(f"PRAGMA {pragma}")
            finally:
                fcntl.flock(self._side, fcntl.LOCK_UN)
        except (OSError, sqlite3.Error) as error:
            raise _refused(path, error) from error

    def close(self) -> None:
        """Close the file; the database stays usable by others."""
        with self._lock:
            self._connection.close()
            if self._side >= 0:
                os.close(self._side)

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """Let every query inside see the database as it was at the first one, whatever others write meanwhile."""
        with self._lock:
            self.query("BEGIN")
            try:
                yield
            finally:
                self.query("ROLLBACK")

    def compact(self) -> None:
        """Give the space of deleted rows back to the disk, unless somebody is using the database right now."""
        with self._lock, suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA busy_timeout=0")
            try:
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")

    @contextmanager
    def transaction(self, *, durable: bool) -> Generator[sqlite3.Connection]:
        """All or nothing. `durable` waits for the disk itself; otherwise a power loss may take the last commits."""
        with self._lock:
            try:
                fcntl.flock(self._side, fcntl.LOCK_EX)
                self._refuse_another_file()
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

    def _refuse_another_file(self) -> None:
        """What is written to a file that was removed or replaced is on no record."""
        if self._file is not None and _identity(self.path) != self._file:
            msg = f"the state database {self.path} was removed or replaced while runner was using it"
            raise StateError(msg, hint="put it back; nothing more was sent, and what was recorded there is not counted")

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
        if self._known_version(len(scripts)) == len(scripts):
            return
        with self.transaction(durable=True) as connection:
            # somebody else, perhaps a newer runner, may have migrated it since
            have = self._known_version(len(scripts))
            if have and have < len(scripts):
                self._back_up(have)
            for script in scripts[have:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(scripts)}")

    def _known_version(self, newest: int) -> int:
        have = self._version()
        if have > newest:
            msg = f"{self.path} was written by a newer runner (state version {have}, this one knows {newest})"
            raise StateError(msg, hint="use the newer runner, or another directory with RUNNER_STATE_DIR")
        return have

    def _refuse_older(self) -> None:
        known = len(_scripts())
        if (have := self._known_version(known)) < known:
            msg = f"{self.path} was written by an older runner (state version {have}, this one's is {known})"
            raise StateError(msg, hint="the next `runner loop` or `runner resume` brings it up to date, with a backup")

    def _back_up(self, version: int) -> None:
        copy = self.path.with_suffix(f".v{version}.bak")
        copy.touch(mode=0o600)
        target = sqlite3.connect(copy)
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


def _reading(path: Path) -> sqlite3.Connection:
    """Open for reading alone, on a disk that cannot be written as well.

    A database in WAL mode is read through two side files. Where they are gone and cannot be made, nobody has it open
    and everything is in the file itself, which may then be taken as it stands.
    """
    uri = path.absolute().as_uri()
    alone = not path.with_name(f"{path.name}-wal").exists()
    try:
        return _opened(f"{uri}?mode=ro")
    except sqlite3.Error as error:
        if not alone:
            raise _refused(path, error) from error
    try:
        return _opened(f"{uri}?mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise _refused(path, error) from error


def _opened(uri: str) -> sqlite3.Connection:
    timeout = BUSY_MS / 1000
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout)
    connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return connection


def _scripts() -> list[str]:
    folder = resources.files("runner.store") / "migrations"
    return [one.read_text() for one in sorted(folder.iterdir(), key=lambda one: one.name) if one.name.endswith(".sql")]


def _statements(script: str) -> list[str]:
    plain = re.sub(r"--[^\n]*", "", script)
    return [statement for statement in (part.strip() for part in plain.split(";")) if statement]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refused(path: Path, error: Exception) -> StateError:
    msg = f"cannot use the state database {path}: {error}"
    hint = f"check free space and permissions of {path.parent}, or set RUNNER_STATE_DIR; nothing more was sent"
    return StateError(msg, hint=hint)
