"""The state directory: where everything runner owns lives, and whether a database can live there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from runner.errors import ConfigError, StateError

# SQLite's locks and shared memory do not hold across machines.
_NETWORK = frozenset(
    {
        "afs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)

_ELSEWHERE = "name a directory on a local disk: RUNNER_STATE_DIR=/path, or state_dir in the user's configuration"


def default_state_dir() -> Path:
    """Tell the platform's place for state."""
    import platformdirs

    return expanded(Path(platformdirs.user_state_dir("runner", appauthor=False)))


def expanded(path: Path) -> Path:
    """Put the home directory in the place of `~`. Raises ConfigError for a user who has none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(
            f"no home directory is known, so {path} is nowhere", hint="set HOME, or name it: RUNNER_STATE_DIR=/path"
        ) from None


def network_kind(path: Path) -> str | None:
    """Name the network file system that `path`, or what there is of the way to it, lies on; None: a local disk."""
    return network_fs(nearest(path).resolve(), _mounts())


def state_dir(path: Path) -> Path:
    """Make the state directory (mode 0700) and return it, absolute; StateError when it cannot serve."""
    path = expanded(path).absolute()
    if (kind := network_kind(path)) is not None:
        msg = f"the state directory {path} is on a network file system ({kind}), where a database's locks do not hold"
        raise StateError(msg, hint=_ELSEWHERE)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (mode := path.stat().st_mode & 0o777) & 0o077 and path.stat().st_uid == os.getuid():
            path.chmod(mode & 0o700)
        # asking the file system beats reading modes: a read-only mount and a full disk answer here too
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        msg = f"the state directory {path} cannot be written: {error.strerror}"
        raise StateError(msg, hint=_ELSEWHERE) from error
    return path


def network_fs(path: Path, mounts: str) -> str | None:
    """Name the network file system `path` is on, by the text of /proc/mounts; None when it is on none."""
    best, kind = -1, None
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 4:
            continue
        point = Path(parts[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        # of two mounts on one point the later one covers the earlier
        if path.is_relative_to(point) and len(point.parts) >= best:
            windows_drive = parts[2] == "9p" and ("drvfs" in parts[0] or "aname=drvfs" in parts[3])
            best, kind = len(point.parts), parts[2] if parts[2] in _NETWORK or windows_drive else None
    return kind


def nearest(path: Path) -> Path:
    """Give `path`, or the nearest directory above it that exists."""
    return next(one for one in (path, *path.parents) if one.exists() or one == one.parent)


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text("utf-8", errors="replace")
    except OSError:
        return ""  # another platform: the user's word has to do
