"""The scoring view: the newest tree in a scratch directory, its protected files those of checkpoint 0.

Nothing here writes to the workspace. The view is made anew for every verdict, so a check cannot leave anything for the
next one; what `setup` installed is carried over by `runner.checks.setup`.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.checks import names, steering
from runner.checks.protect import Protection, protection
from runner.errors import WorkspaceError
from runner.ports import Change, Workspace
from runner.spec.model import Spec

# Never linked into a view: histories, and caches a check would write into.
_NOT_LINKED = frozenset(
    [
        ".git",
        ".hg",
        ".svn",
        ".jj",
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        ".cache",
        ".idea",
        ".vscode",
    ]
)
_DEEPEST_LINK = 3
_MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A scoring view that stands. `left_out` says `path: why`.

    `paths` are its files as the tree has them, of which the `trusted` ones may skip a test. `linked` are the folders of
    the workspace that links of the view lead to.
    """

    path: Path
    paths: frozenset[str]
    left_out: tuple[str, ...]
    self_tested: bool
    notes: tuple[str, ...]
    trusted: frozenset[str]
    linked: tuple[Path, ...] = ()

    def may_skip(self, place: str) -> bool:
        """Whether a skip asked for at this file counts as one: not when the file is the agent's own code."""
        if not place or self.self_tested:
            return True
        full = Path(os.path.normpath(self.path / place))
        if not full.is_relative_to(self.path):
            return True
        path = full.relative_to(self.path).as_posix()
        return path in self.trusted or path not in self.paths


class Started:
    """The folders a workspace had when the run began, kept on disk so that a resumed run knows them too."""

    def __init__(self, root: Path, keep: Path) -> None:
        self._root = root
        self._keep = keep
        if not keep.is_file():
            keep.parent.mkdir(parents=True, exist_ok=True)
            folders = list(_folders(root))
            written = keep.with_suffix(".new")
            written.write_text(json.dumps({"folders": folders, "starters": self._starters(folders)}), "utf-8")
            written.replace(keep)

    def linkable(self, paths: Iterable[str]) -> tuple[list[str], list[str]]:
        """Untracked folders that were there at the start, and those that must not be linked (`path: why`)."""
        # Written by this class, in a directory of runner's own.
        kept: dict[str, list[str]] = json.loads(self._keep.read_text("utf-8"))
        folders, before = kept["folders"], set(kept["starters"])
        tracked = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 2)}
        fine: list[str] = []
        refused: list[str] = []
        for folder in sorted(folders, key=lambda each: each.count("/")):
            parent = folder.rpartition("/")[0]
            here = self._root / folder
            if folder in tracked or (parent and parent not in tracked) or not here.is_dir() or here.is_symlink():
                continue
            changed = [starter for starter in self._starters([folder]) if starter not in before]
            if changed:
                name = changed[0].rpartition(" ")[0]
                refused.append(f"{folder}: {name} was added or changed since the start, and Python runs it")
            else:
                fine.append(folder)
        return fine, refused

    def _starters(self, folders: Iterable[str]) -> list[str]:
        """Names and stamps of the files in virtual environments that Python runs at every start."""
        found: list[str] = []
        for folder in folders:
            for name in sorted(names.START_MODULES):
                for path in (self._root / folder).glob(f"lib/python3*/site-packages/{name}.py"):
                    state = path.stat()
                    found.append(f"{path.relative_to(self._root).as_posix()} {state.st_size}:{state.st_ctime_ns}")
        return found


