"""The state directory, the database in it, and what earlier runs left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from runner.app.health.finding import Finding, Mark, World
from runner.app.places import State
from runner.config.place import nearest, network_kind
from runner.store.inspection import Inspected, inspect, unsettled
from runner.store.lease import is_held
from runner.values import counted, format_usd

LEAST_FREE = 1_000_000_000
_LEAST_FILES = 10_000
_CHECK_S = 5.0
_MOST_SHOWN = 5

_ELSEWHERE = "export RUNNER_STATE_DIR=/a/directory/on/a/local/disk"


def state(world: World) -> Iterator[Finding]:
    """Whether the state directory can serve. A probe is made in one that exists, and removed."""
    root = world.state
    there = nearest(root)
    if (kind := network_kind(root)) is not None:
        text = f"{root} is on a network file system ({kind}), where a database's locks do not hold"
        yield Finding(Mark.FAIL, "state place", text, _ELSEWHERE)
    if world.cwd is not None and root.resolve().is_relative_to(world.cwd.resolve()):
        text = f"{root} lies in this directory: no run works here, since its agent could write to it"
        yield Finding(Mark.FAIL, "state place", text, _ELSEWHERE)
    source = world.settings.state_dir.place
    if there == root:
        yield from _existing(root, source)
    elif not there.is_dir():
        yield Finding(Mark.FAIL, "state", f"{root} cannot be made: {there} is no directory", _ELSEWHERE)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(Mark.FAIL, "state", f"{root} cannot be made: {there} cannot be written", _ELSEWHERE)
    else:
        yield Finding(Mark.OK, "state", f"{root} ({source}) is made by the first run")
    yield from _space(there)


def _existing(root: Path, source: str) -> Iterator[Finding]:
    if not root.is_dir():
        yield Finding(Mark.FAIL, "state", f"{root} is no directory", _ELSEWHERE)
        return
    status = root.stat()
    try:
        _probe(root)
    except OSError as error:
        text = f"{root} cannot be written: {error.strerror}"
        mine = status.st_uid == os.getuid()
        yield Finding(Mark.FAIL, "state", text, f"chmod 700 {root}" if mine and not _is_read_only(root) else _ELSEWHERE)
        return
    except sqlite3.Error as error:
        yield Finding(Mark.FAIL, "state", f"{root}: a database does not work there: {error}", _ELSEWHERE)
        return
    yield Finding(Mark.OK, "state", f"{root} ({source}), writable, a database in WAL mode works")
    if status.st_uid != os.getuid():
        yield Finding(Mark.WARN, "state rights", f"{root} belongs to another user", f"chown -R $(id -un) {root}")
    elif status.st_mode & 0o077:
        yield Finding(Mark.NOTE, "state rights", "others may look into it; the next run closes it", f"chmod 700 {root}")


def _probe(root: Path) -> None:
    """Write, read and lock as the real database does, in a directory that goes away again."""
    with tempfile.TemporaryDirectory(prefix="doctor-", dir=root) as folder:
        path = Path(folder) / "probe.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as one:
            (mode,) = one.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                msg = f"it stays in mode {mode!r}, not WAL"
                raise sqlite3.OperationalError(msg)
            one.execute("CREATE TABLE probe (a)")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                one.execute("BEGIN IMMEDIATE")
                one.execute("INSERT INTO probe VALUES (1)")
                other.execute("SELECT a FROM probe").fetchall()
                one.execute("COMMIT")


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _space(there: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(there).free
    shown = f"{free / 1e9:.1f} GB free" if free >= 1e9 else f"{free / 1e6:.0f} MB free"
    if free < LEAST_FREE:
        fix = "make room: runner where shows what runner takes, runner clean removes old runs"
        yield Finding(Mark.WARN, "disk", f"{shown} where the state lives: a full disk stops every run", fix)
    else:
        yield Finding(Mark.OK, "disk", shown)
    status = os.statvfs(there)
    if status.f_files and status.f_favail < _LEAST_FILES:
        text = f"room for {status.f_favail} more files where the state lives"
        yield Finding(Mark.WARN, "disk", text, "remove many small files from that file system")


def database(world: World) -> Iterator[Finding]:
    """Version and integrity of the database; nothing is migrated, no side file is left."""
    path = State(world.state).database
    if not path.exists():
        yield Finding(Mark.OK, "database", "none yet: nothing was ever run")
        return
    if unsettled(path):
        text = f"{path} was left in the middle of a write"
        yield Finding(Mark.WARN, "database", text, "the next run puts that in by itself: runner runs")
        return
    try:
        found = inspect(path, seconds=_CHECK_S)
    except sqlite3.Error as error:
        yield Finding(Mark.FAIL, "database", f"{path} cannot be used: {error}", _restore(path))
        return
    yield from _judged(path, found)


def _judged(path: Path, found: Inspected) -> Iterator[Finding]:
    if found.version > found.known:
        text = f"{path} was written by a newer runner (version {found.version}, this one knows {found.known})"
        yield Finding(Mark.FAIL, "database", text, f"use that runner, or {_ELSEWHERE}")
        return
    if found.damage:
        yield Finding(Mark.FAIL, "database", f"{path} is damaged: {found.damage}", _restore(path))
        return
    if found.version < found.known:
        text = f"version {found.version}; the next run brings it to {found.known}, with a backup"
        yield Finding(Mark.NOTE, "database", text)
    if found.damage is None:
        yield Finding(Mark.NOTE, "database", f"too large to be checked within {_CHECK_S:.0f} s; nothing wrong so far")
    else:
        size = path.stat().st_size
        text = f"version {found.version}, sound, {counted(len(found.runs), 'run')}, {size / 1e6:.1f} MB"
        yield Finding(Mark.OK, "database", text)
    if not found.wal:
        text = "is not in WAL mode: readers and writers wait for each other"
        yield Finding(Mark.NOTE, "database", text, "the next run changes that by itself")


def _restore(path: Path) -> str:
    copies = sorted(path.parent.glob(f"{path.stem}.v*.bak"))
    if copies:
        return f"put the backup back: cp {copies[-1]} {path}"
    return f"set it aside (mv {path} {path}.broken), or salvage it with sqlite3's .recover; logs are in {path.parent}"


def runs(world: World) -> Iterator[Finding]:
    """Runs that stand open, money that nobody can account for, and working copies that were left."""
    place = State(world.state)
    if not place.database.exists() or unsettled(place.database):
        return
    try:
        kept = {one.id: one.summary for one in inspect(place.database, seconds=0).runs}
    except sqlite3.Error as error:
        yield Finding(Mark.WARN, "runs", f"cannot be listed: {error}", "see the database above")
        return
    driven = {run for run in kept if is_held(place.run(run).lease)}
    standing = [run for run, summary in kept.items() if summary.get("status") != "ended" and run not in driven]
    lost = [run for run in kept if _unknown(kept[run]) and run in standing]
    for run in lost[:_MOST_SHOWN]:
        text = f"{run} stands open, {format_usd(_unknown(kept[run]))} held for calls whose outcome is unknown"
        yield Finding(Mark.WARN, "runs", text, f"runner resume {run}")
    if len(lost) > _MOST_SHOWN:
        yield Finding(Mark.WARN, "runs", f"and {len(lost) - _MOST_SHOWN} more like these", "runner runs")
    if others := [run for run in standing if run not in lost]:
        yield Finding(
            Mark.NOTE,
            "runs",
            f"{len(others)} {'stands' if len(others) == 1 else 'stand'} open, the newest is {others[0]}",
            "runner runs",
        )
    yield from _copies(place, kept)
    if not standing:
        yield Finding(Mark.OK, "runs", f"{len(driven)} going on, none stands open" if driven else "none stands open")


def _unknown(summary: dict[str, object]) -> int:
    """What is kept for calls whose outcome is unknown; where nobody drives, that is every open hold too."""
    amounts = (summary.get("unknown_nano_usd"), summary.get("held_nano_usd"))
    return sum(amount for amount in amounts if isinstance(amount, int))


def _copies(place: State, kept: dict[str, dict[str, object]]) -> Iterator[Finding]:
    try:
        copies = sorted(path for path in (place.root / "worktrees").iterdir() if path.is_dir())
    except OSError:
        return
    ended = [path for path in copies if path.name in kept and kept[path.name].get("status") == "ended"]
    for path in [path for path in copies if path.name not in kept][:_MOST_SHOWN]:
        yield Finding(Mark.WARN, "worktrees", f"{path} belongs to no run", f"rm -r {path}")
    if ended:
        text = f"{len(ended)} working copies of ended runs are kept, the newest of {ended[-1].name}"
        if len(ended) == 1:
            text = f"the working copy of {ended[0].name}, an ended run, is kept"
        fix = f"runner apply {ended[-1].name}; then runner clean --older-than 0s, which removes every ended run"
        yield Finding(Mark.NOTE, "worktrees", text, fix)
