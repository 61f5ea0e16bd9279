"""Git objects as values: what a tree is made of, how it is written and read, what git calls it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runner.errors import WorkspaceError
from runner.workspace.git import Git

COMMIT, TREE, BLOB = 1, 2, 3
NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob"}

FILE, PROGRAM, LINK, FOLDER = "100644", "100755", "120000", "40000"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree: its mode (FILE, PROGRAM or LINK) and the name of its blob."""

    mode: str
    blob: str


def name_of(data: bytes, kind: int = BLOB) -> str:
    """What git calls an object with these bytes."""
    return hashlib.sha1(b"%s %d\0%s" % (NAMES[kind], len(data), data), usedforsecurity=False).hexdigest()


def tree_of(rows: Iterable[tuple[bytes, str, str]]) -> bytes:
    """The tree object of (name, mode, object) rows in any order."""
    # A folder sorts as if its name ended in a slash.
    ordered = sorted((name + b"/" if mode == FOLDER else name, name, mode, blob) for name, mode, blob in rows)
    return b"".join(b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(blob)) for _, name, mode, blob in ordered)


def rows_of(data: bytes) -> Iterator[tuple[bytes, str, str]]:
    """The (name, mode, object) rows of a tree object."""
    at = 0
    try:
        while at < len(data):
            space = data.index(b" ", at)
            end = data.index(b"\0", space)
            yield data[space + 1 : end], data[at:space].decode("ascii"), data[end + 1 : end + 21].hex()
            at = end + 21
    except ValueError as error:
        raise WorkspaceError(f"a stored tree is damaged after {at} bytes") from error


def trees(entries: Mapping[bytes, Entry]) -> tuple[str, dict[str, bytes]]:
    """The root tree of these paths, and every tree object it is made of (name -> bytes)."""
    folders: dict[bytes, list[tuple[bytes, str, str]]] = {b"": []}
    for path, entry in entries.items():
        folder, _, name = path.rpartition(b"/")
        folders.setdefault(folder, []).append((name, entry.mode, entry.blob))
        while folder and (above := folder.rpartition(b"/")[0]) not in folders:
            folders[above] = []
            folder = above
    made: dict[str, bytes] = {}
    root = ""
    for folder in sorted(folders, key=lambda path: path.count(b"/") + bool(path), reverse=True):
        data = tree_of(folders[folder])
        tree = name_of(data, TREE)
        made[tree] = data
        if folder:
            above, _, name = folder.rpartition(b"/")
            folders[above].append((name, FOLDER, tree))
        else:
            root = tree
    return root, made


def listing(git: Git, tree: str, *, env: Mapping[str, str] | None = None) -> dict[bytes, Entry]:
    """Every file of a stored tree, as git tells it."""
    found: dict[bytes, Entry] = {}
    for line in git.run("ls-tree", "-r", "-z", "--full-tree", tree, env=env).split(b"\0"):
        if line:
            facts, _, path = line.partition(b"\t")
            mode, _, blob = facts.decode().split(" ")
            found[path] = Entry(mode, blob)
    return found
