"""What is known of the workspace's directories: enough to see, by looking at stamps alone, that nothing changed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.workspace.objects import Entry

Identity = tuple[int, int, int, int, int]

# The rules of a directory nobody has looked at.
UNSEEN: Identity = (-1, 0, 0, 0, 0)
# A tree nobody has put together.
UNMADE = ""

IGNORED, IS_FOLDER = 1, 2


def identity(status: os.stat_result) -> Identity:
    """Equal identities of one path mean equal content: ctime cannot be set by the writer."""
    return (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether a later write would show in ctime: clocks of file systems tick in up to 10 ms, some in 2 s."""
    tick = 2_000_000_000 if status.st_ctime_ns % 1_000_000_000 == 0 else 50_000_000
    return status.st_ctime_ns + tick < now_ns


def rules_stamp(status: os.stat_result | None) -> Identity | None:
    """The stamp of a `.gitignore`. One so young that a change would not show has a stamp that never comes again."""
    if status is None or is_settled(status, time.time_ns()):
        return None if status is None else identity(status)
    return (0, 0, 0, 0, time.monotonic_ns())


class Folder:
    """One directory as the last snapshot left it.

    `names` is its listing; None says that it must be looked at in full. `others` are its names that are no directory,
    with what `lstat` said of each (`seen`; None: not to be trusted, look again). `shut` are directories we stay out of,
    `below` those we go into, `kept` the files of the checkpoint. `codes` has IGNORED and IS_FOLDER for each name.
    `tree` is the tree object, None for a directory without a file, UNMADE when it is not known.
    """

    __slots__ = (
        "below", "codes", "depth", "kept", "names", "notes", "others",
        "parent", "path", "rules", "seen", "shut", "tree",
    )  # fmt: skip

    def __init__(self, path: bytes, parent: Folder | None) -> None:
        self.path = path
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.names: list[str] | None = None
        self.codes: dict[str, int] = {}
        self.others: list[str] = []
        self.seen: list[Identity | None] = []
        self.shut: tuple[str, ...] = ()
        self.below: dict[str, Folder] = {}
        self.kept: dict[str, Entry] = {}
        self.notes: tuple[str, ...] = ()
        self.rules: Identity | None = UNSEEN
        self.tree: str | None = UNMADE

    @property
    def name(self) -> str:
        return os.fsdecode(self.path.rpartition(b"/")[2])

    def inside(self, name: str) -> bytes:
        """The path of something in this directory."""
        raw = os.fsencode(name)
        return self.path + b"/" + raw if self.path else raw

    def is_unchanged(self, handle: int) -> bool:
        """Whether the open directory shows what the last snapshot saw."""
        if os.listdir(handle) != self.names:
            return False
        look, is_folder = os.stat, stat.S_ISDIR
        try:
            now = [
                (one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino)
                for name in self.others
                for one in (look(name, dir_fd=handle, follow_symlinks=False),)
            ]
            return now == self.seen and all(
                is_folder(look(name, dir_fd=handle, follow_symlinks=False).st_mode) for name in self.shut
            )
        except OSError:
            return False

    def everything(self) -> Iterator[Folder]:
        """This directory and all below it."""
        waiting: list[Folder] = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(folder.below.values())

    def files(self) -> Iterator[tuple[bytes, Entry]]:
        """Every file kept in it and below it."""
        for folder in self.everything():
            for name, entry in folder.kept.items():
                yield folder.inside(name), entry


@dataclass(slots=True, kw_only=True)
class Draft:
    """A directory that changed, as it is now. It becomes the folder when its objects are stored."""

    names: list[str] | None
    inside: list[tuple[str, os.stat_result]] = field(default_factory=list[tuple[str, os.stat_result]])
    rules: Identity | None = None
    codes: dict[str, int] = field(default_factory=dict[str, int])
    others: list[str] = field(default_factory=list[str])
    seen: list[Identity | None] = field(default_factory=list["Identity | None"])
    shut: list[str] = field(default_factory=list[str])
    below: dict[str, Folder] = field(default_factory=dict[str, Folder])
    wanted: list[tuple[int, os.stat_result]] = field(default_factory=list[tuple[int, os.stat_result]])
    kept: dict[str, Entry] = field(default_factory=dict[str, Entry])
    notes: list[str] = field(default_factory=list[str])

    def install(self, folder: Folder) -> None:
        folder.names, folder.codes, folder.rules = self.names, self.codes, self.rules
        folder.others, folder.seen, folder.shut = self.others, self.seen, tuple(self.shut)
        folder.below, folder.kept, folder.notes = self.below, self.kept, tuple(self.notes)
