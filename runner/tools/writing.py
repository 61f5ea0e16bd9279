"""Tools that change one file: write it, edit it, tick an item in it.

What a change will do is computed whole before it begins (`plan_*`), so its hashes can be recorded first. It happens
by one rename, so after a crash the file is as it was or as it was meant.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.tools.output import Masks
from runner.tools.paths import Place, RefusedPathError, locate, open_regular, refuse_git
from runner.values import counted

EDIT_CAP = 20_000_000
"""Largest file that can be changed, in bytes."""
_PLACEHOLDER = re.compile(r"\[secret:[^\]\s]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change of one file: SHA-256 of its bytes before ("" = absent) and after, and what to say once it is done."""

    path: str
    before: str
    after: str
    content: bytes
    said: str


def digest(root: Path, path: str) -> str:
    """SHA-256 of a file's bytes; "" when there is none. Raises RefusedPathError for anything but a regular file."""
    with locate(root, path) as place:
        if place.stat() is None:
            return ""
        with os.fdopen(open_regular(place, path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def said_of_write(path: str, content: str) -> str:
    """What the model is told of a whole file written."""
    lines = content.count("\n") + (not content.endswith("\n") and content != "")
    return f"wrote {path}: {counted(lines, 'line')}, {len(content.encode())} bytes"


def said_of_edit(path: str, count: int) -> str:
    """What the model is told of an edit."""
    return f"edited {path}: {counted(count, 'replacement')}"


def said_of_tick(item: str) -> str:
    """What the model is told of a tick."""
    return f"ticked: {item}"


def plan_write(root: Path, path: str, content: str, vault: Masks) -> Plan:
    """Plan to make `content` the whole file."""
    relative, old = _present(root, path)
    if old is not None:
        _refuse_placeholder(relative, content, old, vault)
    return _plan(relative, old, content.encode(), said_of_write(relative, content))


def plan_edit(root: Path, path: str, old: str, new: str, *, count: int, vault: Masks) -> Plan:
    """Plan to replace exactly `count` occurrences of `old`. Raises RefusedPathError when there are not that many."""
    relative, content = _present(root, path)
    if content is None:
        raise RefusedPathError(f"{path}: no such file; make it with write_file")
    if not old:
        raise RefusedPathError("edit_file: `old` is empty; say which text to replace, or use write_file")
    if old == new:
        raise RefusedPathError("edit_file: `old` and `new` are the same")
    piece, put = old.encode(), new.encode()
    if piece not in content and b"\r\n" in content and "\r" not in old:
        # Models write \n where the file has \r\n.
        piece, put = piece.replace(b"\n", b"\r\n"), put.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    found = content.count(piece)
    if found == 0:
        raise RefusedPathError(vault.mask(_not_found(relative, old, vault.mask(content.decode("utf-8", "replace")))))
    if found != count:
        lines = ", ".join(_occurrences(content, piece))
        raise RefusedPathError(
            f"{relative}: `old` occurs {found} times (lines {lines}), not {count}; "
            f"add surrounding lines to make it unique, or give count={found} to replace all"
        )
    _refuse_placeholder(relative, new, content, vault)
    return _plan(relative, content, content.replace(piece, put), said_of_edit(relative, count))


def plan_tick(root: Path, spec: str, item: str, tick: Callable[[str, str], str | None]) -> Plan | None:
    """Plan to tick `item` in the spec's file; None when the spec has no such item."""
    relative, content = _present(root, spec)
    if content is None:
        raise RefusedPathError(f"{spec}: the spec's file is gone")
    ticked = tick(content.decode("utf-8", "surrogateescape"), item)
    if ticked is None:
        return None
    return _plan(relative, content, ticked.encode("utf-8", "surrogateescape"), said_of_tick(item))


def _plan(path: str, old: bytes | None, new: bytes, said: str) -> Plan:
    before = "" if old is None else hashlib.sha256(old).hexdigest()
    return Plan(path=path, before=before, after=hashlib.sha256(new).hexdigest(), content=new, said=said)


def _present(root: Path, path: str) -> tuple[str, bytes | None]:
    """Where a path really leads, from the root, and the bytes there."""
    with locate(root, path) as place:
        refuse_git(place)
        if place.name == ".":
            raise RefusedPathError(f"{path}: is a directory")
        if place.stat() is None:
            return place.relative, None
        with os.fdopen(open_regular(place, path), "rb") as file:
            content = file.read(EDIT_CAP + 1)
    if len(content) > EDIT_CAP:
        raise RefusedPathError(f"{path}: more than {EDIT_CAP:,} bytes; change it with run")
    return place.relative, content


def _refuse_placeholder(path: str, new: str, old: bytes, vault: Masks) -> None:
    """A model that gives back what it read would put `[secret:NAME]` where the user's secret stands."""
    for found in _PLACEHOLDER.finditer(new):
        name = found.group()
        text = old.decode("utf-8", "replace")
        if name in vault.mask(text) and name not in text:
            raise RefusedPathError(
                f"{path}: {name} stands for a value runner does not show; writing it would destroy that value. "
                "Change the lines around it with edit_file"
            )


def _occurrences(content: bytes, piece: bytes) -> list[str]:
    lines, at = list[str](), content.find(piece)
    while at >= 0 and len(lines) < 10:
        lines.append(str(content.count(b"\n", 0, at) + 1))
        at = content.find(piece, at + len(piece))
    return lines + (["…"] if at >= 0 else [])


def _not_found(path: str, old: str, text: str) -> str:
    """Say that `old` is not there, and where something like it is."""
    message = f"{path}: `old` does not occur in the file"
    if _PLACEHOLDER.search(old):
        return f"{message}; it contains a masked secret: choose text around it"
    wanted = next((line.strip() for line in old.splitlines() if line.strip()), "")
    lines = text.splitlines()[:2000]
    for number, line in enumerate(lines, 1):
        if wanted and line.strip() == wanted:
            return f"{message}, but line {number} differs only in indentation or in what follows: {line[:200]!r}"
    close = difflib.get_close_matches(wanted[:200], [line.strip()[:200] for line in lines], 1, 0.7) if wanted else []
    if close:
        number = next(number for number, line in enumerate(lines, 1) if line.strip()[:200] == close[0])
        return f"{message}; line {number} is the most like it: {lines[number - 1][:200]!r}"
    return f"{message}; read it again and copy the text exactly"


def temporary_name(plan_path: str, after: str) -> str:
    """The name a change is written under first; known in advance, so that a resume can remove it."""
    return f".runner-{hashlib.sha256(f'{plan_path} {after}'.encode()).hexdigest()[:16]}.tmp"


def apply(root: Path, plan: Plan) -> str:
    """Make the change. Raises RefusedPathError when the file is not what it was, OSError when the disk refuses."""
    if digest(root, plan.path) != plan.before:
        raise RefusedPathError(f"{plan.path}: somebody else changed it just now; read it again")
    with locate(root, plan.path, make=True) as place:
        refuse_git(place)
        if place.relative != plan.path:
            raise RefusedPathError(f"{plan.path}: somebody else moved it just now; read it again")
        found = place.stat()
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise RefusedPathError(f"{plan.path}: is not a regular file")
        if plan.before != plan.after:
            _replace(place, plan, found)
    return plan.said


def _replace(place: Place, plan: Plan, found: os.stat_result | None) -> None:
    temporary = temporary_name(plan.path, plan.after)
    _unlink(temporary, place.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=place.parent), "wb") as file:
            file.write(plan.content)
            if found is not None:
                _keep_owner(file.fileno(), found)
                os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    except BaseException:
        _unlink(temporary, place.parent)
        raise
    os.fsync(place.parent)


def _keep_owner(file: int, found: os.stat_result) -> None:
    mine = os.fstat(file)
    if (mine.st_uid, mine.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.fchown(file, found.st_uid, found.st_gid)
        except PermissionError:
            # Only root may give a file away; the content is what was asked for.
            return


def remove_temporary(root: Path, path: str, after: str) -> None:
    """Remove what a change that was cut short left beside its file."""
    with locate(root, path) as place:
        if not place.missing:
            _unlink(temporary_name(path, after), place.parent)


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
