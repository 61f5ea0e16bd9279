"""Walls by bubblewrap: the command line that shows the host, and what it starts, exactly what a plan lists.

Nothing of the machine is there that was not bound. The host is the first process of a process namespace of its own: the
kernel keeps every signal from inside away from it, and when it ends everything behind the walls is killed.

A path that is read-only or hidden inside a writable directory is a mount of its own: it cannot be written, removed or
renamed. Nor can the directories above it, up to the workspace: each is a mount, too, or renaming one would make room
for another file of the same name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import runner
from runner.sandbox import places, seccomp
from runner.sandbox.plan import Plan
from runner.sandbox.process import HOST, Launch

NAME = "bubblewrap"
PROGRAM = "bwrap"
MOST = 1_000
"""Read-only and hidden paths inside writable directories: each mount makes the next slower, a thousand take half a
second. What is left over is not held, only noticed: the hidden and the first said come first."""
_PROBE_S = 10
EMPTY = Path(runner.__file__).with_name("py.typed")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - the sandbox's own


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing at one path: `--bind`, `--ro-bind`, `--tmpfs` or `--empty` (a file with nothing in it)."""

    kind: str
    path: Path
    source: Path


def launch(plan: Plan, program: Path, env: Mapping[str, str]) -> Launch:
    """How the host is started behind walls, as the plan's places are at this moment."""
    # not --die-with-parent: that is the thread's end, not runner's; the host hears of the latter by its socket
    argv = [str(program), *_namespaces(plan), "--new-session", "--as-pid-1"]
    for said, path in places.links():
        argv += ["--symlink", said, str(path)]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    mounts = _ordered(plan)
    if plan.home is not None:
        _clear_links(
            plan.home, [mount.path.relative_to(plan.user_home) for mount in mounts if _below(mount.path, plan)]
        )
    for mount in mounts:
        argv += _words(mount, plan.limits.temporary)
    inner = (os.path.realpath(sys.executable), "-I", "-S", *plan.forwarder, str(HOST))
    known = {"TMPDIR": _TEMPORARY[0], "HOME": plan.user_home, **plan.variables}
    refused = f"filter={seccomp.kernel_alone().hex()}"
    orders = (refused, *(f"set={name}={value}" for name, value in known.items()), *plan.limits.orders(plan.writes))
    # root owns the settings of the kernel in there, in whatever namespace
    closed = ("/", "/dev", *(("/proc",) if os.geteuid() == 0 else ()))
    argv += (word for place in closed for word in ("--remount-ro", place))
    return Launch(argv=(*argv, "--", *inner, *orders), env=env)


def _namespaces(plan: Plan) -> tuple[str, ...]:
    """Namespaces of its own, of users too: there even root has no rights but those of a files' owner.

    Root in the workspace of somebody else needs a little more, and then must be root: to write what is not its own.
    """
    network = () if plan.network == "open" else ("--unshare-net",)
    others = ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", *network)
    if os.geteuid() != 0:
        return ("--unshare-user-try", *others)
    # root's would undo every mount
    without = ("--cap-drop", "ALL")
    if plan.workspace.stat().st_uid == 0:
        return ("--unshare-user-try", *others, *without)
    rights = ("CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN")
    return (*others, *without, *(word for right in rights for word in ("--cap-add", right)))


def find(path: str, *, outside: Path) -> Path | None:
    """The program on PATH; none that lies in the workspace, where commands could have put it."""
    directories = (Path(word) for word in path.split(os.pathsep))
    found = (
        place / PROGRAM for place in directories if place.is_absolute() and not place.resolve().is_relative_to(outside)
    )
    return next(
        (each.resolve() for each in found if os.access(each, os.X_OK) and not each.resolve().is_relative_to(outside)),
        None,
    )


