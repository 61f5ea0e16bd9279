"""The current directory: can a run work here, on what, and what would its checkpoints hold?"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from runner.app.clock import SystemClock
from runner.app.health.finding import Finding, Mark, World, at
from runner.errors import ConfigError, RunnerError
from runner.spec.discover import find_spec, read_spec
from runner.spec.parse import parse_spec
from runner.workspace.git import Git
from runner.workspace.repository import find

BIG = 10_000
"""Files in one directory that make every checkpoint slower."""

_LOOK_S = 2.0


def here(world: World) -> Iterator[Finding]:
    """Everything about the current directory."""
    if world.cwd is None:
        yield Finding(Mark.FAIL, "here", "the current directory is gone", "cd to a directory that exists")
        return
    root = world.cwd.resolve()
    if root == Path("/") or str(root) == os.path.realpath(os.path.expanduser("~")):  # noqa: PTH111  never raises
        text = f"{root} is too much for a workspace: every file of it would be kept"
        yield Finding(Mark.WARN, "here", text, "cd into a project")
        return
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(Mark.WARN, "here", f"{root} cannot be written: an agent can do nothing here", "cd elsewhere")
    yield _repository(root)
    yield _spec(world.cwd)
    yield from _big(root)


def _repository(root: Path) -> Finding:
    found = find(root)
    if found is None:
        return Finding(Mark.NOTE, "here", f"{root}, no git repository; checkpoints are made all the same")
    branch, commit = found.head()
    if branch is None:
        where = f"at {commit[:12]}" if commit else "nowhere"
    else:
        where = f"on {branch.removeprefix('refs/heads/')}" + ("" if commit else ", no commit yet")
    inside = "" if found.top == root else f" of {found.top}"
    return Finding(Mark.OK, "here", f"{root}, git repository{inside} {where}")


def _spec(cwd: Path) -> Finding:
    try:
        path = find_spec(cwd)
        spec = parse_spec(read_spec(path), str(path), on_path=lambda _: True, now=SystemClock().now())
    except ConfigError as error:
        fix = error.hint.partition("\n")[0]
        if error.path is None:  # none, or more than one: that is no fault
            return Finding(Mark.NOTE, "spec", error.message, fix)
        more = f", and {len(error.more)} more" if error.more else ""
        return Finding(Mark.WARN, "spec", f"{at(error)}{more}", "runner spec check")
    return Finding(Mark.OK, "spec", f"{path.relative_to(cwd)}: {spec.title}")


def _big(root: Path) -> Iterator[Finding]:
    found = big_folders(root, BIG, seconds=_LOOK_S)
    if not found:
        return
    ignored = _ignored(root, [path for path, _ in found])
    for path, count in found:
        name = path.relative_to(root)
        if ignored is not None and path in ignored:
            yield Finding(Mark.OK, "size", f"{name} has {count:,} files, ignored: checkpoints leave them out")
        elif ignored is not None:
            text = f"{name} has {count:,} files, and every checkpoint looks at all of them"
            yield Finding(Mark.WARN, "size", text, f"if it can be made again: echo '/{name}/' >> .gitignore")


def big_folders(root: Path, least: int, *, seconds: float) -> list[tuple[Path, int]]:
    """The deepest directories with `least` files or more below them, as far as can be seen within `seconds`."""
    end = time.monotonic() + seconds
    found: list[tuple[Path, int]] = []

    def count(folder: str, *, top: bool) -> int:
        total, before = 0, len(found)
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return 0
        for entry in entries:
            if time.monotonic() > end:
                break
            if entry.is_dir(follow_symlinks=False):
                total += 0 if top and entry.name == ".git" else count(entry.path, top=False)
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                total += 1
        if total >= least and len(found) == before and not top:
            found.append((Path(folder), total))
        return total

    count(str(root), top=True)
    return sorted(found, key=lambda one: -one[1])


def _ignored(root: Path, folders: list[Path]) -> set[Path] | None:
    """Which of these git would ignore; None when nobody can say. Asked in a git directory of our own that goes away."""
    repository = find(root)
    top = root if repository is None else repository.top
    asked = {f"./{path.relative_to(top)}/": path for path in folders}
    try:
        with tempfile.TemporaryDirectory(prefix="runner-doctor-") as aside:
            git = Git(Path(aside) / "git", (root,))
            git.create()
            (git.directory / "info" / "exclude").write_bytes(b"" if repository is None else repository.exclude())
            said = git.run(
                "check-ignore", "--no-index", "--stdin", "-z",
                give="\0".join(asked).encode(errors="surrogateescape"), work_tree=top, ok=(0, 1),
            )  # fmt: skip
    except (RunnerError, OSError):
        return None
    return {asked[os.fsdecode(name)] for name in said.split(b"\0") if os.fsdecode(name) in asked}
