"""What `setup` made in the scoring view, carried over from one view to the next as long as nobody touched it.

Setup runs again when its commands, or a file that says what to install, changed, and when a file it made was altered.
What a check or the agent added to its folders is removed.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path

from runner.checks import names
from runner.checks.view import View, remove
from runner.ports import Workspace
from runner.spec.model import Spec

_MANIFESTS = [
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "requirements*.txt",
    "requirements*.in",
    "*.lock",
    "package.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "go.mod",
    "go.sum",
    "Cargo.toml",
    "Gemfile",
    "pom.xml",
    "build.gradle*",
    "composer.json",
    "environment.yml",
    "Pipfile",
]


def setup_inputs(spec: Spec, workspace: Workspace, tree: str) -> str:
    """Name the content of a tree that the spec says its setup depends on; "" where it says nothing."""
    if not spec.setup_inputs:
        return ""
    found = [path for path in workspace.paths(tree) if any(names.matches(path, each) for each in spec.setup_inputs)]
    digest = hashlib.sha256()
    for path, data in workspace.read_many(tree, sorted(found)).items():
        digest.update(f"{len(data)} {path}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)
    return digest.hexdigest()


class Products:
    """The folders and files that setup made, known by size, times and inode: content cannot change without them."""

    def __init__(self, workspace: Workspace, scratch: Path) -> None:
        self._workspace = workspace
        self._kept = scratch / "kept"
        self._record = scratch / "setup.json"

    def key(self, spec: Spec, tree: str) -> str:
        """Name what setup depends on: its commands and the files of the tree that say what to install."""
        named = {path for argv in spec.setup for path in names.named_paths(argv)}
        digest = hashlib.sha256(repr(spec.setup).encode())
        telling = [
            path
            for path in self._workspace.paths(tree)
            if path in named
            or any(fnmatch.fnmatchcase(posixpath.basename(path), each) for each in _MANIFESTS)
            or any(names.matches(path, each) for each in spec.setup_inputs)
        ]
        for path, data in self._workspace.read_many(tree, telling).items():
            digest.update(f"\0{path}\0".encode("utf-8", "surrogateescape"))
            digest.update(data)
        return digest.hexdigest()

    def take(self, view: Path, key: str) -> bool:
        """Move the products out of the old view; False = setup must run (again)."""
        remove(self._kept)
        record = self._read()
        self._record.unlink(missing_ok=True)
        if record is None or record[0] != key:
            return False
        files = record[1]
        if any(_stamp(view / path) != stamp for path, stamp in files.items()):
            return False
        roots = record[2]
        for root in roots:
            for path in list(_walk(view, root)):
                if path not in files:
                    remove(view / path)
        self._kept.mkdir(mode=0o700)
        for number, root in enumerate(roots):
            (view / root).rename(self._kept / str(number))
        (self._kept / "roots.json").write_text(json.dumps(roots), "utf-8")
        return True

    def put(self, view: Path, key: str) -> None:
        """Move the products into the new view, where nothing of the tree stands in their way."""
        roots: list[str] = json.loads((self._kept / "roots.json").read_text("utf-8"))
        for number, root in enumerate(roots):
            target = view / root
            if not os.path.lexists(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                (self._kept / str(number)).rename(target)
        remove(self._kept)
        self._write(view, key, roots)

    def remember(self, view: View, key: str) -> None:
        """Note what setup made: everything in the view now that the tree does not have."""
        self._write(view.path, key, list(_untracked(view.path, view.paths)))

    def _write(self, view: Path, key: str, roots: list[str]) -> None:
        files = {path: _stamp(view / path) for root in roots for path in _walk(view, root)}
        written = self._record.with_suffix(".new")
        written.write_text(json.dumps([key, files, roots]), "utf-8")
        written.replace(self._record)

    def _read(self) -> tuple[str, dict[str, list[int]], list[str]] | None:
        try:
            key, files, roots = json.loads(self._record.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return key, files, roots


def run_setup(spec: Spec, products: Products, view: View, key: str, run: Callable[[tuple[str, ...]], str]) -> str:
    """Run the setup commands in order; "" when all went well, else what went wrong. `run` does one of them."""
    for argv in spec.setup:
        if (trouble := run(argv)) != "":
            return trouble
    products.remember(view, key)
    return ""


def _stamp(path: Path) -> list[int]:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode]


def _walk(view: Path, root: str) -> Iterator[str]:
    """Files and links below (or at) `root`, relative to the view."""
    full = view / root
    if full.is_symlink() or not full.is_dir():
        if os.path.lexists(full):
            yield root
        return
    for folder, inner, files in os.walk(full):
        below = Path(folder).relative_to(view)
        for name in (*files, *(name for name in inner if Path(folder, name).is_symlink())):
            yield (below / name).as_posix()


def _untracked(view: Path, tracked: frozenset[str]) -> Iterator[str]:
    """The topmost paths of the view that hold nothing of the tree."""
    folders = {posixpath.dirname(path) for path in tracked}
    folders |= {"/".join(folder.split("/")[:depth]) for folder in folders for depth in range(1, folder.count("/") + 1)}
    for folder, inner, files in os.walk(view):
        below = Path(folder).relative_to(view)
        descend: list[str] = []
        for name in inner:
            path = (below / name).as_posix()
            if path in folders and not Path(folder, name).is_symlink():
                descend.append(name)
            elif path not in tracked:
                yield path
        inner[:] = descend
        yield from (path for path in ((below / name).as_posix() for name in files) if path not in tracked)
