"""Where a run's things live in the state directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner.store.database import Database


@dataclass(frozen=True, slots=True)
class State:
    """The state directory: one database, one directory per run, one shadow git directory per workspace."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "runner.db"

    @property
    def approvals(self) -> Path:
        """What a server of approvals keeps: see `runner.app.serving`."""
        return self.root / "approvals"

    def open(self, *, create: bool = True) -> Database:
        """Open the database. Raises StateError (exit 73)."""
        return Database(self.database, create=create)

    def run(self, run: str) -> RunPlace:
        """The place of one run."""
        return RunPlace(self.root / "runs" / run)

    def worktree(self, run: str) -> Path:
        """The working copy of a run with `--worktree`."""
        return self.root / "worktrees" / run


@dataclass(frozen=True, slots=True)
class RunPlace:
    """One run's directory."""

    root: Path

    @property
    def lease(self) -> Path:
        return self.root / "lease"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    @property
    def now(self) -> Path:
        """What its driver shows while it drives: see `runner.app.present`."""
        return self.root / "now.json"

    @property
    def artefacts(self) -> Path:
        return self.root / "artefacts"

    @property
    def home(self) -> Path:
        """What commands of the run have as HOME behind walls."""
        return self.root / "home"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"
