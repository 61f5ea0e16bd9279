"""One machine of its own for a harness: state directory, environment, clones of one repository, a provider that bills."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import runner
from runner.events.facts import Event
from runner.log import Report, Row, rows_of, verify
from runner.state import State, evolve
from runner.store import journal
from runner.store.database import Database

BIN = Path(sys.executable).parent
HERE = Path(__file__).resolve().parent
KEY = "sk-of-the-harness-0123456789abcdef"
RUNNER = (sys.executable, "-m", "runner")
_GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


@dataclass(frozen=True, slots=True)
class Machine:
    """A directory with a state directory, a home and one repository that every case clones."""

    root: Path

    @classmethod
    def make(cls, root: Path, files: Mapping[str, str]) -> Machine:
        made = cls(root)
        for folder in (made.home, made.origin, root / "cases"):
            folder.mkdir(parents=True)
        (made.home / ".gitconfig").write_text("[init]\n\tdefaultBranch = main\n")
        for name, text in files.items():
            (made.origin / name).write_text(text, "utf-8")
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "as it was"]):
            subprocess.run([*_GIT, *command], cwd=made.origin, env=made._plain(), check=True)
        made.database().close()
        # somebody may work on the code while a long soak runs: what is tested is what was there when it began
        shutil.copytree(
            Path(runner.__file__).parent, made.code / "runner", ignore=shutil.ignore_patterns("__pycache__")
        )
        return made

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def origin(self) -> Path:
        return self.root / "origin"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def _plain(self) -> dict[str, str]:
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def environ(self, url: str, case: Path) -> dict[str, str]:
        """What a person's shell would give to `runner`; TMPDIR names the case in every process it starts."""
        temporary = case / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            **self._plain(),
            "PYTHONPATH": str(self.code),
            "TMPDIR": str(temporary),
            "RUNNER_STATE_DIR": str(self.state),
            "RUNNER_SANDBOX": "none",
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": KEY,
        }

    def clone(self, name: str) -> Path:
        """A case's directory; its workspace is `work`, a clone of the repository."""
        case = self.root / "cases" / name
        case.mkdir()
        argv = ["git", "clone", "--quiet", "--no-hardlinks", str(self.origin), str(case / "work")]
        subprocess.run(argv, env=self._plain(), check=True, stdin=subprocess.DEVNULL)
        return case

    def database(self) -> Database:
        """The state database, opened anew (close it)."""
        return Database(self.state / "runner.db")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database for reading alone."""
        connection = sqlite3.connect(f"file:{self.state / 'runner.db'}?mode=ro", uri=True, timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def runs_of(self, workspace: Path) -> list[str]:
        """Runs of a workspace, oldest first."""
        with self.reading() as tx:
            sql = "SELECT id FROM run WHERE workspace = ? ORDER BY created_at"
            return [str(run) for (run,) in tx.execute(sql, (str(workspace),))]

    def head(self, run: str) -> tuple[int, str]:
        """The journal's last event and the run's summary as it is stored."""
        with self.reading() as tx:
            head, summary = tx.execute("SELECT head_seq, summary FROM run WHERE id = ?", (run,)).fetchone()
        return int(head), str(summary)

    def events(self, run: str) -> list[tuple[State, Event]]:
        """Every event of a run with the state after it."""
        database = self.database()
        try:
            state, found = State(), list[tuple[State, Event]]()
            for row in journal.rows(database, run):
                stamped = journal.known(run, row)
                assert stamped is not None
                state = evolve(state, stamped.event, row.at, row.seq)
                found.append((state, stamped.event))
            return found
        finally:
            database.close()

    def budget(self, kind: str, name: str) -> Money:
        """A scope's row of the ledger, all time."""
        sql = "SELECT limit_nano, spent, unknown, held, overrun FROM budget WHERE kind = ? AND name = ? AND bucket = 'all'"
        with self.reading() as tx:
            row = tx.execute(sql, (kind, name)).fetchone()
        return Money(*row) if row is not None else Money(None, 0, 0, 0, 0)

    @contextmanager
    def journal(self, run: str) -> Iterator[tuple[Iterator[Row], tuple[int, str]]]:
        """A run's rows as the log reads them, and the journal's head."""
        database = self.database()
        try:
            row = journal.find_run(database, run)
            yield rows_of(run, journal.rows(database, run)), (row.head_seq, row.head_hash)
        finally:
            database.close()

    def verify(self, run: str) -> Report:
        """Compare log, journal and head of a run."""
        with self.journal(run) as (rows, head):
            return verify(self.log(run), rows, head)

    def seed_bug(self, file: str, old: str, new: str) -> None:
        """Break the copy of the code that runs here, to see that somebody notices."""
        path = self.code / "runner" / file
        text = path.read_text("utf-8")
        if text.count(old) != 1:
            raise AssertionError(f"{file} has changed: {old!r} stands there {text.count(old)} times")
        path.write_text(text.replace(old, new), "utf-8")

    def log(self, run: str) -> Path:
        return self.state / "runs" / run / "log.jsonl"


@dataclass(frozen=True, slots=True)
class Money:
    """One row of the ledger, nano-USD."""

    limit: int | None
    spent: int
    unknown: int
    held: int
    overrun: int


def start(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its words appended to `output`."""
    with output.open("ab") as file:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes]) -> bool:
    """`kill -9` of this one process; whether it was still alive."""
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def leftovers(case: Path, marks: Sequence[str] = (), *, patience_s: float = 5.0) -> list[str]:
    """Processes that still belong to a case: by environment or directory. Waits for those about to end.

    `marks` are further words to look for in the environment: a keeper has no other.
    """
    wanted = (f"{case}/".encode(), *(mark.encode() for mark in marks))
    end = time.monotonic() + patience_s
    while (found := list(_of(case, wanted))) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def carriers(marks: Sequence[str]) -> list[int]:
    """Ids of the processes with one of these words in their environment."""
    return [int(found.split()[0]) for found in _of(Path("/nowhere"), [mark.encode() for mark in marks])]


def _of(case: Path, wanted: Sequence[bytes]) -> Iterator[str]:
    inside = os.fsencode(case) + b"/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            directory = os.fsencode((entry / "cwd").readlink()) + b"/"
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if state not in {b"Z", b"X"} and (directory.startswith(inside) or any(one in environment for one in wanted)):
            yield f"{entry.name} {words[:120]}"


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes, `.git` aside."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
