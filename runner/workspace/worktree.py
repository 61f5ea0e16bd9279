"""A copy of the workspace for one run to work in, and the way its result comes back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RefusedError, StateError, WorkspaceError
from runner.ports import Snapshot
from runner.workspace.beneath import show
from runner.workspace.git import Git, bare_environment
from runner.workspace.objects import Entry
from runner.workspace.repository import Repository, read_plain
from runner.workspace.shadow import ShadowWorkspace

_REF = re.compile(r"refs/[^\s\x00-\x1f\x7f~^:?*\[\\]+\Z")


@dataclass(frozen=True, slots=True)
class Clone:
    """A run's own working copy. `start` is its tree, the same as the source's at that moment."""

    workspace: ShadowWorkspace
    start: Snapshot


def clone_for(source: ShadowWorkspace, *, into: Path, state: Path) -> Clone:
    """Copy what a checkpoint of `source` holds, uncommitted work included, into the new directory `into`.

    In a repository the copy gets a repository of its own, at the same commit and branch, whose objects are looked up
    in the user's: git works in it and changes nothing there. Ignored files stay behind (the spec's `setup` makes them
    again). When the workspace is a part of its repository, the copy is that part, at the same place under `into`.
    """
    try:
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(into.iterdir()):
            raise RefusedError(f"{into} is not empty", hint="remove it, or choose another directory")
        found = source.snapshot()
        repository = source.repository
        inside = Path() if repository is None else source.root.relative_to(repository.top)
        root = into / inside
        root.mkdir(parents=True, exist_ok=True)
        source.materialise(found.tree, root)
        if repository is not None:
            _own_repository(repository, into.resolve(), inside)
    except OSError as error:
        raise StateError(f"cannot make the working copy {into}: {error.strerror}: {error.filename!r}") from error
    workspace = ShadowWorkspace(root, state, copy_of=source.root)
    workspace.expect(source.entries(found.tree))
    start = workspace.snapshot()
    if start.tree != found.tree:
        differing = ", ".join(
            change.path for change in workspace.differing(source.entries(found.tree), start.tree)[:10]
        )
        raise WorkspaceError(f"the working copy differs from the workspace: {differing}", hint=f"look at {into}")
    return Clone(workspace, Snapshot(tree=start.tree, skipped=found.skipped))


def _own_repository(user: Repository, top: Path, inside: Path) -> None:
    if not user.has_ref_files:
        user.needs_plain_format("a working copy")
    branch, commit = user.head()
    kind = "sha256" if user.is_sha256 else "sha1"
    env = bare_environment((user.top,))
    made = subprocess.run(
        ["git", "init", "--quiet", "--template=", f"--object-format={kind}", str(top)],
        cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    if made.returncode:
        raise WorkspaceError(f"git init: {made.stderr.decode('utf-8', 'replace').strip()}")
    own = top / ".git"
    (own / "objects" / "info").mkdir(exist_ok=True)
    (own / "objects" / "info" / "alternates").write_bytes(os.fsencode(user.objects.resolve()) + b"\n")
    (own / "info").mkdir(exist_ok=True)
    (own / "info" / "exclude").write_bytes(user.exclude())
    if shallow := read_plain(user.common / "shallow"):
        (own / "shallow").write_bytes(shallow)
    refs = sorted((ref, name) for ref, name in user.refs().items() if _REF.match(ref) and ".." not in ref)
    (own / "packed-refs").write_text("".join(f"{name} {ref}\n" for ref, name in refs), "utf-8")
    if branch is not None and _REF.match(branch) and ".." not in branch:
        (own / "HEAD").write_text(f"ref: {branch}\n", "utf-8")
    elif commit is not None:
        (own / "HEAD").write_text(f"{commit}\n", "utf-8")
    _other_parts(user, top, inside)
    if commit is not None:
        git = Git(own, (user.top,))
        git.run("read-tree", commit, work_tree=top)
        if inside != Path():
            paths = git.run("ls-files", "-z", work_tree=top).split(b"\0")
            start = os.fsencode(inside) + b"/"
            outside = b"\0".join(path for path in paths if path and not path.startswith(start))
            git.run("update-index", "--skip-worktree", "-z", "--stdin", give=outside, work_tree=top)


def _other_parts(user: Repository, top: Path, inside: Path) -> None:
    """Rules of the directories above the workspace go along, so that the same files are ignored."""
    above = Path()
    for part in inside.parts:
        if (rules := read_plain(user.top / above / ".gitignore")) is not None:
            (top / above / ".gitignore").write_bytes(rules)
        above /= part


@dataclass(frozen=True, slots=True)
class Applied:
    """What came back: `paths` were written or removed, `before` is the tree that undoes it."""

    before: Snapshot
    paths: tuple[str, ...]


def apply_back(
    work: ShadowWorkspace, target: ShadowWorkspace, *, base: str, result: str, keep: Callable[[Snapshot], object]
) -> Applied:
    """Bring what changed in `work` from tree `base` to tree `result` into the user's workspace `target`.

    A path the user changed as well since `base`, and differently, is a conflict: RefusedError lists all of them and
    nothing is changed. `keep` gets the user's present tree (make a checkpoint of it) before the first file is written;
    it is not called when there is nothing to write.
    """
    before = target.snapshot()
    now, old, new = target.entries(before.tree), work.entries(base), work.entries(result)
    wanted: dict[bytes, Entry] = {}
    gone: set[bytes] = set()
    conflicts: list[bytes] = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path) or now.get(path) == new.get(path):
            continue
        if now.get(path) != old.get(path):
            conflicts.append(path)
        elif path in new:
            wanted[path] = new[path]
        else:
            gone.add(path)
    if conflicts:
        raise RefusedError(
            f"{len(conflicts)} changed both here and in the run: " + ", ".join(map(show, conflicts)),
            hint="nothing was changed; commit or undo your change of these, or take the run's branch: runner export",
        )
    if not wanted and not gone:
        return Applied(before, ())
    target.obstacles(wanted, gone, now)
    keep(before)
    target.put(work, wanted, gone, now)
    return Applied(before, tuple(show(path) for path in sorted({*wanted, *gone})))
