"""A workspace seen through a git directory of runner's own: checkpoints that change nothing of the user's."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from runner.errors import RefusedError, WorkspaceError
from runner.ports import Change, Snapshot
from runner.values import Ms
from runner.workspace.beneath import CHUNK, Beneath, check_path, pieces, show
from runner.workspace.cache import Cache
from runner.workspace.checkpoints import Checkpoints
from runner.workspace.git import Git
from runner.workspace.objects import BLOB, FILE, LINK, PROGRAM, TREE, Entry, Pack, listing, trees
from runner.workspace.place import Place
from runner.workspace.repository import Repository, find, user_excludes
from runner.workspace.scan import Ignore, Tracked, scan

_READS = 5
_LISTINGS = 8


class ShadowWorkspace:
    """Implements `ports.Workspace` for any directory, in a repository or not.

    `root` is the workspace, `state` runner's state directory, `copy_of` the workspace that `root` was copied from.
    Nothing is written before the first call that needs it.
    """

    def __init__(self, root: Path, state: Path, *, copy_of: Path | None = None) -> None:
        self._root = root.resolve()
        self._place = Place.of(self._root, state, copy_of=copy_of and copy_of.resolve())
        self._state = state.resolve()
        self._git = self._place.git
        self._ignore = Ignore(self._ask_ignored)
        self._cache: Cache | None = None
        self._listings: dict[str, dict[bytes, Entry]] = {}
        self._last: dict[bytes, Entry] = {}
        self._last_tree = ""
        self._known: set[str] = set()
        self._excludes: bytes | None = None
        self._user_excludes: bytes | None = None
        self._outer: dict[Path, bool] = {}
        self._index: tuple[object, frozenset[bytes]] = (None, frozenset())

    @property
    def root(self) -> Path:
        return self._root

    @property
    def git(self) -> Git:
        """The shadow git directory, for siblings in this package."""
        return self._git

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
            self._outer[found.top] = self._ask(found, [b""]) != {b""} or any(
                path.startswith(prefix) for path in found.index_paths()
            )
        return found if self._outer[found.top] else None

    def lock(self) -> AbstractContextManager[None]:
        """Hold the workspace for one process; BusyError (naming the holder) when another has it."""
        return self._place.lock(self._git)

    def forget(self) -> None:
        """Begin a new run: files kept only because an earlier checkpoint had them are judged by the rules again."""
        self._open()
        self._last, self._last_tree = {}, ""
        self._place.keep("last-tree", b"")

    def expect(self, entries: Mapping[bytes, Entry]) -> None:
        """Keep these paths, where they exist, whatever the ignore rules say (a copy of another workspace begins so)."""
        self._open()
        self._last, self._last_tree = dict(entries), ""

    # ---- looking -----------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        for left in range(_READS - 1, -1, -1):
            try:
                return self._snapshot()
            except WorkspaceError:
                # A directory may have become a link, or gone, between our look and git's.
                if not left:
                    raise
        raise AssertionError

    def _snapshot(self) -> Snapshot:
        cache = self._open()
        repository = self.repository
        notes: list[str] = []
        tracked = Tracked(self._user_index(repository, notes), self._last)
        self._pass_on_excludes(repository)
        with Beneath(self._root) as beneath:
            found = scan(beneath, self._ignore, tracked, without=self._own_folder())
            pack = Pack(self._git, self._known)
            try:
                entries: dict[bytes, Entry] = {}
                for path, status in sorted(found.files.items()):
                    entry = cache.get(path, status) or self._take(beneath, path, pack, cache, notes)
                    if entry is not None:
                        entries[path] = entry
                if entries != self._last or not self._last_tree or not pack.is_empty:
                    self._last_tree = self._store(entries, pack)
                    self._place.keep("last-tree", self._last_tree.encode())
            except BaseException:
                # What was read but not stored must be read again.
                cache.drop_unless(self._known)
                raise
            finally:
                pack.close()
        self._last = entries
        self._remember(self._last_tree, entries)
        self._known |= cache.settle(entries)
        return Snapshot(tree=self._last_tree, skipped=tuple(sorted(found.notes + notes)))

    def _take(self, beneath: Beneath, path: bytes, pack: Pack, cache: Cache, notes: list[str]) -> Entry | None:
        """Read a file into the pack, again when it changes under our eyes; None when it went away or cannot be read."""
        for _ in range(_READS):
            before = time.time_ns()
            status = beneath.status(path)
            if status is None:
                return None
            try:
                if stat.S_ISLNK(status.st_mode):
                    target = beneath.link(path)
                    name, whole = pack.add(BLOB, len(target), [target])
                    entry, after = Entry(LINK, name), beneath.status(path)
                else:
                    handle = beneath.open(path)
                    with os.fdopen(handle, "rb", buffering=0) as file:
                        status = os.fstat(file.fileno())
                        if not stat.S_ISREG(status.st_mode):
                            continue
                        name, whole = pack.add(BLOB, status.st_size, iter(lambda: file.read(CHUNK), b""))
                        after = os.fstat(file.fileno())
                    entry = Entry(PROGRAM if status.st_mode & stat.S_IXUSR else FILE, name)
            except PermissionError:
                notes.append(f"{show(path)}: cannot be read")
                return None
            except FileNotFoundError:
                return None
            except OSError:
                continue  # replaced by something else between the look and the open
            if whole and cache.put(path, entry, status, after, before):
                return entry
        return self._take_moment(beneath, path, pack, notes)

    def _take_moment(self, beneath: Beneath, path: bytes, pack: Pack, notes: list[str]) -> Entry:
        """Take a file that never stands still (a server's log) as long as it was at one look, and say so."""
        try:
            with os.fdopen(beneath.open(path), "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                name, whole = pack.add(BLOB, status.st_size, pieces(file, status.st_size))
        except (OSError, WorkspaceError):  # gone, or shorter than it was a moment ago
            whole, name, status = False, "", None
        if not whole or status is None or not stat.S_ISREG(status.st_mode):
            raise WorkspaceError(
                f"{show(path)} kept changing while it was read ({_READS} times)",
                hint="stop what writes to it, or name it in .gitignore",
            )
        notes.append(f"{show(path)}: kept as it was at one moment, it was being written")
        return Entry(PROGRAM if status.st_mode & stat.S_IXUSR else FILE, name)

    def _store(self, entries: Mapping[bytes, Entry], pack: Pack) -> str:
        """Put every object of this tree on disk that is not there yet."""
        tree, made = trees(entries)
        unknown = [name for name in made if name not in self._known]
        missing = self._git.missing(unknown)
        self._known.update(name for name in unknown if name not in missing)
        for name in missing:
            pack.add(TREE, len(made[name]), [made[name]])
        pack.store()
        return tree

    def _open(self) -> Cache:
        if self._cache is None:
            self._place.create()
            self._cache = Cache.load(self._place)
            self._known = self._cache.blobs() - self._git.missing(self._cache.blobs())
            self._cache.drop_unless(self._known)
            last = self._place.kept("last-tree").decode("ascii", "replace").strip()
            if last and not self._git.missing([last]):
                self._last, self._last_tree = self._listing(last), last
        return self._cache

    def _own_folder(self) -> bytes | None:
        """Runner's state directory, when the user put it inside the workspace."""
        if self._state.is_relative_to(self._root):
            return os.fsencode(self._state.relative_to(self._root))
        return None

    # ---- what is ignored ---------------------------------------------------------------------------------

    def _prefix(self, repository: Repository | None) -> bytes:
        inside = Path() if repository is None else self._root.relative_to(repository.top)
        return b"" if inside == Path() else os.fsencode(inside) + b"/"

    def _ask_ignored(self, paths: list[bytes]) -> set[bytes]:
        return self._ask(self.repository, paths)

    def _ask(self, repository: Repository | None, paths: list[bytes]) -> set[bytes]:
        # Rules of directories above a workspace that is only a part of the repository count as well.
        self._place.create()
        top, prefix = (self._root, b"") if repository is None else (repository.top, self._prefix(repository))
        # Without "./" a name that begins with a colon would be a pattern with magic.
        prefix = b"./" + prefix
        asked = b"".join(prefix + path + b"\0" for path in paths)
        answer = self._git.run(
            "check-ignore", "--no-index", "--stdin", "-z",
            give=asked, work_tree=top, env={"GIT_FLUSH": "0"}, ok=(0, 1),
        )  # fmt: skip
        return {path.removeprefix(prefix) for path in answer.split(b"\0") if path}

    def _pass_on_excludes(self, repository: Repository | None) -> None:
        if self._user_excludes is None:
            self._user_excludes = user_excludes(self._git.workspaces)
        # The last match wins, and the repository's own file outranks the user's.
        text = self._user_excludes + b"\n" + (b"" if repository is None else repository.exclude())
        if text != self._excludes:
            (self._git.directory / "info" / "exclude").write_bytes(text)
            self._ignore.forget()
            self._excludes = text
        if repository is not None:
            for above in self._root.parents:
                if above.is_relative_to(repository.top):
                    rules = above / ".gitignore"
                    self._ignore.rules(b"/" + os.fsencode(above), rules.lstat() if os.path.lexists(rules) else None)

    def _user_index(self, repository: Repository | None, notes: list[str]) -> frozenset[bytes]:
        stamp = None if repository is None else (repository.git, repository.index_stamp())
        if repository is None:
            self._index = (stamp, frozenset())
        elif stamp != self._index[0]:
            prefix = self._prefix(repository)
            try:
                paths = repository.index_paths()
            except WorkspaceError as error:
                notes.append(f".git/index: {error.message}; ignored files that it tracks are left out")
                paths = frozenset[bytes]()
            inside = (path.removeprefix(prefix) for path in paths if path.startswith(prefix))
            self._index = (stamp, frozenset(inside))
        return self._index[1]

    # ---- checkpoints -------------------------------------------------------------------------------------

    def commit(self, snapshot: Snapshot, *, run: str, number: int, parent: str | None, at: Ms, message: str) -> str:
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
        self._cache, self._last, self._last_tree = None, {}, ""
        self._listings.clear()

    def tidy(self) -> None:
        """Pack the loose objects of finished checkpoints; worth it at the end of a run."""
        self._kept().tidy()

    def _kept(self) -> Checkpoints:
        self._open()
        return Checkpoints(self._git)

    # ---- reading -----------------------------------------------------------------------------------------

    def _remember(self, tree: str, entries: dict[bytes, Entry]) -> None:
        self._listings.pop(tree, None)
        self._listings[tree] = entries
        if len(self._listings) > _LISTINGS:
            del self._listings[next(iter(self._listings))]

    def _listing(self, tree: str) -> dict[bytes, Entry]:
        if tree not in self._listings:
            self._place.create()
            self._remember(tree, listing(self._git, tree))
        return self._listings[tree]

    def entries(self, tree: str) -> Mapping[bytes, Entry]:
        """Every file of a tree (or commit) with its mode and blob."""
        return self._listing(tree)

    def changes(self, old: str, new: str) -> tuple[Change, ...]:
        return self.differing(self._listing(old), new)

    def differing(self, before: Mapping[bytes, Entry], new: str) -> tuple[Change, ...]:
        """What differs from the files of a tree that may be stored elsewhere."""
        after = self._listing(new)
        found: list[Change] = []
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                kind = "added" if path not in before else "deleted" if path not in after else "changed"
                found.append(Change(path=show(path), kind=kind))
        return tuple(found)

    def read(self, tree: str, path: str) -> bytes | None:
        entry = self._listing(tree).get(os.fsencode(path))
        return None if entry is None else self._git.run("cat-file", "blob", entry.blob)

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
