"""Checkpoints as a branch of the user's repository. The only thing runner ever writes there, and only when asked."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import NotFoundError, RefusedError, WorkspaceError
from runner.workspace.beneath import Beneath
from runner.workspace.git import Git
from runner.workspace.objects import BLOB, FILE, PROGRAM, TREE, Entry, listing, name_of, trees
from runner.workspace.pack import Pack
from runner.workspace.repository import Repository, read_plain
from runner.workspace.shadow import ShadowWorkspace

_SUBMODULE = "160000"
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The branch that was written, its tip, and what it cannot show."""

    branch: str
    commit: str
    notes: tuple[str, ...] = ()


def export(
    workspace: ShadowWorkspace, run: str, *, into: ShadowWorkspace | None = None, force: bool = False
) -> Exported:
    """Write the checkpoints of `run` as branch `runner/<run>` on top of the user's HEAD.

    `into` is the user's directory where the run worked in a copy of it.

    Adds objects and that one ref; HEAD, index, working tree, configuration and every other ref stay as they are, and
    no git runs in the user's repository. RefusedError when the branch exists (unless `force`) or is checked out.
    """
    user = into or workspace
    repository = user.repository
    if repository is None:
        raise RefusedError(f"{user.root} is in no git repository", hint="git init, then export again")
    repository.needs_plain_format("an export")
    commits = workspace.checkpoints(run)
    if not commits:
        raise NotFoundError(f"{run} has no checkpoints", hint="runner runs lists the runs")
    ref = f"refs/heads/runner/{run}"
    _may_write(repository, ref, force=force)
    _, head = repository.head()
    chain = _Chain(workspace, repository, head, root=user.root)
    tip = head
    for commit in commits:
        tip = chain.add(commit, tip)
    if tip is None or tip == head:
        raise RefusedError(f"{run} changed nothing since HEAD; there is nothing to export")
    _send(workspace.git, repository, tip, head)
    try:
        with Beneath(repository.common.resolve()) as beneath:
            beneath.write(ref.encode(), FILE, [f"{tip}\n".encode()])
    except OSError as error:
        raise WorkspaceError(f"cannot write {ref} in {repository.common}: {error.strerror}") from error
    return Exported(branch=f"runner/{run}", commit=tip, notes=tuple(sorted(chain.notes)))


