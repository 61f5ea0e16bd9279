"""What stored trees hold: their files, and the bytes of those. Git is started only for what it alone can read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from runner.workspace.beneath import pieces
from runner.workspace.folders import Folder
from runner.workspace.git import Git
from runner.workspace.objects import COMMIT, FOLDER, TREE, Entry, listing, rows_of
from runner.workspace.store import Store

_LISTINGS = 8


class Trees:
    """Trees (or commits) of our own git directory, the last few remembered."""

    def __init__(self, git: Git, store: Store) -> None:
        self._git = git
        self._store = store
        self._listings: dict[str, dict[bytes, Entry]] = {}

    def remember(self, tree: str, entries: dict[bytes, Entry]) -> None:
        """Keep the files of a tree at hand. They must not change any more."""
        self._listings.pop(tree, None)
        self._listings[tree] = entries
        if len(self._listings) > _LISTINGS:
            del self._listings[next(iter(self._listings))]

    def files(self, tree: str) -> dict[bytes, Entry]:
        """Every file of a tree with its mode and blob. WorkspaceError when the tree is not stored."""
        if tree not in self._listings:
            found = self._walk(tree)
            self.remember(tree, listing(self._git, tree) if found is None else found)
        return self._listings[tree]

    def files_near(self, tree: str, root: Folder, entries: Mapping[bytes, Entry]) -> dict[bytes, Entry]:
        """As `files`, for a tree much like these folders, which hold `entries`: only where it differs is it read."""
        found, waiting = dict(entries), [(root, tree)]
        while waiting:
            folder, name = waiting.pop()
            if folder.tree == name:
                continue
            read = self._store.read(name)
            if read is None or read[0] != TREE:
                return self.files(tree)
            rows = {os.fsdecode(row): (mode, blob) for row, mode, blob in rows_of(read[1])}
            for gone in folder.kept.keys() - rows.keys():
                del found[folder.inside(gone)]
            for gone, below in folder.below.items():
                if rows.get(gone, ("", ""))[0] != FOLDER:
                    for path, _ in below.files():
                        del found[path]
            for row, (mode, blob) in rows.items():
                if mode != FOLDER:
                    found[folder.inside(row)] = Entry(mode, blob)
                else:
                    below = folder.below.get(row) or Folder(folder.inside(row), folder)
                    found.pop(below.path, None)
                    waiting.append((below, blob))
        self.remember(tree, found)
        return found

    def blobs(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """The bytes of each of these blobs. WorkspaceError when one is not stored."""
        found: dict[str, bytes] = {}
        left: list[str] = []
        for name in dict.fromkeys(names):
            read = self._store.read(name)
            if read is None:
                left.append(name)
            else:
                found[name] = read[1]
        if left:
            with self._git.blobs(left) as streams:
                for name, (size, stream) in zip(left, streams, strict=True):
                    found[name] = b"".join(pieces(stream, size))
        return found

    def _walk(self, tree: str) -> dict[bytes, Entry] | None:
        """The files of a tree; None when a part of it can be read by git alone."""
        read = self._store.read(tree) if len(tree) == 40 else None
        if read is not None and read[0] == COMMIT:
            read = self._store.read(read[1][5:45].decode("ascii"))
        if read is None or read[0] != TREE:
            return None
        found: dict[bytes, Entry] = {}
        waiting = [(b"", read[1])]
        while waiting:
            start, data = waiting.pop()
            for name, mode, blob in rows_of(data):
                if mode != FOLDER:
                    found[start + name] = Entry(mode, blob)
                    continue
                inside = self._store.read(blob)
                if inside is None or inside[0] != TREE:
                    return None
                waiting.append((start + name + b"/", inside[1]))
        return found
