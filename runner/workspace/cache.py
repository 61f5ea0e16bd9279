"""The mirror on disk, so that the next process does not read and judge every file again. Losing it costs time alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import chain
from typing import cast

from runner.workspace.folders import IS_FOLDER, UNMADE, Folder, Identity
from runner.workspace.mirror import Mirror
from runner.workspace.objects import FILE, LINK, PROGRAM, Entry
from runner.workspace.place import Place
from runner.workspace.store import Store

_NAME = "cache.json"
_FORMAT = 2
_MODES = {"f": FILE, "p": PROGRAM, "l": LINK}
_SIGNS = {mode: sign for sign, mode in _MODES.items()}
_NOT_TRUSTED: Identity = (-2, 0, 0, 0, 0)

# Path, whether `names` is the listing, names, code of each, stamps of the others, sign of each (" " = not kept),
# blobs of those kept, notes, rules, tree.
_Row = tuple[str, bool, list[str], str, list[int], str, str, list[str], list[int] | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A mirror as it was saved: of which tree, and under which rules and index of the user's repository."""

    mirror: Mirror
    tree: str = ""
    rules: str = ""
    index: str = ""


def save(saved: Saved, place: Place) -> None:
    """Replace what was saved before. StateError when the disk refuses."""
    rows = [_row(folder) for folder in saved.mirror.root.everything()]
    told = {"format": _FORMAT, "tree": saved.tree, "rules": saved.rules, "index": saved.index, "folders": rows}
    place.keep(_NAME, json.dumps(told, separators=(",", ":")).encode())
    saved.mirror.unsaved = 0


def load(place: Place, store: Store) -> Saved:
    """What an earlier process left; whatever is not exactly right is as good as nothing."""
    mirror = Mirror(store)
    try:
        told = cast("dict[str, object]", json.loads(place.kept(_NAME) or b"{}"))
        if told.get("format") != _FORMAT:
            return Saved(mirror=mirror)
        # Written by `save` above, in this very shape; any other shape raises and is caught.
        rows = cast("list[_Row]", told["folders"])
        folders: dict[bytes, Folder] = {}
        for row in rows:
            folder = _folder(row, folders)
            folders[folder.path] = folder
        mirror.root = folders[b""]
        whole = _only_stored(mirror, store)
        mirror.entries = dict(mirror.root.files())
        tree, rules, index = (str(told[name]) for name in ("tree", "rules", "index"))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return Saved(mirror=Mirror(store))
    return Saved(mirror=mirror, tree=tree if whole else "", rules=rules, index=index)


def _row(folder: Folder) -> _Row:
    names = folder.names
    if names is None:
        names = [*folder.others, *(name for name, code in folder.codes.items() if code & IS_FOLDER)]
    kept = [folder.kept.get(name) for name in folder.others]
    return (
        os.fsdecode(folder.path),
        folder.names is not None,
        names,
        "".join(str(folder.codes.get(name, "-")) for name in names),
        list(chain.from_iterable(seen or _NOT_TRUSTED for seen in folder.seen)),
        "".join(" " if entry is None else _SIGNS[entry.mode] for entry in kept),
        "".join(entry.blob for entry in kept if entry is not None),
        list(folder.notes),
        folder.rules and list(folder.rules),
        folder.tree,
    )


def _folder(row: _Row, folders: dict[bytes, Folder]) -> Folder:
    """A directory, entered into the one above it, which comes before it."""
    path, is_listing, names, codes, stamps, signs, blobs, notes, rules, tree = row
    raw = os.fsencode(path)
    folder = Folder(raw, folders[raw.rpartition(b"/")[0]] if raw else None)
    folder.codes = {name: int(code) for name, code in zip(names, codes, strict=True) if code != "-"}
    folder.names = names if is_listing else None
    folder.others = [name for name in names if folder.codes.get(name, IS_FOLDER) & IS_FOLDER == 0]
    folder.seen = [None if stamp == _NOT_TRUSTED else stamp for stamp in zip(*[iter(stamps)] * 5, strict=True)]
    kept = (name for name, sign in zip(folder.others, signs, strict=True) if sign != " ")
    at = 0
    for name, sign in zip(kept, signs.replace(" ", ""), strict=True):
        folder.kept[name] = Entry(_MODES[sign], blobs[at : at + 40])
        at += 40
    folder.notes = tuple(notes)
    folder.rules = None if rules is None else _identity(rules)
    folder.tree = tree
    if len(folder.seen) != len(folder.others) or at != len(blobs):
        raise ValueError(path)
    folder.shut = tuple(name for name, code in folder.codes.items() if code & IS_FOLDER)
    if folder.parent is not None:
        name = folder.name
        folder.parent.below[name] = folder
        folder.parent.shut = tuple(one for one in folder.parent.shut if one != name)
    return folder


def _identity(stamp: list[int]) -> Identity:
    mode, size, modified, changed, inode = stamp
    return (mode, size, modified, changed, inode)


def _only_stored(mirror: Mirror, store: Store) -> bool:
    """Forget files and trees whose object is not stored after all; whether there were none."""
    everything = list(mirror.root.everything())
    names = {entry.blob for folder in everything for entry in folder.kept.values()}
    names.update(folder.tree for folder in everything if folder.tree)
    lost = store.missing(names)
    mirror.known = names - lost
    for folder in everything if lost else ():
        gone = [name for name, entry in folder.kept.items() if entry.blob in lost]
        for name in gone:
            del folder.kept[name]
        if folder.tree in lost:
            folder.tree = UNMADE
        if gone or folder.tree == UNMADE:
            folder.names = None
    return not lost
