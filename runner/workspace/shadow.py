"""A workspace seen through a git directory of runner's own: checkpoints that change nothing of the user's."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.errors import RefusedError, RunnerError, WorkspaceError
from runner.ports import Change, Snapshot
from runner.values import Ms
from runner.workspace.beneath import Beneath, check_path, pieces, show
from runner.workspace.cache import Saved, load, save
from runner.workspace.checkpoints import Checkpoints
from runner.workspace.folders import Identity, rules_stamp
from runner.workspace.git import Git
from runner.workspace.index import Index, Tracked
from runner.workspace.mirror import Mirror
from runner.workspace.objects import FILE, LINK, PROGRAM, Entry
from runner.workspace.place import Place
from runner.workspace.reading import READS
from runner.workspace.repository import Repository, find, user_excludes
from runner.workspace.rules import CheckIgnore
from runner.workspace.store import Store
from runner.workspace.trees import Trees

# Reading this many files again costs less than saving the whole mirror after every step.
_WORTH_SAVING = 200


class ShadowWorkspace:
    """Implements `ports.Workspace` for any directory, in a repository or not.

    `root` is the workspace, `state` runner's state directory, `copy_of` the workspace that `root` was copied from.
    Nothing is written before the first call that needs it.
    """

    def __init__(self, root: Path, state: Path, *, copy_of: Path | None = None) -> None:
        self._root = root.resolve()
        self._place = Place.of(self._root, state, copy_of=copy_of and copy_of.resolve())
        self._state = state.resolve()
        self._is_made = False
        self._git = self._place.git
        self._store = Store(self._git.directory)
        self._trees = Trees(self._git, self._store)
        self._mirror: Mirror | None = None
        self._last: dict[bytes, Entry] = {}
        self._last_tree = ""
        self._rules = ""
        self._excludes: bytes | None = None
        self._user_excludes: bytes | None = None
        self._outer: dict[Path, bool] = {}
        self._index = Index()
        self._has_rules_above = False

    @property
    def root(self) -> Path:
        return self._root

    @property
    def git(self) -> Git:
        """The shadow git directory, for siblings in this package."""
        return self._git

    @property
    def store(self) -> Store:
        """The objects of the shadow git directory, for siblings in this package."""
        return self._store

    @property
    def repository(self) -> Repository | None:
        """The user's repository around the workspace, as it is now.

        One that tracks nothing here and ignores this directory (dotfiles at home) is not this workspace's repository.
        """
        found = find(self._root)
        if found is None or found.top == self._root:
            return found
        if found.top not in self._outer:
            prefix = self._prefix(found)
            with self._check_ignore(found) as rules:
                self._outer[found.top] = not rules.ask([b""]) or any(
                    path.startswith(prefix) for path in found.index_paths()
                )
        return found if self._outer[found.top] else None

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the workspace for one process; BusyError (naming the holder) when another has it."""
        with self._place.lock(self._git):
            yield
            # Time saved for the next process, never a reason for this one to fail.
            with suppress(RunnerError):
                if self._mirror is not None and self._mirror.unsaved:
                    self._save(self._mirror)
                if self._store.is_crowded:
                    self.tidy()

    def forget(self) -> None:
        """Begin a new run: files kept only because an earlier checkpoint had them are judged by the rules again."""
        self._open().look_closely()
        self._last, self._last_tree = {}, ""
        self._place.keep("last-tree", b"")

    def expect(self, entries: Mapping[bytes, Entry]) -> None:
        """Keep these paths, where they exist, whatever the ignore rules say (a copy of another workspace begins so)."""
        self._open().look_closely()
        self._last, self._last_tree = dict(entries), ""

    # ---- looking -----------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        for left in range(READS - 1, -1, -1):
            try:
                return self._snapshot()
            except WorkspaceError:
                # A directory may have become a link, or gone, between our look and git's.
                if not left:
                    raise
        raise AssertionError

    def _snapshot(self) -> Snapshot:
        mirror = self._open()
        repository = self.repository
        self._look_at_index(repository, mirror)
        self._pass_on_rules(repository, mirror)
        tracked = Tracked(self._index, self._last, is_seen=self._last is mirror.entries)
        with Beneath(self._root) as beneath, self._check_ignore(repository) as rules:
            tree, notes = mirror.update(
                beneath, rules.ask, tracked, has_rules=self._has_outer_rules(), without=self._own_folder()
            )
        if tree != self._last_tree:
            self._place.keep("last-tree", tree.encode())
        self._last, self._last_tree = mirror.entries, tree
        self._trees.remember(tree, mirror.entries)
        if mirror.unsaved >= _WORTH_SAVING:
            self._save(mirror)
        return Snapshot(tree=tree, skipped=tuple(sorted((*notes, *self._index.notes))))

    def _create(self) -> None:
        """Make what is missing of the place, with the first call that needs it."""
        if not self._is_made:
            self._place.create()
            self._is_made = True

    def _open(self) -> Mirror:
        if self._mirror is None:
            self._create()
            saved = load(self._place, self._store)
            mirror = self._mirror = saved.mirror
            self._rules = saved.rules
            last = self._place.kept("last-tree").decode("ascii", "replace").strip()
            if last and last == saved.tree:
                self._last, self._last_tree = mirror.entries, last
                self._index = Index(saved.index)
            else:
                with suppress(WorkspaceError):  # lost; what the rules ignore is left out then
                    self._last = self._trees.files_near(last, mirror.root, mirror.entries) if last else {}
                    self._last_tree = last
                mirror.look_closely(self._last.keys() ^ mirror.entries.keys() if self._last else None)
                self._index = Index(saved.index)
        return self._mirror

    def _save(self, mirror: Mirror) -> None:
        save(Saved(mirror=mirror, tree=self._last_tree, rules=self._rules, index=str(self._index)), self._place)

    def _own_folder(self) -> bytes | None:
        """Runner's state directory, when the user put it inside the workspace."""
        if self._state.is_relative_to(self._root):
            return os.fsencode(self._state.relative_to(self._root))
        return None

    # ---- what is ignored ---------------------------------------------------------------------------------

    def _prefix(self, repository: Repository | None) -> bytes:
        inside = Path() if repository is None else self._root.relative_to(repository.top)
        return b"" if inside == Path() else os.fsencode(inside) + b"/"

    def _check_ignore(self, repository: Repository | None) -> CheckIgnore:
        # Rules of directories above a workspace that is only a part of the repository count as well.
        self._create()
        top, prefix = (self._root, b"") if repository is None else (repository.top, self._prefix(repository))
        return CheckIgnore(self._git, top, prefix)

    def _has_outer_rules(self) -> bool:
        lines = (self._excludes or b"").splitlines()
        return self._has_rules_above or any(line.strip() and not line.startswith(b"#") for line in lines)

    def _pass_on_rules(self, repository: Repository | None, mirror: Mirror) -> None:
        """Give git the excludes that lie elsewhere; all is judged anew when they, or the rules above, have changed."""
        if self._user_excludes is None:
            self._user_excludes = user_excludes(self._git.workspaces)
        # The last match wins, and the repository's own file outranks the user's.
        text = self._user_excludes + b"\n" + (b"" if repository is None else repository.exclude())
        if text != self._excludes:
            (self._git.directory / "info" / "exclude").write_bytes(text)
            self._excludes = text
        stamps: list[Identity | None] = []
        if repository is not None:
            above = [one for one in self._root.parents if one.is_relative_to(repository.top)]
            stamps = [rules_stamp(_status(one / ".gitignore")) for one in above]
        self._has_rules_above = any(stamps)
        now = repr((hashlib.sha256(text).hexdigest(), repository and os.fspath(repository.top), stamps))
        if now != self._rules:
            mirror.forget_rules()
            self._rules = now

    def _look_at_index(self, repository: Repository | None, mirror: Mirror) -> None:
        """Follow what the user's index tracks; where that changes, what is kept may change."""
        index = self._index.now(repository, self._prefix(repository))
        if index is not self._index:
            mirror.look_closely(index.paths ^ self._index.paths if self._index.is_read else None)
            self._index = index

    # ---- checkpoints -------------------------------------------------------------------------------------

    def commit(self, snapshot: Snapshot, *, run: str, number: int, parent: str | None, at: Ms, message: str) -> str:
        self._open()
        return self._kept().keep(snapshot.tree, run=run, number=number, parent=parent, at=at, message=message)

    def checkpoint(self, run: str, number: int) -> str:
        """The commit of a checkpoint; NotFoundError when there is none."""
        return self._kept().find(run, number)

    def checkpoints(self, run: str) -> tuple[str, ...]:
        """Commits of a run's checkpoints, in order."""
        return self._kept().of(run)

    def drop(self, run: str) -> None:
        """Forget a run's checkpoints and free what only they held. Hold the lock."""
        self._kept().drop(run)
        self._mirror, self._last, self._last_tree = None, {}, ""
        self._trees = Trees(self._git, self._store)

    def tidy(self) -> None:
        """Pack the loose objects of finished checkpoints; worth it at the end of a run."""
        self._kept().tidy()

    def _kept(self) -> Checkpoints:
        self._create()
        return Checkpoints(self._git, self._store)

    # ---- reading -----------------------------------------------------------------------------------------

    def _listing(self, tree: str) -> dict[bytes, Entry]:
        self._create()
        return self._trees.files(tree)

    def entries(self, tree: str) -> Mapping[bytes, Entry]:
        """Every file of a tree (or commit) with its mode and blob."""
        return self._listing(tree)

    def changes(self, old: str, new: str) -> tuple[Change, ...]:
        return self.differing(self._listing(old), new)

    def differing(self, before: Mapping[bytes, Entry], new: str) -> tuple[Change, ...]:
        """What differs from the files of a tree that may be stored elsewhere."""
        after = self._listing(new)
        kinds = dict.fromkeys(before.keys() - after.keys(), "deleted")
        for path, entry in after.items():
            # Two looks at a file that did not change share its entry.
            if (was := before.get(path)) is not entry and was != entry:
                kinds[path] = "added" if was is None else "changed"
        return tuple(Change(path=show(path), kind=kinds[path]) for path in sorted(kinds))

    def read(self, tree: str, path: str) -> bytes | None:
        return self.read_many(tree, [path]).get(path)

    def read_many(self, tree: str, paths: Iterable[str]) -> Mapping[str, bytes]:
        entries = self._listing(tree)
        wanted = {path: entry.blob for path in paths if (entry := entries.get(os.fsencode(path))) is not None}
        blobs = self._trees.blobs(wanted.values())
        return {path: blobs[blob] for path, blob in wanted.items()}

    def paths(self, tree: str) -> tuple[str, ...]:
        return tuple(sorted(show(path) for path in self._listing(tree)))

    def diff(self, old: str, new: str, *, stat: bool = False, colour: bool = False) -> str:
        """The difference of two trees or commits as text, for people; no program of anybody's is run for it."""
        self._open()
        how = ("--stat",) if stat else ("--patch",)
        paint = "always" if colour else "never"
        told = self._git.run("diff", "--no-ext-diff", "--no-textconv", f"--color={paint}", *how, old, new, "--")
        return told.decode("utf-8", "replace")

    # ---- writing -----------------------------------------------------------------------------------------

    def contents(self, wanted: Mapping[bytes, Entry]) -> Iterator[tuple[bytes, Entry, Iterator[bytes]]]:
        """Each wanted path with its bytes in pieces; use one up before asking for the next."""
        for path in wanted:
            check_path(path)
        with self._git.blobs([entry.blob for entry in wanted.values()]) as blobs:
            for (path, entry), (size, stream) in zip(wanted.items(), blobs, strict=True):
                if entry.mode not in (FILE, PROGRAM, LINK):
                    raise WorkspaceError(f"{show(path)} is neither a file nor a link in this tree")
                yield path, entry, pieces(stream, size)

    def materialise(self, tree: str, into: Path) -> None:
        entries = self._listing(tree)
        with Beneath(into) as beneath:
            if beneath.names(b""):
                raise WorkspaceError(f"{into} is not empty")
            for path, entry, chunks in self.contents(entries):
                beneath.write(path, entry.mode, chunks, fresh=True)

    def restore(self, tree: str) -> None:
        target = self._listing(tree)
        present = self._listing(self.snapshot().tree)
        wanted = {path: entry for path, entry in sorted(target.items()) if present.get(path) != entry}
        gone = {path for path in present if path not in target}
        self.put(self, wanted, gone, present)

    def put(
        self, source: ShadowWorkspace, wanted: Mapping[bytes, Entry], gone: set[bytes], present: Mapping[bytes, Entry]
    ) -> None:
        """Write `wanted` from a store and remove `gone`: everything is looked at first, then everything is done."""
        self.obstacles(wanted, gone, present)
        try:
            with Beneath(self._root) as beneath:
                for path in sorted(gone):
                    beneath.remove(path)
                for path, entry, chunks in source.contents(wanted):
                    beneath.write(path, entry.mode, chunks)
        except OSError as error:
            raise WorkspaceError(
                f"cannot write to {self._root}: {error.strerror}: {error.filename!r}",
                hint="the workspace is part old, part new; do the same again once the cause is gone",
            ) from error

    def obstacles(self, wanted: Mapping[bytes, Entry], gone: set[bytes], present: Mapping[bytes, Entry]) -> None:
        """Refuse where `put` would write over something that is in no checkpoint."""
        for path in wanted:
            check_path(path)
        with Beneath(self._root) as beneath:
            if in_the_way := sorted(_obstacles(beneath, wanted, gone, present)):
                raise RefusedError(
                    "these are in the way and are in no checkpoint: " + ", ".join(map(show, in_the_way)),
                    hint="nothing was changed; move them away and try again",
                )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _obstacles(
    beneath: Beneath, wanted: Mapping[bytes, Entry], gone: set[bytes], present: Mapping[bytes, Entry]
) -> Iterator[bytes]:
    """What stands where we want to write and is kept nowhere: it would be lost."""
    looked: set[bytes] = set()
    for path in wanted:
        above = path.rpartition(b"/")[0]
        while above and above not in looked:
            looked.add(above)
            status = beneath.status(above)
            if status is not None and not stat.S_ISDIR(status.st_mode) and above not in gone:
                yield above
            above = above.rpartition(b"/")[0]
        status = beneath.status(path)
        if status is None or path in present:
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield path
        else:
            yield from (inside for inside in _files_below(beneath, path) if inside not in gone)


def _files_below(beneath: Beneath, folder: bytes) -> Iterator[bytes]:
    for name, status in beneath.names(folder):
        path = folder + b"/" + name
        if stat.S_ISDIR(status.st_mode):
            yield from _files_below(beneath, path)
        else:
            yield path
