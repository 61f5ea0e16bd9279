"""Look at a state database without leaving a trace: no side file is made, nothing is brought up to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

_WAL_VERSION = 2
_HEADER = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as the database has it; `summary` is what its driver last wrote about it."""

    id: str
    workspace: str
    summary: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A state database: its version and the one this runner knows, what is damaged, and its runs, newest first.

    `damage` "" is none, None was not found out in time. `wal` is false where readers would wait for writers.
    """

    version: int
    known: int
    damage: str | None
    wal: bool
    runs: tuple[Kept, ...]


def unsettled(path: Path) -> bool:
    """Whether the last writes lie beside the file and nobody has it open: looking in would have to put them in."""
    beside = path.with_name(f"{path.name}-wal")
    return beside.exists() and beside.stat().st_size > 0 and not path.with_name(f"{path.name}-shm").exists()


def inspect(path: Path, *, seconds: float) -> Inspected:
    """Read the database, and check it for at most `seconds`. Raises sqlite3.Error for what is none, and OSError."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    with _opened(path) as connection:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        found = list(_runs(connection)) if version else []
        return Inspected(
            version=version,
            known=_known(),
            damage=_damage(connection, seconds),
            wal=len(header) == _HEADER and header[18] == _WAL_VERSION,
            runs=tuple(found),
        )


@contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    # beside a database in WAL mode that nobody has open, a plain reader would make two files and leave them
    alone = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2)) as connection:
        yield connection


def _runs(connection: sqlite3.Connection) -> Iterator[Kept]:
    for ident, workspace, text in connection.execute(
        "SELECT id, workspace, summary FROM run ORDER BY created_at DESC, id DESC"
    ):
        try:
            summary = msgspec.json.decode(str(text), type=dict[str, object])
        except msgspec.DecodeError:
            summary = {}
        if not summary.get("cleaned"):
            yield Kept(str(ident), str(workspace), summary)


def _damage(connection: sqlite3.Connection, seconds: float) -> str | None:
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: int(time.monotonic() > end), 10_000)
    try:
        said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return "" if said == "ok" else " ".join(said.split())


def _known() -> int:
    folder = resources.files("runner.store") / "migrations"
    return sum(one.name.endswith(".sql") for one in folder.iterdir())
