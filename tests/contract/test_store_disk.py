"""What the store promises of its file: on disk when it says so, one version, and a refusal that says why."""

import ctypes
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import NotFoundError, StateError
from runner.events.facts import (
    LimitsSet,
    StartTool,
    ToolStarted,
    Warned,
)
from runner.store import database as database_module
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import JournalRecorder, open_run
from runner.values import Effect, Limits, ToolCall
from tests.contract.store_parts import Clock, begin, database, dispatch, kinds, limit, project, settled

__all__ = ["database"]


def test_a_dispatch_waits_for_the_disk_and_a_settlement_does_not(database: Database):
    recorder = begin(database)
    seen: dict[str, int] = {}

    def look(kind: str) -> None:
        seen[kind] = database._connection.execute("PRAGMA synchronous").fetchone()[0]

    recorder.listen(lambda stamped, _: look(type(stamped.event).__name__))
    recorder.record(dispatch())
    recorder.record(settled())
    recorder.record(LimitsSet(limits=Limits(usd=5)))
    recorder.record(Warned(topic="t", text=""))
    recorder.record(StartTool(started=ToolStarted(call=ToolCall("c", "run", "{}"), effect=Effect.COMMANDS)))
    full, normal = 2, 1
    assert seen == {
        "CallDispatched": full,
        "CallSettled": normal,
        "LimitsSet": full,
        "Warned": normal,
        "ToolStarted": full,
    }


def test_the_file_is_in_wal_mode_and_for_its_owner_alone(database: Database):
    assert database.query("PRAGMA journal_mode")[0][0] == "wal"
    begin(database)
    for path in database.path.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_newer_state_is_refused_with_both_versions_and_left_alone(database: Database):
    with sqlite3.connect(database.path) as raw:
        raw.execute("PRAGMA user_version=99")
    with pytest.raises(StateError, match=r"newer runner \(state version 99, this one knows \d+\)") as error:
        Database(database.path)
    assert "RUNNER_STATE_DIR" in error.value.hint
    assert database.query("PRAGMA user_version")[0][0] == 99


def test_an_older_state_is_migrated_after_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "runner.db"
    first = Database(path)
    begin(first)
    first.close()
    scripts = database_module._scripts()
    monkeypatch.setattr(
        database_module, "_scripts", lambda: [*scripts, "-- more\nALTER TABLE run ADD COLUMN extra TEXT;"]
    )
    second = Database(path)
    assert second.query("PRAGMA user_version")[0][0] == len(scripts) + 1
    assert second.query("SELECT id, extra FROM run")[0]["id"] == "r1"
    second.close()
    backup = path.with_suffix(f".v{len(scripts)}.bak")
    assert backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(backup) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(scripts),)
        assert raw.execute("SELECT id FROM run").fetchall() == [("r1",)]


def test_a_migration_that_fails_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "runner.db"
    Database(path).close()
    scripts = database_module._scripts()
    bad = "ALTER TABLE run ADD COLUMN extra TEXT; CREATE TABLE run (id TEXT);"
    monkeypatch.setattr(database_module, "_scripts", lambda: [*scripts, bad])
    with pytest.raises(StateError):
        Database(path)
    monkeypatch.undo()
    again = Database(path)
    assert "extra" not in [row["name"] for row in again.query("PRAGMA table_info(run)")]
    again.close()


_OPEN = """
import sys
from pathlib import Path
from runner.store.database import Database
print("ready", flush=True)
sys.stdin.readline()
print(Database(Path(sys.argv[1])).query("PRAGMA user_version")[0][0])
"""


def test_many_processes_may_create_the_database_at_once(tmp_path: Path):
    path = tmp_path / "state" / "runner.db"
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for one in starters:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in starters:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    answers = [one.communicate(timeout=60) for one in starters]
    assert [answer for answer, _ in answers] == [f"{len(database_module._scripts())}\n"] * 6, answers


@pytest.mark.parametrize("content", [b"not a database at all, but a text", b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes):
    path = tmp_path / "runner.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match="cannot use the state database"):
        Database(path)
    assert path.read_bytes() == content


def test_a_state_directory_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="nothing more was sent"):
        Database(tmp_path / "file" / "state" / "runner.db")


def test_without_create_a_missing_database_is_said(tmp_path: Path):
    with pytest.raises(StateError, match="no state database"):
        Database(tmp_path / "runner.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_runs_are_found_by_the_ends_of_their_ids(database: Database):
    begin(database, "20250101-1-aa")
    begin(database, "20250102-1-bb")
    assert journal.find_run(database, "bb").id == "20250102-1-bb"
    with pytest.raises(NotFoundError, match="means 2 runs"):
        journal.find_run(database, "2025")
    with pytest.raises(NotFoundError, match="no run 'zz'"):
        journal.find_run(database, "zz")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; skips where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() != 0 or libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, b"size=512k,mode=700") != 0:
        pytest.skip("mounting a small disk takes root")
    yield place
    libc.umount2(bytes(place), 2)


def test_a_full_disk_refuses_the_call_and_later_carries_on(mounted: Path):
    database = Database(mounted / "runner.db")
    limit(database, 1_000_000)
    recorder = begin(database)
    settle_some(recorder, 3)
    fill(mounted / "ballast")
    with pytest.raises(StateError, match="cannot use the state database") as error:
        settle_some(recorder, 2000)
    assert error.value.exit_code == 73
    assert kinds(database).count("CallDispatched") == recorder.state.money.calls
    (mounted / "ballast").unlink()
    settle_some(recorder, recorder.state.money.calls + 2)
    state = recorder.state
    database.close()
    again = Database(mounted / "runner.db")
    assert open_run(again, "r1", Clock()).state == state
    assert project(again) == (state.money.spent, state.money.unknown, state.money.held)
    again.close()


def settle_some(recorder: JournalRecorder, calls: int) -> None:
    """Go on until so many calls are settled."""
    while recorder.state.steps < calls:
        step = recorder.state.steps + 1
        if not recorder.state.open_calls:
            recorder.record(dispatch(step))
        recorder.record(settled(step))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def test_a_disk_that_became_read_only_refuses_the_call(mounted: Path):
    database = Database(mounted / "runner.db")
    recorder = begin(database)
    database.close()
    libc = ctypes.CDLL(None, use_errno=True)
    remount_read_only = 32 | 1
    assert libc.mount(b"tmpfs", bytes(mounted), b"tmpfs", remount_read_only, b"") == 0
    with pytest.raises(StateError, match="cannot use the state database"):
        Database(mounted / "runner.db")
    assert recorder.state.money.calls == 0