class _Chain:
    """Rebuilds checkpoints as commits that belong into the user's history."""

    def __init__(self, workspace: ShadowWorkspace, repository: Repository, head: str | None, *, root: Path) -> None:
        self._git = workspace.git
        self._workspace = workspace
        self._env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(os.fspath(repository.objects.resolve()))}
        inside = os.fsencode(root.relative_to(repository.top))
        self._prefix = b"" if inside == b"." else inside + b"/"
        self._head = listing(self._git, head, env=self._env) if head else {}
        self._known: set[str] = set()
        self._first: Mapping[bytes, Entry] | None = None
        self._crlf: set[bytes] = set()
        self._as_in_head: dict[bytes, Entry] = {}
        self._last_tree = self._git.text("rev-parse", f"{head}^{{tree}}", env=self._env) if head else ""
        self.notes: set[str] = set()

    def add(self, commit: str, parent: str | None) -> str | None:
        entries = dict(self._workspace.entries(commit))
        if self._first is None:
            self._first = entries
            self._learn(entries)
        pack = Pack(self._workspace.store, self._known)
        try:
            tree, made = trees(self._whole(entries, pack))
            for data in made.values():
                pack.add(TREE, len(data), [data])
            pack.store()
        finally:
            pack.close()
        if tree == self._last_tree:
            return parent
        self._last_tree = tree
        told = self._git.run("cat-file", "commit", commit)
        rest = told[told.index(b"\nauthor ") + 1 :]
        lead = f"tree {tree}\n" + (f"parent {parent}\n" if parent else "")
        return self._git.text("hash-object", "-t", "commit", "-w", "--stdin", give=lead.encode() + rest)

    def _whole(self, entries: dict[bytes, Entry], pack: Pack) -> dict[bytes, Entry]:
        """The tree of the whole repository: the parts outside the workspace and submodules as HEAD has them."""
        whole = {path: entry for path, entry in self._head.items() if not path.startswith(self._prefix)}
        for path, entry in entries.items():
            whole[self._prefix + path] = self._as_committed(path, entry, pack)
        for path, entry in self._head.items():
            if entry.mode == _SUBMODULE and path.startswith(self._prefix):
                for inner in [inner for inner in whole if inner.startswith(path + b"/")]:
                    del whole[inner]
                    self.notes.add(f"{os.fsdecode(path)}: a submodule; changes inside it are not in the branch")
                whole[path] = entry
        return whole

    def _learn(self, first: Mapping[bytes, Entry]) -> None:
        """Find files that git stores in another form than they have in the working tree."""
        differing: dict[bytes, Entry] = {}
        for path, entry in first.items():
            head = self._head.get(self._prefix + path)
            if head is not None and head.blob != entry.blob and {head.mode, entry.mode} <= {FILE, PROGRAM}:
                differing[path] = head
        for path, head in differing.items():
            data = self._git.run("cat-file", "blob", first[path].blob)
            if b"\r\n" in data and name_of(data.replace(b"\r\n", b"\n")) == head.blob:
                self._crlf.add(path)
            else:
                self._learn_pointer(path, head, data)

    def _learn_pointer(self, path: bytes, head: Entry, data: bytes) -> None:
        if int(self._git.run("cat-file", "-s", head.blob, env=self._env)) > 1024:
            return
        stored = self._git.run("cat-file", "blob", head.blob, env=self._env)
        if stored.startswith(_LFS) and hashlib.sha256(data).hexdigest().encode() in stored:
            self._as_in_head[path] = head

    def _as_committed(self, path: bytes, entry: Entry, pack: Pack) -> Entry:
        if path in self._crlf and entry.mode in (FILE, PROGRAM):
            data = self._git.run("cat-file", "blob", entry.blob).replace(b"\r\n", b"\n")
            return Entry(entry.mode, pack.add(BLOB, len(data), [data])[0])
        if path in self._as_in_head and self._first is not None:
            if entry == self._first.get(path):
                return Entry(entry.mode, self._as_in_head[path].blob)
            self.notes.add(f"{os.fsdecode(path)}: kept by Git LFS; the branch has its whole content, not a pointer")
        return entry


def _may_write(repository: Repository, ref: str, *, force: bool) -> None:
    refs = repository.refs()
    if ref in refs and not force:
        raise RefusedError(f"the branch {ref.removeprefix('refs/heads/')} exists already", hint="--force replaces it")
    if "refs/heads/runner" in refs or any(name.startswith(f"{ref}/") for name in refs):
        raise RefusedError(f"a branch in the way of {ref.removeprefix('refs/heads/')}", hint="rename it")
    for head in (
        repository.common / "HEAD",
        repository.git / "HEAD",
        *(repository.common / "worktrees").glob("*/HEAD"),
    ):
        if (read_plain(head) or b"").decode("utf-8", "replace").strip() == f"ref: {ref}":
            raise RefusedError(
                f"{ref.removeprefix('refs/heads/')} is checked out", hint="check out another branch first"
            )


def _send(git: Git, repository: Repository, tip: str, head: str | None) -> None:
    """Copy what the branch needs beside the user's objects. The git directory at work is our own throughout."""
    objects = os.fspath(repository.objects.resolve())
    wanted = f"{tip}\n" + (f"^{head}\n" if head else "")
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(objects)}
    with tempfile.TemporaryFile(dir=git.directory) as pack:
        git.run("pack-objects", "--revs", "--stdout", "-q", give=wanted.encode(), take=pack, env=env)
        pack.seek(0)
        git.run("index-pack", "--stdin", give=pack, env={"GIT_OBJECT_DIRECTORY": objects})
    there = git.run("cat-file", "-t", tip, env={"GIT_OBJECT_DIRECTORY": objects})
    if there.strip() != b"commit":
        raise WorkspaceError(f"{tip} did not arrive in {objects}")


def _quoted(path: str) -> str:
    """A path as GIT_ALTERNATE_OBJECT_DIRECTORIES takes it, colons and quotes included."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
