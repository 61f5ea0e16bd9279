"""The machine: Python and its packages, git, processes, the terminal."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import runner
from runner.app.health.finding import Finding, Mark, World
from runner.workspace.git import bare_environment, trusted_path

OLDEST_GIT = (2, 36)

_DISTRIBUTION = "agent-loop-runner"
_GIT_S = 10
_GET_DEATH_SIGNAL, _GET_DUMPABLE, _SET_DUMPABLE = 2, 3, 4  # prctl(2)
_LEAST_COLUMNS = 60


def python(_world: World) -> Iterator[Finding]:
    """Python, and runner itself."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(Mark.OK, "Python", f"{version}, {sys.executable or 'from an unknown place'}")
    yield Finding(Mark.OK, "runner", f"{runner.__version__}, {Path(runner.__file__).parent}")


def packages(_world: World) -> Iterator[Finding]:
    """The packages runner is made with, by their metadata: none is imported."""
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(Mark.NOTE, "packages", "runner is not installed as a package: it runs from its source")
        return
    names = [_name(one) for one in required if "extra ==" not in one]
    missing = [name for name in names if _version(name) is None]
    if missing:
        fix = f"{sys.executable} -m pip install {' '.join(missing)}"
        yield Finding(Mark.FAIL, "packages", f"missing: {', '.join(missing)}", fix)
    else:
        yield Finding(Mark.OK, "packages", f"all {len(names)} installed (openai {_version('openai')})")
    if (found := _version("litellm")) is None:
        text = "not installed; only providers without an adapter of their own need it"
        yield Finding(Mark.NOTE, "litellm", text, "pip install 'agent-loop-runner[litellm]'")
    else:
        yield Finding(Mark.OK, "litellm", found)


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# ---- git -------------------------------------------------------------------------------------------------


def git(world: World) -> Iterator[Finding]:
    """The git that checkpoints are made with: never one of the workspace, and new enough."""
    workspaces = () if world.cwd is None else (world.cwd.resolve(),)
    path = trusted_path(workspaces)
    found = shutil.which("git", path=path)
    if found is None:
        elsewhere = shutil.which("git")
        text = "not found on PATH"
        if elsewhere is not None:
            text = f"only {elsewhere} was found: it lies in this directory, where an agent can write"
        yield Finding(Mark.FAIL, "git", text, _git_fix())
        return
    yield _git_version(found, workspaces)
    odd = [one for one in os.environ.get("PATH", os.defpath).split(os.pathsep) if one not in path.split(os.pathsep)]
    if odd:
        shown = ", ".join(one or "an empty name" for one in odd)
        text = f"not searched for git: {shown} (relative, or in this directory)"
        yield Finding(Mark.NOTE, "PATH", text, "tools still find programs there first; take it off PATH if unsure")


def _git_version(program: str, workspaces: tuple[Path, ...]) -> Finding:
    try:
        done = subprocess.run(
            [program, "--version"],
            env=bare_environment(workspaces),
            cwd="/",
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_GIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(Mark.FAIL, "git", f"{program} did not answer within {_GIT_S} s", _git_fix())
    except OSError as error:
        return Finding(Mark.FAIL, "git", f"{program} cannot be run: {error.strerror}", _git_fix())
    said = done.stdout.decode("utf-8", "replace").strip()
    numbers = re.search(r"(\d+)\.(\d+)", said)
    if done.returncode != 0 or numbers is None:
        return Finding(Mark.FAIL, "git", f"{program} --version failed (exit status {done.returncode})", _git_fix())
    if (int(numbers[1]), int(numbers[2])) < OLDEST_GIT:
        text = f"{said.removeprefix('git version ')} is too old, {program}"
        return Finding(Mark.FAIL, "git", text, _git_fix())
    return Finding(Mark.OK, "git", f"{said.removeprefix('git version ')}, {program}")


def _git_fix() -> str:
    least = ".".join(map(str, OLDEST_GIT))
    return f"install git {least} or newer, and put it on PATH outside the workspace"


# ---- processes and terminal ------------------------------------------------------------------------------


def processes(_world: World) -> Iterator[Finding]:
    """What ends programs with the run that started them, and keeps keys from other processes."""
    if sys.platform != "linux":
        text = "programs that outlive a killed run are not ended here, and other processes may look at keys"
        yield Finding(Mark.WARN, "processes", text, "end leftovers yourself after a kill -9; only Linux has more")
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    signal = ctypes.c_int()
    if prctl(_GET_DEATH_SIGNAL, ctypes.byref(signal), 0, 0, 0) == 0:
        yield Finding(Mark.OK, "processes", "a parent's death ends its programs (PR_SET_PDEATHSIG)")
    else:
        text = f"no parent-death signal: {os.strerror(ctypes.get_errno())}"
        yield Finding(Mark.WARN, "processes", text, "after a kill -9 of runner, end its programs yourself")
    yield _proc()
    was: int = prctl(_GET_DUMPABLE, 0, 0, 0, 0)
    refused: int = prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    if refused == 0:
        if was > 0:
            prctl(_SET_DUMPABLE, 1, 0, 0, 0)
        yield Finding(Mark.OK, "memory", "other processes of yours cannot read keys from it (PR_SET_DUMPABLE)")
    else:
        text = f"cannot be closed to other processes of yours: {os.strerror(ctypes.get_errno())}"
        yield Finding(Mark.WARN, "memory", text, "run runner as a user of its own")


def _proc() -> Finding:
    fix = "mount /proc without hidepid, or leftovers of a killed run are not found"
    try:
        own = Path("/proc/self/environ").read_bytes()
        others = [one for one in os.listdir("/proc") if one.isdecimal()]  # noqa: PTH208  names, not paths
    except OSError as error:
        return Finding(Mark.WARN, "/proc", f"cannot be read: {error.strerror}", fix)
    if not others:
        return Finding(Mark.WARN, "/proc", "shows no process", fix)
    return Finding(Mark.OK, "/proc", "readable" if own else "readable, without the environment of this process")


def terminal(world: World) -> Iterator[Finding]:
    """Where output goes, and what it can show."""
    encoding = (sys.stdout.encoding or "").lower()
    if not sys.stdout.isatty():
        yield Finding(Mark.NOTE, "terminal", "standard output is none: plain lines, no colours")
    else:
        columns, lines = shutil.get_terminal_size()
        mark = Mark.OK if columns >= _LEAST_COLUMNS else Mark.NOTE
        yield Finding(mark, "terminal", f"{columns} columns, {lines} lines, {_colours(world)}")
    if encoding.replace("-", "").replace("_", "") == "utf8":
        yield Finding(Mark.OK, "characters", "UTF-8")
    else:
        text = f"{encoding or 'unknown'}: characters it lacks are shown by their number"
        yield Finding(Mark.WARN, "characters", text, "export LANG=C.UTF-8")


def _colours(world: World) -> str:
    if world.environ.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if world.environ.get("TERM", "dumb") in {"", "dumb"}:
        return "no colours (TERM)"
    return "colours"