class ViewBuilder:
    """Builds views for one run. `scratch` is a directory of runner's own, outside the workspace."""

    def __init__(
        self, workspace: Workspace, scratch: Path, *, env: Mapping[str, str], normalise: Callable[[str], str]
    ) -> None:
        root = workspace.root.resolve()
        scratch = scratch.resolve()
        if scratch == root or scratch.is_relative_to(root):
            raise WorkspaceError(
                f"the scratch directory {scratch} lies in the workspace", hint="choose another state directory"
            )
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = scratch / "view"
        self._workspace = workspace
        self._scratch = scratch
        self._env = env
        self._normalise = normalise
        self._started = Started(root, scratch / "started.json")
        self._protection: tuple[Spec, str, Protection, frozenset[str]] | None = None

    def protection(self, spec: Spec, base: str) -> Protection:
        """What is protected under `spec` and checkpoint 0."""
        return self._decided(spec, base)[0]

    def _decided(self, spec: Spec, base: str) -> tuple[Protection, frozenset[str]]:
        """What is protected, and the installed modules that the protected tests import."""
        if self._protection is None or self._protection[:2] != (spec, base):
            made = protection(
                spec,
                self._workspace.paths(base),
                read=lambda path: self._workspace.read(base, path),
                root=self._workspace.root,
                normalise=self._normalise,
            )
            self._protection = (spec, base, made, self._foreign(spec, made, base))
        return self._protection[2], self._protection[3]

    def build(self, spec: Spec, *, tree: str, base: str, accepted: Mapping[str, str]) -> View:
        """Make the view of `tree`. Raises WorkspaceError when a file cannot be written."""
        protected, foreign = self._decided(spec, base)
        changes = self._workspace.changes(base, tree)
        try:
            remove(self.path)
            self.path.mkdir(mode=0o700)
            self._workspace.materialise(tree, self.path)
            added = [change.path for change in changes if change.kind == "added"]
            out = steering.left_out(
                protected,
                added,
                read=lambda path: self._workspace.read(tree, path),
                foreign=foreign,
            )
            for path in out:
                remove(self.path / path)
            restored = self._restore(protected, changes, tree=tree, base=base, accepted=accepted)
            kept = [path for path in added if path not in out]
            notes = [f"protected, taken from checkpoint 0: {path}" for path in restored]
            links = self._leave_out_links(change.path for change in changes if change.kind != "deleted")
            linked, refused = ([], []) if spec.setup else self._link(frozenset(self._workspace.paths(tree)))
        except OSError as error:
            raise WorkspaceError(f"the scoring view {self.path} cannot be made: {error}") from error
        if linked:
            notes.append(
                f"linked from the workspace, being ignored by git and there at the start: {', '.join(linked)}; "
                "what a check writes there, it writes in the workspace ('setup:' builds them in the view instead)"
            )
        return View(
            path=self.path,
            paths=_files(self.path),
            left_out=(*(f"{path}: {why}" for path, why in sorted(out.items())), *links, *refused),
            self_tested=steering.own_tests(protected, kept),
            notes=tuple(notes),
            trusted=protected.paths,
            linked=tuple(self._workspace.root.resolve() / folder for folder in linked),
        )

    def _foreign(self, spec: Spec, protected: Protection, base: str) -> frozenset[str]:
        tests = self._workspace.read_many(
            base, (path for path in sorted(protected.paths) if path.endswith(".py") and names.is_test(path))
        )
        words = {word for check in spec.checks for word in names.words_of(check.argv)[:1] if "/" in word}
        programs = [self._workspace.root / word for word in sorted(words)]
        return steering.foreign_modules(tests, frozenset(self._workspace.paths(base)), env=self._env, programs=programs)

    def _restore(
        self,
        protected: Protection,
        changes: Iterable[Change],
        *,
        tree: str,
        base: str,
        accepted: Mapping[str, str],
    ) -> list[str]:
        """Put checkpoint 0's protected files back where the newest tree differs; say which."""
        wanted = [
            change.path
            for change in changes
            if change.kind != "added"
            and change.path in protected.paths
            and not self._may_differ(protected, change.path, tree=tree, base=base, accepted=accepted)
        ]
        if not wanted:
            return []
        source = Path(tempfile.mkdtemp(prefix="base-", dir=self._scratch))
        try:
            self._workspace.materialise(base, source)
            for path in wanted:
                put(source / path, self.path, path)
        finally:
            remove(source)
        return wanted

    def _may_differ(
        self,
        protected: Protection,
        path: str,
        *,
        tree: str,
        base: str,
        accepted: Mapping[str, str],
    ) -> bool:
        new, old = self._workspace.read(tree, path), self._workspace.read(base, path)
        digest = protected.digest(path, new)
        if path in accepted:
            return accepted[path] == digest
        # The same where it counts: ticks of the spec, a dependency in pyproject.toml.
        return new is not None and new != old and digest == protected.digest(path, old)

    def _leave_out_links(self, changed: Iterable[str]) -> list[str]:
        """Remove new links that lead out of the view: a check would read, or write, somebody else's files."""
        found: list[str] = []
        for path in sorted(changed):
            full = self.path / path
            if full.is_symlink() and not _leads_inside(full, self.path):
                full.unlink()
                found.append(f"{path}: is a link that leads out of the workspace")
        return found

    def _link(self, paths: frozenset[str]) -> tuple[list[str], list[str]]:
        fine, refused = self._started.linkable(paths)
        linked: list[str] = []
        for folder in fine:
            target = self.path / folder
            if target.parent.is_dir() and not os.path.lexists(target):
                target.symlink_to(self._workspace.root.resolve() / folder, target_is_directory=True)
                linked.append(folder)
        return linked, refused


def put(source: Path, root: Path, path: str) -> None:
    """Copy one file or link to `root/path`, byte and mode exact; links in the way are replaced, never followed."""
    here = root
    for part in path.split("/")[:-1]:
        here /= part
        if here.is_symlink() or not here.is_dir():
            remove(here)
            here.mkdir(mode=0o755)
    remove(root / path)
    shutil.copy2(source, root / path, follow_symlinks=False)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole directory, also one a check made unreadable; nothing is fine too."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(state.st_mode):
        path.unlink()
        return
    path.chmod(0o700)
    for folder, inner, _ in os.walk(path):
        for each in (Path(folder, name) for name in inner):
            if not each.is_symlink():
                each.chmod(0o700)
    shutil.rmtree(path)


def _leads_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop leads nowhere
        return False


def _folders(root: Path) -> Iterable[str]:
    count = 0
    for folder, inner, _ in os.walk(root):
        below = Path(folder).relative_to(root)
        inner[:] = sorted(name for name in inner if name not in _NOT_LINKED and not Path(folder, name).is_symlink())
        for name in inner:
            count += 1
            if count > _MOST_ENTRIES:
                return
            yield (below / name).as_posix()
        if len(below.parts) + 1 >= _DEEPEST_LINK:
            inner.clear()


def _files(root: Path) -> frozenset[str]:
    found: set[str] = set()
    for folder, inner, files in os.walk(root):
        below = Path(folder).relative_to(root)
        links = [name for name in inner if Path(folder, name).is_symlink()]
        found.update((below / name).as_posix() for name in (*files, *links))
    return frozenset(found)
