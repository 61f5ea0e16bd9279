"""What the user's git index tracks, and what follows from it: ignored files that are kept all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from runner.errors import WorkspaceError
from runner.workspace.folders import Folder
from runner.workspace.objects import Entry
from runner.workspace.repository import Repository


class Index:
    """The user's index at one moment. `told` is what `str` gave of it, in this process or an earlier one.

    One that stands as it was told of is read only when somebody asks for its paths.
    """

    def __init__(self, told: str = "") -> None:
        self._stamp, _, note = told.partition("\n")
        self.notes: tuple[str, ...] = (note,) if note else ()
        self._source: tuple[Repository, bytes] | None = None
        self.is_read = False

    def __str__(self) -> str:
        return "\n".join((self._stamp, *self.notes))

    def now(self, repository: Repository | None, prefix: bytes) -> Index:
        """The index as it is now: this very object when it has not changed. `prefix` leads to the workspace."""
        stamp = "none" if repository is None else repr((str(repository.git), repository.index_stamp(), prefix))
        index = self if stamp == self._stamp else Index(stamp)
        index._source = None if repository is None else (repository, prefix)  # noqa: SLF001 - of this class
        if index is not self:
            index.paths  # noqa: B018 - read now, for its notes and while the stamp is fresh
        return index

    @cached_property
    def paths(self) -> frozenset[bytes]:
        """What it tracks in the workspace; nothing when it cannot be read, and a note then says so."""
        self.is_read = True
        if self._source is None:
            return frozenset()
        repository, prefix = self._source
        try:
            paths = repository.index_paths()
        except WorkspaceError as error:
            self.notes = (f".git/index: {error.message}; ignored files that it tracks are left out",)
            return frozenset()
        return frozenset(path.removeprefix(prefix) for path in paths if path.startswith(prefix)) if prefix else paths

    @cached_property
    def folders(self) -> set[bytes]:
        """Every directory above its paths."""
        return folders_of(self.paths)


class Tracked:
    """Paths that are kept even where a rule ignores them: the user's index knows them, or the last checkpoint does."""

    def __init__(self, index: Index, last: Mapping[bytes, Entry], *, is_seen: bool) -> None:
        self.index = index
        self._last = last
        # Whether `last` is what the folders hold, so that they can answer for it.
        self._is_seen = is_seen

    def __contains__(self, path: bytes) -> bool:
        return path in self._last or path in self.index.paths

    def below(self, path: bytes, folder: Folder | None) -> bool:
        """Whether one of them lies in this directory or deeper."""
        if self._is_seen and folder is not None and folder.tree:
            return True
        return path in self.index.folders or (not self._is_seen and path in self._last_folders)

    @cached_property
    def _last_folders(self) -> set[bytes]:
        return folders_of(self._last)


def folders_of(paths: Iterable[bytes]) -> set[bytes]:
    """Every directory above these paths."""
    found: set[bytes] = set()
    for path in paths:
        above = path.rpartition(b"/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition(b"/")[0]
    return found
