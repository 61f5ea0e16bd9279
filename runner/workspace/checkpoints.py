"""Checkpoints by number: commits on refs of the shadow directory."""

from __future__ import annotations

import re

from runner.errors import NotFoundError, WorkspaceError
from runner.values import Ms
from runner.workspace.git import Git

_SAFE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|lock\b))*\Z")


class Checkpoints:
    """Commit `refs/runner/<run>/<number>` for every checkpoint. The same facts give the same commit, anywhere."""

    def __init__(self, git: Git) -> None:
        self._git = git

    def keep(self, tree: str, *, run: str, number: int, parent: str | None, at: Ms, message: str) -> str:
        seconds, person = f"@{at // 1000} +0000", {"NAME": "runner", "EMAIL": "runner@localhost"}
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
        env = {**who, "GIT_AUTHOR_DATE": seconds, "GIT_COMMITTER_DATE": seconds}
        text = f"{message.strip()}\n\nRun: {run}\nCheckpoint: {number}\nAt: {at}\n"
        parents = () if parent is None else ("-p", parent)
        commit = self._git.text("commit-tree", tree, *parents, "-F", "-", give=text.encode(), env=env)
        ref = _ref(run, number)
        try:
            self._git.run("update-ref", ref, commit, "")
        except WorkspaceError:
            there = self._resolve(ref)
            if there is None:
                raise
            if there != commit:
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
        found = self._resolve(_ref(run, number))
        if found is None:
            raise NotFoundError(f"{run} has no checkpoint {number}", hint=f"runner checkpoints {run} lists them")
        return found

    def of(self, run: str) -> tuple[str, ...]:
        lines = self._git.text("for-each-ref", "--format=%(refname) %(objectname)", _ref(run, 0)[:-1]).splitlines()
        numbered = {int(ref.rpartition("/")[2]): commit for ref, commit in (line.split(" ") for line in lines)}
        return tuple(numbered[number] for number in sorted(numbered))

    def drop(self, run: str) -> None:
        mine = (_ref(run, 0)[:-1], f"refs/left/{run}/")
        refs = self._git.text("for-each-ref", "--format=delete %(refname)", *mine)
        if refs:
            self._git.run("update-ref", "--stdin", give=refs.encode() + b"\n")
        self._git.run("gc", "--quiet", "--prune=now")

    def tidy(self) -> None:
        self._git.run("repack", "-d", "-q")

    def _resolve(self, ref: str) -> str | None:
        return self._git.run("rev-parse", "--verify", "--quiet", ref, ok=(0, 1)).decode().strip() or None


def _ref(run: str, number: int) -> str:
    if not _SAFE_NAME.match(run) or number < 0:
        raise WorkspaceError(f"not the name of a checkpoint: {run!r} {number}")
    return f"refs/runner/{run}/{number}"
