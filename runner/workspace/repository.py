"""What runner needs to know of the user's repository, read from its files without running git in it.

Formats: `gitrepository-layout(5)`, `gitformat-index(5)`, `git-pack-refs(1)`.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RefusedError, WorkspaceError
from runner.workspace.git import bare_environment

_SMALL = 1 << 20
_LARGE = 1 << 30
_EXCLUDES = re.compile(rb"excludesfile|include", re.IGNORECASE)
_NAME = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")


def read_plain(path: Path, limit: int = _SMALL) -> bytes | None:
    """A regular file's bytes; None when there is none. Never waits on a pipe, never reads more than `limit`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        return file.read(limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository the workspace lies in. `top` is its working tree, `common` holds what its worktrees share."""

    top: Path
    git: Path
    common: Path

    @property
    def objects(self) -> Path:
        return self.common / "objects"

    @property
    def is_sha256(self) -> bool:
        return self._setting(rb"objectformat\s*=\s*sha256")

    @property
    def has_ref_files(self) -> bool:
        """False for a reftable repository, whose refs only git itself can read."""
        return not self._setting(rb"refstorage\s*=\s*reftable")

    def _setting(self, pattern: bytes) -> bool:
        return re.search(pattern, read_plain(self.common / "config") or b"", re.IGNORECASE) is not None

    def exclude(self) -> bytes:
        """The repository's own `info/exclude`."""
        return read_plain(self.common / "info" / "exclude") or b""

    def refs(self) -> dict[str, str]:
        """Branches, tags and remote branches by full name. Loose ones win over packed ones."""
        found: dict[str, str] = {}
        for line in (read_plain(self.common / "packed-refs", _LARGE) or b"").decode("utf-8", "replace").splitlines():
            name, _, ref = line.partition(" ")
            if _NAME.match(name) and ref.startswith("refs/"):
                found[ref] = name
        for kind in ("heads", "tags", "remotes"):
            base = self.common / "refs" / kind
            for folder, _, files in os.walk(base):
                for file in files:
                    path = Path(folder) / file
                    text = (read_plain(path) or b"").decode("utf-8", "replace").strip()
                    if _NAME.match(text):
                        found[path.relative_to(self.common).as_posix()] = text
        return found

    def head(self) -> tuple[str | None, str | None]:
        """HEAD as (branch ref, commit): no branch when it is detached, no commit before the first."""
        text = (read_plain(self.git / "HEAD") or b"").decode("utf-8", "replace").strip()
        if not text.startswith("ref:"):
            return None, text if _NAME.match(text) else None
        branch = text[4:].strip()
        return branch, self.refs().get(branch)

    def needs_plain_format(self, what: str) -> None:
        """Refuse what we can do only where objects and refs are in git's classic format."""
        if self.is_sha256 or not self.has_ref_files:
            raise RefusedError(
                f"{what} needs a repository with SHA-1 objects and refs in files; {self.top} is not one",
                hint="take the files of a checkpoint instead: runner rollback, or runner diff for a patch",
            )

    def index_stamp(self) -> tuple[int, int, int] | None:
        try:
            status = (self.git / "index").stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def index_paths(self) -> frozenset[bytes]:
        """What the user's index tracks. WorkspaceError when it cannot be read."""
        data = read_plain(self.git / "index", _LARGE)
        if data is None:
            return frozenset()
        try:
            paths, shared = _index(data, 32 if self.is_sha256 else 20)
            if shared is not None and (base := read_plain(self.git / f"sharedindex.{shared}", _LARGE)) is not None:
                paths |= _index(base, 32 if self.is_sha256 else 20)[0]
        except (struct.error, IndexError, ValueError) as error:
            raise WorkspaceError(f"{self.git / 'index'} is not an index that runner can read: {error}") from error
        return frozenset(paths)


def find(root: Path) -> Repository | None:
    """The repository `root` lies in, by looking upwards for `.git`; None when there is none."""
    for folder in (root, *root.parents):
        git = folder / ".git"
        if git.is_file():
            text = (read_plain(git) or b"").decode("utf-8", "replace")
            if not text.startswith("gitdir:"):
                continue
            git = folder / text.removeprefix("gitdir:").strip()
        if not (git / "HEAD").is_file():
            continue
        shared = (read_plain(git / "commondir") or b"").decode("utf-8", "replace").strip()
        common = Path(os.path.normpath(git / shared)) if shared else git
        if (common / "objects").is_dir():
            return Repository(top=folder, git=git, common=common)
    return None


def user_excludes(workspaces: tuple[Path, ...]) -> bytes:
    """The excludes file of the user's own configuration. Asked outside any repository, so nothing else is read."""
    keep = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
    home = Path(os.environ.get("HOME", "/"))
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    named = ""
    # Only where the setting can be does git have to say what it is.
    if any(_EXCLUDES.search(read_plain(file, _LARGE) or b"") for file in (home / ".gitconfig", config / "config")):
        named = _named_excludes(bare_environment(workspaces, keep))
    return read_plain(home / named if named else config / "ignore") or b""


def _named_excludes(env: Mapping[str, str]) -> str:
    asked = subprocess.run(
        ["git", "config", "--global", "--includes", "--get", "--path", "core.excludesFile"],
        cwd="/", env={name: value for name, value in env.items() if name != "GIT_CONFIG_GLOBAL"},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return os.fsdecode(asked.stdout).strip()


def _index(data: bytes, digest: int) -> tuple[set[bytes], str | None]:
    """Paths of an index file of version 2, 3 or 4, and the name of the shared index it builds on, if any."""
    magic, version, count = struct.unpack_from(">4sII", data)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise ValueError(f"version {version}")
    paths: set[bytes] = set()
    at, last = 12, b""
    for _ in range(count):
        (mode,) = struct.unpack_from(">I", data, at + 24)
        (flags,) = struct.unpack_from(">H", data, at + 40 + digest)
        name = at + 42 + digest + (2 if flags & 0x4000 else 0)
        if version == 4:
            cut, name = _varint(data, name)
            end = data.index(b"\0", name)
            last = last[: len(last) - cut] + data[name:end]
            at = end + 1
        else:
            end = data.index(b"\0", name)
            last = data[name:end]
            at += (end - at + 8) & ~7
        if last and stat.S_IFMT(mode) in (stat.S_IFREG, stat.S_IFLNK):
            paths.add(last)
    while at + 8 + digest <= len(data):
        kind, size = struct.unpack_from(">4sI", data, at)
        if kind == b"link":
            return paths, data[at + 8 : at + 8 + digest].hex()
        at += 8 + size
    return paths, None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The offset encoding of `gitformat-pack(5)`: a number and where it ends."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at + 1
