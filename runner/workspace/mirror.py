"""The workspace as the last snapshot left it, and what it takes to bring that up to date: only what changed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from runner.workspace.beneath import Beneath
from runner.workspace.folders import IGNORED, Draft, Folder, identity
from runner.workspace.index import Tracked
from runner.workspace.objects import FOLDER, TREE, Entry, name_of, tree_of
from runner.workspace.pack import Pack
from runner.workspace.reading import take
from runner.workspace.scan import Ask, forget_rules, scan
from runner.workspace.store import Store

_FULL_LOOK = 1_000


class Mirror:
    """`root` is the workspace's directory, `entries` its files by path, `known` names of objects that are stored.

    A snapshot that fails leaves everything as the one before it left it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.root = Folder(b"", None)
        self.entries: dict[bytes, Entry] = {}
        self.known: set[str] = set()
        # How many files were read since this was last saved.
        self.unsaved = 0

    def forget_rules(self) -> None:
        """Judge every path anew at the next look."""
        forget_rules(self.root)

    def look_closely(self, paths: Iterable[bytes] | None = None) -> None:
        """Decide anew, at the next look, what of the directories of these paths is kept; None: of all directories."""
        some = None if paths is None else list(paths)
        if some is None or len(some) > _FULL_LOOK:
            for folder in self.root.everything():
                folder.names = None
            return
        for path in some:
            folder, parts = self.root, path.split(b"/")
            folder.names = None
            for number in range(1, len(parts)):
                above = folder.below.get(os.fsdecode(parts[number - 1]))
                if above is None:
                    break
                folder = above
                folder.names = None

    def update(
        self, beneath: Beneath, ask: Ask, tracked: Tracked, *, has_rules: bool, without: bytes | None
    ) -> tuple[str, tuple[str, ...]]:
        """Store what is new in the workspace; its tree, and what was left out with the reason."""
        drafts = scan(beneath, self.root, ask, tracked, has_rules=has_rules, without=without)
        live = _live(self.root, drafts)
        pack = Pack(self._store, self.known)
        try:
            taken = 0
            for folder, draft in sorted(
                ((folder, drafts[folder]) for folder in live if folder in drafts), key=lambda pair: pair[0].path
            ):
                taken += _read(beneath, folder, draft, pack)
            trees = self._trees(live, drafts, pack)
            pack.store()
        finally:
            pack.close()
        self.unsaved += taken
        self._install(live, drafts, trees)
        notes = [note for folder in live for note in folder.notes]
        return self.root.tree or "", tuple(sorted(notes))

    def _trees(self, live: list[Folder], drafts: dict[Folder, Draft], pack: Pack) -> dict[Folder, str | None]:
        """Put together the trees of the directories that changed, and of those above them."""
        waiting: dict[int, dict[Folder, None]] = {}
        for folder in live:
            draft = drafts.get(folder)
            if draft is not None and (not folder.tree or draft.kept != folder.kept or draft.below != folder.below):
                waiting.setdefault(folder.depth, {})[folder] = None
        made: dict[Folder, str | None] = {}
        for depth in range(max(waiting, default=-1), -1, -1):
            for folder in waiting.get(depth, ()):
                tree = _tree(folder, drafts.get(folder, folder), made, pack)
                if tree != folder.tree:
                    made[folder] = tree
                    if folder.parent is not None:
                        waiting.setdefault(depth - 1, {})[folder.parent] = None
        return made

    def _install(self, live: list[Folder], drafts: dict[Folder, Draft], trees: dict[Folder, str | None]) -> None:
        entries = self.entries if not drafts else dict(self.entries)
        for folder in live:
            draft = drafts.get(folder)
            if draft is None:
                continue
            for name, gone in folder.below.items():
                if draft.below.get(name) is not gone:
                    for path, _ in gone.files():
                        del entries[path]
            if draft.kept != folder.kept:
                for name in folder.kept.keys() - draft.kept.keys():
                    del entries[folder.inside(name)]
                for name, entry in draft.kept.items():
                    if folder.kept.get(name) != entry:
                        entries[folder.inside(name)] = entry
            draft.install(folder)
        for folder, tree in trees.items():
            folder.tree = tree
            if tree is None and folder.parent is not None and folder.parent.codes.get(folder.name, 0) & IGNORED:
                # Nothing tracked is left in this ignored directory: decide at the next look whether to go in again.
                folder.parent.names = None
        self.entries = entries


def _live(root: Folder, drafts: dict[Folder, Draft]) -> list[Folder]:
    """Every directory that is there now."""
    found, waiting = list[Folder](), [root]
    while waiting:
        folder = waiting.pop()
        found.append(folder)
        waiting.extend(drafts.get(folder, folder).below.values())
    return found


def _read(beneath: Beneath, folder: Folder, draft: Draft, pack: Pack) -> int:
    """Fill in what a changed directory keeps; how many files had to be read for it."""
    known = dict(zip(folder.others, folder.seen, strict=True))
    taken = 0
    for place, status in draft.wanted:
        name = draft.others[place]
        kept = folder.kept.get(name)
        if kept is not None and known.get(name) == identity(status):
            draft.kept[name] = kept
            continue
        taken += 1
        found = take(beneath, folder.inside(name), pack, draft.notes)
        if found is None:
            draft.seen[place] = None
        else:
            draft.kept[name], draft.seen[place] = found
    return taken


def _tree(folder: Folder, now: Draft | Folder, made: dict[Folder, str | None], pack: Pack) -> str | None:
    rows = [(os.fsencode(name), entry.mode, entry.blob) for name, entry in now.kept.items()]
    for name, below in now.below.items():
        tree = made.get(below, below.tree)
        if tree:
            rows.append((os.fsencode(name), FOLDER, tree))
    if not rows and folder.parent is not None:
        return None
    data = tree_of(rows)
    tree = name_of(data, TREE)
    pack.add(TREE, len(data), [data])
    return tree
