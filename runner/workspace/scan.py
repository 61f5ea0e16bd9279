"""Which files of a workspace belong in a checkpoint: a walk of our own, with git's word on what is ignored.

`git add` would do it in one command, but it looks into nested repositories (and runs `git status` in submodules, which
reads *their* configuration), stops with nothing done at one without a commit, and leaves the content of the others out.

A directory whose listing and stamps are those of the last snapshot costs its `lstat`s and nothing else.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from runner.errors import WorkspaceError
from runner.workspace.beneath import TEMPORARY, Beneath, show
from runner.workspace.folders import IGNORED, IS_FOLDER, UNSEEN, Draft, Folder, Identity, identity, rules_stamp
from runner.workspace.index import Tracked

LARGEST_UNTRACKED = 20_000_000
# What a directory that is none any more answers.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_TEMPORARY = os.fsdecode(TEMPORARY)

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

Ask = Callable[[list[bytes]], set[bytes]]


def scan(
    beneath: Beneath, root: Folder, ask: Ask, tracked: Tracked, *, has_rules: bool, without: bytes | None
) -> dict[Folder, Draft]:
    """Walk the workspace, `without` one directory (runner's own state, when it lies inside).

    Gives the directories that differ from what their folder says. `has_rules` says that rules from outside count.
    """
    for _ in range(2):
        walk = _Walk(beneath, ask, tracked, has_rules=has_rules, without=without)
        if walk.all(root):
            return walk.drafts
        forget_rules(root)
    raise WorkspaceError("the ignore rules of the workspace change faster than they can be read")


def forget_rules(root: Folder) -> None:
    """Make the next look judge every path anew."""
    for folder in root.everything():
        folder.names, folder.codes, folder.rules = None, {}, UNSEEN


class _Walk:
    def __init__(self, beneath: Beneath, ask: Ask, tracked: Tracked, *, has_rules: bool, without: bytes | None) -> None:
        self._beneath = beneath
        self._ask = ask
        self._tracked = tracked
        self._has_rules = has_rules
        self._without = without
        self._is_stale = False
        self._visited: set[Folder] = set()
        self._changed: list[Folder] = []
        self.drafts: dict[Folder, Draft] = {}

    def all(self, root: Folder) -> bool:
        """Visit everything, level after level of what is new; False when remembered answers have become wrong."""
        waiting = [root]
        while waiting:
            self._changed = []
            while waiting:
                folder = waiting.pop()
                if folder not in self._visited:
                    self._visited.add(folder)
                    if self._is_unchanged(folder):
                        waiting.extend(folder.below.values())
                if self._is_stale:
                    return False
            self._judge()
            for folder in self._changed:
                draft = self.drafts[folder]
                if draft.names is not None or draft.inside:
                    self._sort(folder, draft)
                waiting.extend(one for one in draft.below.values() if one not in self._visited)
        return True

    def _is_unchanged(self, folder: Folder) -> bool:
        try:
            handle = self._beneath.look(folder.path)
            if folder.names is not None and folder.is_unchanged(handle):
                self._has_rules = self._has_rules or folder.rules is not None
                return True
            self._draft(folder, handle)
        except PermissionError:
            note = f"{show(folder.path) or '.'}/: cannot be read"
            self._put(folder, Draft(names=None, rules=folder.rules, notes=[note]))
        except OSError as error:
            if error.errno not in _GONE:
                # What cannot be looked at now must not be taken for a directory that was deleted.
                place = show(folder.path) or "."
                raise WorkspaceError(f"{place}/ cannot be read: {error.strerror}") from error
            self._gone(folder)
        return False

    def _gone(self, folder: Folder) -> None:
        """It is no directory any more: look again at the one above it, once."""
        above = folder.parent
        if above is not None and above not in self.drafts:
            self._visited.discard(folder)
            self._visited.discard(above)
            above.names = None
            self._visited.add(above)
            self._is_unchanged(above)
        else:
            self._put(folder, Draft(names=None, rules=folder.rules))
            if above is not None:
                self.drafts[above].names = None

    def _put(self, folder: Folder, draft: Draft) -> None:
        self.drafts[folder] = draft
        self._changed.append(folder)

    def _draft(self, folder: Folder, handle: int) -> None:
        names = os.listdir(handle)
        draft = Draft(names=names)
        rules: Identity | None = None
        for name in names:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if name == ".gitignore":
                    rules = _rules(folder, draft, status)
                if name.lower() == ".git":
                    _note_git(folder, draft, name)
                elif name.startswith(_TEMPORARY):
                    place = show(folder.inside(name))
                    draft.notes.append(f"{place}: left by an interrupted write of runner, safe to delete")
                else:
                    draft.inside.append((name, status))
        draft.rules = rules
        self._has_rules = self._has_rules or rules is not None
        if folder.rules not in (rules, UNSEEN):
            self._is_stale = True
        self._put(folder, draft)

    def _judge(self) -> None:
        """Find out which of the names are ignored, with one question for all that nobody asked before."""
        unknown: list[tuple[Draft, str, int]] = []
        paths: list[bytes] = []
        for folder in self._changed:
            draft = self.drafts[folder]
            for name, status in draft.inside:
                kind = IS_FOLDER if stat.S_ISDIR(status.st_mode) else 0
                code = folder.codes.get(name)
                if code is not None and code & IS_FOLDER == kind:
                    draft.codes[name] = code
                elif self._has_rules:
                    unknown.append((draft, name, kind))
                    paths.append(folder.inside(name))
                else:
                    draft.codes[name] = kind
        ignored = self._ask(paths) if paths else set[bytes]()
        for (draft, name, kind), path in zip(unknown, paths, strict=True):
            draft.codes[name] = kind | (IGNORED if path in ignored else 0)

    def _sort(self, folder: Folder, draft: Draft) -> None:
        """Tell apart where to go, what to keep and what to leave."""
        for name, status in draft.inside:
            code, path = draft.codes[name], folder.inside(name)
            if code & IS_FOLDER:
                known = folder.below.get(name)
                if path != self._without and (not code & IGNORED or self._tracked.below(path, known)):
                    draft.below[name] = known or Folder(path, folder)
                else:
                    draft.shut.append(name)
                continue
            if not code & IGNORED or path in self._tracked:
                self._file(draft, path, status)
            draft.others.append(name)
            draft.seen.append(identity(status))

    def _file(self, draft: Draft, path: bytes, status: os.stat_result) -> None:
        """Note a file that is to be kept, or why it is not; it is the next of the `others`."""
        kind = stat.S_IFMT(status.st_mode)
        if kind in _KINDS:
            draft.notes.append(f"{show(path)}: {_KINDS[kind]}")
        elif status.st_size > LARGEST_UNTRACKED and path not in self._tracked.index.paths:
            size, most = round(status.st_size / 1e6, 1), LARGEST_UNTRACKED // 1_000_000
            draft.notes.append(f"{show(path)}: {size:,g} MB, larger than {most} MB")
        elif kind in (stat.S_IFREG, stat.S_IFLNK):
            draft.wanted.append((len(draft.others), status))


def _rules(folder: Folder, draft: Draft, status: os.stat_result) -> Identity | None:
    kind = stat.S_IFMT(status.st_mode)
    if kind in _KINDS:
        # git would open it and wait for ever.
        place = show(folder.inside(".gitignore"))
        raise WorkspaceError(f"{place} is {_KINDS[kind]}, so nobody can say what is ignored", hint="remove it")
    stamp = rules_stamp(status)
    if stamp != identity(status):
        draft.names = None
    return stamp


def _note_git(folder: Folder, draft: Draft, name: str) -> None:
    if name != ".git":
        draft.notes.append(f"{show(folder.inside(name))}: a name that git refuses to keep")
    elif folder.path:
        draft.notes.append(f"{show(folder.path)}/.git: a repository of its own; its files are kept, its history is not")
