"""Checkpoints by number: commits on refs of the shadow directory."""

from __future__ import annotations

import re

from runner.errors import NotFoundError, WorkspaceError
from runner.values import Ms
from runner.workspace.git import Git
from runner.workspace.objects import COMMIT, name_of
from runner.workspace.refs import Refs
from runner.workspace.store import Store

_SAFE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|lock\b))*\Z")
_WHO = "runner <runner@localhost>"


class Checkpoints:
    """Commit `refs/runner/<run>/<number>` for every checkpoint. The same facts give the same commit, anywhere."""

    def __init__(self, git: Git, store: Store) -> None:
        self._git = git
        self._store = store
        self._refs = Refs(git.directory)

    def keep(self, tree: str, *, run: str, number: int, parent: str | None, at: Ms, message: str) -> str:
        ref = _ref(run, number)
        if lost := self._store.missing(name for name in (tree, parent) if name is not None):
            raise WorkspaceError(f"{lost.pop()}, of checkpoint {number}, is missing in {self._git.directory}")
        lines = [f"tree {tree}"]
        if parent is not None:
            lines.append(f"parent {parent}")
        lines += [f"{role} {_WHO} {at // 1000} +0000" for role in ("author", "committer")]
        # git refuses a NUL in a message, and would keep nothing.
        text = message.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")
        whole = "\n".join(lines) + f"\n\n{text}\n\nRun: {run}\nCheckpoint: {number}\nAt: {at}\n"
        data = whole.encode("utf-8", "replace")
        commit = name_of(data, COMMIT)
        if not self._store.has(commit):
            self._store.put([(commit, COMMIT, data)])
        if not self._refs.create(ref, commit) and (there := self._refs.read(ref)) is not None and there != commit:
            return self._succeed(run, number, there, commit)
        return commit

    def _succeed(self, run: str, number: int, there: str, commit: str) -> str:
        """Settle with a checkpoint that is there although nobody recorded it: left by a process that was killed."""
        same = [self._git.text("rev-parse", f"{name}^{{tree}}", f"{name}^@") for name in (there, commit)]
        if same[0] == same[1]:
            return there
        if not self._git.keeps_open:
            raise WorkspaceError(
                f"checkpoint {number} of {run} exists already and holds something else",
                hint="another process works on this run; nothing was overwritten",
            )
        # Only the holder of the lock gets here, so no living process wrote it. It is put aside, not lost.
        moves = f"update {_ref(run, number)} {commit} {there}\nupdate refs/left/{run}/{number}/{there} {there}\n"
        self._git.run("update-ref", "--stdin", give=moves.encode())
        return commit

    def find(self, run: str, number: int) -> str:
        found = self._refs.read(_ref(run, number))
        if found is None:
            raise NotFoundError(f"{run} has no checkpoint {number}", hint=f"runner checkpoints {run} lists them")
        return found

    def of(self, run: str) -> tuple[str, ...]:
        refs = self._refs.below(_ref(run, 0)[:-2])
        numbered = {int(ref.rpartition("/")[2]): commit for ref, commit in refs.items()}
        return tuple(numbered[number] for number in sorted(numbered))

    def drop(self, run: str) -> None:
        mine = (_ref(run, 0)[:-1], f"refs/left/{run}/")
        refs = self._git.text("for-each-ref", "--format=delete %(refname)", *mine)
        if refs:
            self._git.run("update-ref", "--stdin", give=refs.encode() + b"\n")
        self._git.run("gc", "--quiet", "--prune=now")

    def tidy(self) -> None:
        # Rolls small packs and loose objects into larger packs, what no ref reaches included, and leaves big packs be.
        self._git.run("repack", "--geometric=2", "-d", "-q")


def _ref(run: str, number: int) -> str:
    if not _SAFE_NAME.match(run) or number < 0:
        raise WorkspaceError(f"not the name of a checkpoint: {run!r} {number}")
    return f"refs/runner/{run}/{number}"
