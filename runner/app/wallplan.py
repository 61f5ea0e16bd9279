"""What the walls of a run let in: its workspace, the parts of it that stay as they are, and what programs need."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.policy import patterns
from runner.policy.book import PathRules, SandboxRules
from runner.sandbox import places
from runner.sandbox.plan import FILE_SIZE, MAX_DISK, PROCESSES, Limits, Plan
from runner.workspace import repository
from runner.workspace.git import bare_environment

_IN_PART = frozenset({"pyproject.toml", "setup.cfg", "package.json"})
"""Files that are protected in part: their other parts are the agent's to change."""
_NOT_LOOKED_AT = frozenset({".git", "node_modules", ".venv", "venv", "__pycache__"})
_MOST_LOOKED_AT = 200_000
_EXAMPLES = (".example", ".sample", ".template", ".dist")
_GIT_SETTINGS = (
    r"^(user\.(name|email)|init\.defaultbranch|core\.(autocrlf|eol)|pull\.(rebase|ff)|merge\.conflictstyle"
    r"|diff\.algorithm|color\.ui)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a run works and what is kept of it.

    `origin` is the user's workspace where the run works on a copy; `home` the directory that commands have as HOME;
    `state` the state directory; `protected` are paths from the workspace's root, `spec` the spec's among them.
    """

    workspace: Path
    origin: Path
    state: Path
    home: Path | None = None
    protected: tuple[str, ...] = ()
    spec: str | None = None


def plan(ground: Ground, env: Mapping[str, str], sandbox: SandboxRules, paths: PathRules) -> Plan:
    """Work out what commands with the environment `env` may see and do."""
    root = ground.workspace.resolve()
    home = user_home(env)
    writable, read_only = _repository(root)
    if ground.origin.resolve() != root and (origin := repository.find(ground.origin.resolve())) is not None:
        # the copy's objects are looked up in the user's
        read_only.append(origin.objects.resolve())
    if sandbox.read_only:
        read_only.append(root)
    read_only += _matching(root, paths.deny_write, home)
    read_only += [root / name for name in ground.protected if name != ground.spec and _whole(name)]
    prefixes = places.prefixes(env.get("PATH", ""), home, workspace=root)
    caches = _caches(home, sandbox.caches)
    shown = (root, *writable, *(path for path in read_only if not path.is_relative_to(root)), *prefixes, *caches)
    hidden = [*_matching(root, paths.deny_read, home), *_named(paths.deny_read, home), *places.secrets_in(home, shown)]
    return Plan(
        workspace=root,
        user_home=home,
        home=ground.home,
        writable=tuple(writable),
        read_only=tuple(dict.fromkeys(read_only)),
        hidden=tuple(dict.fromkeys(_seen([*hidden, ground.state.resolve()], shown))),
        prefixes=prefixes,
        caches=caches,
        caches_writable=sandbox.caches_writable,
        limits=limits(sandbox),
        run_as=sandbox.run_as,
    )


def user_home(env: Mapping[str, str]) -> Path:
    """The path of HOME; a directory of nobody's where there is none."""
    home = Path(os.path.realpath(env.get("HOME") or Path("~").expanduser()))
    return home if home.is_absolute() and len(home.parts) > 1 else Path("/home/agent")


def limits(sandbox: SandboxRules) -> Limits:
    """What commands may use: as the policy says, else what runner takes for enough."""
    return Limits(
        memory=sandbox.memory,
        processes=sandbox.processes or PROCESSES,
        file_size=sandbox.file_size or FILE_SIZE,
        cpu_s=sandbox.cpu_s,
        max_disk=sandbox.max_disk or MAX_DISK,
    )


def furnish(home: Path, env: Mapping[str, str], owner: tuple[int, int] | None = None) -> None:
    """Make the private HOME, and tell git in it who commits: of the user's own settings only what holds no secret.

    `owner` are the user and group that commands run as, where they are others.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = {**bare_environment((home,)), "HOME": str(user_home(env))}
    del user["GIT_CONFIG_GLOBAL"]
    asked = subprocess.run(
        ("git", "config", "--global", "--includes", "-z", "--get-regexp", _GIT_SETTINGS),
        cwd="/", env=user, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    lines: list[str] = []
    for item in asked.stdout.decode("utf-8", "replace").split("\0")[:-1]:
        key, _, value = item.partition("\n")
        section, _, name = key.partition(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'[{section}]\n\t{name} = "{quoted}"\n')
    # a command of an earlier run may have left a link under any name
    with tempfile.NamedTemporaryFile("w", dir=home, delete=False, encoding="utf-8") as file:
        file.writelines(lines)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
    made = Path(file.name)
    try:
        made.replace(home / ".gitconfig")
    except OSError:  # a directory of that name, made by a command: git goes without
        made.unlink()


def _whole(name: str) -> bool:
    return os.path.basename(name) not in _IN_PART  # noqa: PTH119 - a path of a tree, not of this machine


def _repository(root: Path) -> tuple[list[Path], list[Path]]:
    """What of the workspace's repository is writable beside the workspace, and what is read-only.

    Read-only are its settings, hooks and attributes: git runs programs that they name. Where the repository is not in
    the workspace, it counts only if something outside says so: a file in the workspace is an agent's to write.
    """
    found = repository.find(root)
    if found is None:
        return [], []
    git = found.git.resolve()
    inside = git.is_relative_to(root)
    common = git if inside else found.common.resolve()
    writable: list[Path] = []
    read_only: list[Path] = []
    if not inside:
        link = found.top / ".git"
        if link.is_file():
            back = (repository.read_plain(git / "gitdir") or b"").strip()
            if os.fsdecode(back) != str(link):
                return [], []
            read_only.append(link)
        if found.top != root:
            # without what lies beside the workspace, git would take it for deleted
            read_only.append(found.top)
        writable = list(dict.fromkeys((common, git)))
    for name in ("hooks", "info"):
        with suppress(OSError):  # what is not there could be made
            (common / name).mkdir(exist_ok=True)
    names = ("config", "config.worktree", "hooks", "info")
    kept = (place / name for place in dict.fromkeys((common, git)) for name in names)
    return writable, [*read_only, *(path for path in kept if path.exists())]


def _caches(home: Path, named: tuple[str, ...] | None) -> tuple[Path, ...]:
    """The caches that exist, as named by the policy or as package managers have them."""
    found = (home / name.removeprefix("~/") for name in (places.CACHES if named is None else named))
    return tuple(path for path in found if path.is_dir() and not path.is_symlink())


def _matching(root: Path, globs: Iterable[str], home: Path) -> Iterator[Path]:
    """What below the workspace a policy's patterns mean; a directory stands for all in it. Links count as they end."""
    tests = [patterns.path(glob, str(home)) for glob in globs if not glob.startswith(("/", "~"))]
    waiting, looked_at = [root] if tests else [], 0
    while waiting and looked_at < _MOST_LOOKED_AT:
        try:
            with os.scandir(waiting.pop()) as entries:
                names = list(entries)
        except OSError:
            continue
        looked_at += len(names)
        for entry in names:
            path = Path(entry.path)
            relative = patterns.nfc(path.relative_to(root).as_posix())
            if any(test(relative) for test in tests) and not relative.endswith(_EXAMPLES):
                yield path.resolve()
            elif entry.is_dir(follow_symlinks=False) and entry.name not in _NOT_LOOKED_AT:
                waiting.append(path)


def _named(globs: Iterable[str], home: Path) -> Iterator[Path]:
    """What patterns outside the workspace name: up to their first component that is no name."""
    for glob in globs:
        if glob.startswith(("/", "~/")):
            parts = Path(glob.replace("~", str(home), 1) if glob[0] == "~" else glob).parts
            literal = [part for part in parts if patterns.is_literal(part)]
            if parts[: len(literal)] == tuple(literal) and parts[len(literal) :] in {(), ("**",), ("*",)}:
                yield Path(*literal)


def _seen(paths: Iterable[Path], shown: tuple[Path, ...]) -> Iterator[Path]:
    return (path for path in paths if any(path.is_relative_to(each) for each in shown))
