"""Directories of a run that another user works in, whom the state directory keeps out: root's commands run as such."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_WHERE = "/var/tmp"  # noqa: S108 - it outlives a boot, and everybody can reach it; the name is nobody's to know before


def account(user: str) -> tuple[int, int]:
    """User and group of a name. Raises KeyError."""
    found = pwd.getpwnam(user)
    return found.pw_uid, found.pw_gid


def lend(path: Path, owner: tuple[int, int] | None = None) -> None:
    """Put a directory of a run where everybody can go through, and leave a link to it at `path`.

    `owner` is whose it is; without one nobody else can list it or write there. What a driver left that lent nothing is
    made anew by the next step, and removed.
    """
    if path.is_symlink() and path.is_dir():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    made = Path(tempfile.mkdtemp(prefix="runner-", dir=_WHERE))
    if owner is None:
        made.chmod(0o711)
    else:
        os.chown(made, *owner)
    path.symlink_to(made)


def lent(place: Path) -> Iterator[Path]:
    """What was lent of the run whose directory this is, as far as it is still there."""
    for path in place.iterdir() if place.is_dir() else ():
        if path.is_symlink() and path.readlink().parent == Path(_WHERE) and path.is_dir():
            yield path.readlink()