def trouble(program: Path) -> str:
    """Why it cannot build walls here, in its own words; "" where it can."""
    namespaces = ("--unshare-all", "--as-pid-1", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev")
    options = ("--perms", "0700", "--size", "4096", "--tmpfs", str(_TEMPORARY[0]))
    argv = (str(program), *namespaces, *options, "/bin/true")
    try:
        done = subprocess.run(
            argv, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.decode("utf-8", "replace").strip()
    return "" if done.returncode == 0 else said or f"exit code {done.returncode}"


def _words(mount: Mount, size: int) -> list[str]:
    if mount.kind == "--tmpfs":
        perms = "0700" if mount.path not in _TEMPORARY else "1777"
        return ["--perms", perms, "--size", str(size), "--tmpfs", str(mount.path)]
    if mount.kind == "--empty":
        return ["--ro-bind", str(EMPTY), str(mount.path)]
    return [mount.kind, str(mount.source), str(mount.path)]


def _ordered(plan: Plan) -> list[Mount]:
    """Mounts from the outside in; of two at one path the later said. What adds nothing to its parent is left out."""
    wanted: dict[Path, Mount] = {mount.path: mount for mount in _mounts(plan)}
    found: dict[Path, Mount] = {}
    for path in sorted(wanted):
        mount = wanted[path]
        around = next((found[each] for each in path.parents if each in found), None)
        if around is None or (around.kind, mount.kind) != ("--ro-bind", "--ro-bind"):
            found[path] = mount
    return list(found.values())


def _mounts(plan: Plan) -> Iterator[Mount]:
    for path in _TEMPORARY:
        yield _memory(path)
    for path in (*places.base(), *places.interpreter(), HOST.parent, *plan.prefixes):
        yield _read_only(path)
    if not plan.user_home.is_relative_to(plan.workspace):
        yield _memory(plan.user_home) if plan.home is None else Mount("--bind", plan.user_home, plan.home)
    if not plan.caches_writable:
        yield from map(_read_only, plan.caches)
    if plan.proxy is not None:
        yield Mount("--bind", plan.proxy, plan.proxy)
    writable = _writable(plan)
    guarded = _guarded(plan)
    yield from (_read_only(path) for path in plan.read_only if path.exists() and not _inside(path, writable))
    for path in writable:
        yield Mount("--bind", path, path)
    chosen = tuple(guarded)[:MOST]
    for path in chosen:
        for above in _between(path, writable):
            yield Mount("--bind", above, above)
    for path in chosen:
        yield _read_only(path) if guarded[path] else _hidden(path)
    yield from (_hidden(path) for path in plan.hidden if path.exists() and not _inside(path, writable))


def _guarded(plan: Plan) -> dict[Path, bool]:
    """What lies inside writable directories and is read-only (True) or hidden (False) all the same.

    What is not there now, or is reached through a link, is none of it: a mount would land where the link leads.
    """
    writable = _writable(plan)
    straight: dict[Path, bool] = {}

    def inside(paths: Iterable[Path]) -> Iterator[Path]:
        for path in paths:
            if _inside(path, writable):
                above = path.parent
                if above not in straight:
                    straight[above] = Path(os.path.realpath(above)) == above
                if straight[above] and path.exists() and not path.is_symlink():
                    yield path

    hidden = dict.fromkeys(inside(plan.hidden), False)
    return {**hidden, **{path: True for path in inside((HOST.parent, *plan.read_only)) if path not in hidden}}


def _writable(plan: Plan) -> tuple[Path, ...]:
    """What is writable where it is; the private HOME is somewhere else."""
    return tuple(path for path in plan.writes if path != plan.home)


def _inside(path: Path, directories: tuple[Path, ...]) -> bool:
    return any(each in path.parents for each in directories)


def _between(path: Path, writable: tuple[Path, ...]) -> Iterator[Path]:
    """The directories between a path and the writable one it lies in, the outermost first."""
    return reversed([each for each in path.parents if _inside(each, writable)])


def _below(path: Path, plan: Plan) -> bool:
    return plan.user_home in path.parents


def _clear_links(home: Path, below: Iterable[Path]) -> None:
    """Remove links that commands left where something is going to be mounted: it would land where they lead."""
    for path in below:
        at = home
        for part in path.parts:
            at /= part
            if at.is_symlink():
                at.unlink()


def _memory(path: Path) -> Mount:
    return Mount("--tmpfs", path, path)


def _read_only(path: Path) -> Mount:
    return Mount("--ro-bind", path, path)


def _hidden(path: Path) -> Mount:
    return _memory(path) if path.is_dir() else Mount("--empty", path, path)
