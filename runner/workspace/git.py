"""The one door to git: a git directory of our own, an empty environment, no configuration of anybody else.

git takes orders from the repository it works in: `core.fsmonitor`, filters, hooks and includes are programs an agent
could have written. So runner's git never opens the user's repository, only a directory that runner made itself, and
it never converts content: bytes go in and out through object commands alone.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from runner.errors import StateError, WorkspaceError

_SETTINGS = (
    "core.fsync=all",
    "core.fsyncMethod=batch",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.bigFileThreshold=1m",
    "core.compression=1",
    "core.logAllRefUpdates=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "diff.renames=true",
    "protocol.allow=never",
)
_OPTIONS = tuple(part for setting in _SETTINGS for part in ("-c", setting))

# Content is bytes here, whatever a `.gitattributes` of the workspace asks for.
ATTRIBUTES = "* -text -filter -ident -working-tree-encoding -eol -crlf -merge\n"

# What the C library says when it is the disk that refuses.
_DISK = ("No space left on device", "Read-only file system", "Disk quota exceeded", "Input/output error")

OLDEST = (2, 36)
"""The first git with everything that is asked of it here (`core.fsyncMethod=batch`)."""
# What makes a directory a bare git directory with SHA-1 names: `gitrepository-layout(5)`.
_DIRECTORY = {
    "config": "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
    "info/attributes": ATTRIBUTES,
    "HEAD": "ref: refs/heads/master\n",
}

TIMEOUT_S = 900
_ASK_AT_ONCE = 200


def trusted_path(workspaces: tuple[Path, ...]) -> str:
    """PATH without places inside a workspace (an active `.venv`, `node_modules/.bin`): git there is the agent's."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept: list[str] = []
    for name in folders:
        real = Path(name).resolve()
        if Path(name).is_absolute() and not any(real.is_relative_to(workspace) for workspace in workspaces):
            kept.append(name)
    return os.pathsep.join(kept) or os.defpath


def bare_environment(workspaces: tuple[Path, ...], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What our git sees of the world: where programs are, and that nobody may be asked anything."""
    return {
        "PATH": trusted_path(workspaces),
        "LANG": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **(extra or {}),
    }


class Git:
    """Runs git on one git directory that runner owns, found outside the workspaces. Every exit status is looked at."""

    def __init__(self, directory: Path, workspaces: tuple[Path, ...]) -> None:
        self.directory = directory
        self.workspaces = workspaces
        # Open files every git started from now on keeps open: a lock lasts until the last of them has ended.
        self.keeps_open: tuple[int, ...] = ()
        self._is_made = False

    def create(self) -> None:
        """Make the directory if it is not there; safe to repeat, and to interrupt.

        These few files are all that `git init --bare` would make, without the time it takes to start. They are held
        against what they should be instead of being flushed: a power failure costs nothing but writing them again.
        """
        if self._is_made:
            return
        try:
            self.directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in ("objects/info", "objects/pack", "refs/heads", "info"):
                (self.directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, text in _DIRECTORY.items():
                self._place(name, text)
        except OSError as error:
            raise StateError(f"cannot make {self.directory}: {error.strerror}") from error
        self._is_made = True

    def _place(self, name: str, text: str) -> None:
        with suppress(FileNotFoundError):
            if (self.directory / name).read_bytes() == text.encode():
                return
        temporary = self.directory / f"{name}.{os.getpid()}.new"
        temporary.write_text(text, "utf-8")
        temporary.replace(self.directory / name)

    def argv(self, args: Iterable[str], work_tree: Path | None) -> list[str]:
        tree = [] if work_tree is None else [f"--work-tree={work_tree}"]
        return ["git", *_OPTIONS, f"--git-dir={self.directory}", *tree, *args]

    def run(
        self,
        *args: str,
        give: bytes | IO[bytes] = b"",
        take: IO[bytes] | None = None,
        work_tree: Path | None = None,
        at: Path | None = None,
        env: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (0,),
    ) -> bytes:
        """Run one command and return what it printed, unless `take` took it; WorkspaceError in git's own words."""
        try:
            done = subprocess.run(
                self.argv(args, work_tree),
                input=give if isinstance(give, bytes) else None,
                stdin=None if isinstance(give, bytes) else give,
                cwd=at or work_tree or self.directory,
                env=bare_environment(self.workspaces, env),
                stdout=subprocess.PIPE if take is None else take,
                stderr=subprocess.PIPE,
                pass_fds=self.keeps_open,
                timeout=TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            needed = ".".join(map(str, OLDEST))
            raise WorkspaceError(
                f"cannot run git, which checkpoints are kept with: {error.strerror}",
                hint=f"install git {needed} or newer, and have it on PATH",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise WorkspaceError(f"git {args[0]} did not answer within {TIMEOUT_S} s") from error
        if done.returncode not in ok:
            words = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
            if any(sign in words for sign in _DISK):
                raise StateError(f"git {args[0]}: {words}", hint=f"git directory: {self.directory}")
            if args[0] != "--version":
                self._refuse_old()
            raise WorkspaceError(f"git {args[0]}: {words}", hint=f"git directory: {self.directory}")
        return done.stdout or b""

    def _refuse_old(self) -> None:
        """Say so when it is git's age that something failed for; asked only then."""
        said = self.run("--version", at=Path("/")).decode("utf-8", "replace")
        found = re.search(r"(\d+)\.(\d+)\S*", said)
        if found and (int(found[1]), int(found[2])) < OLDEST:
            needed = ".".join(map(str, OLDEST))
            msg = f"git {found[0]} is too old to keep checkpoints with"
            raise WorkspaceError(msg, hint=f"install git {needed} or newer; `git --version` shows which one is found")

    def text(self, *args: str, give: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """One line of answer."""
        return self.run(*args, give=give, env=env).decode("utf-8", "replace").strip()

    @contextmanager
    def blobs(self, names: list[str]) -> Generator[Iterator[tuple[int, IO[bytes]]]]:
        """Each object as its size and a stream of exactly that many bytes, in order; read one before the next."""
        with subprocess.Popen(
            self.argv(["cat-file", "--batch"], None),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=self.keeps_open,
            cwd=self.directory,
            env=bare_environment(self.workspaces),
        ) as process:
            try:
                yield self._answers(process, names)
            finally:
                with suppress(BrokenPipeError):
                    if process.stdin is not None:
                        process.stdin.close()
                process.kill()

    def _answers(self, process: subprocess.Popen[bytes], names: list[str]) -> Iterator[tuple[int, IO[bytes]]]:
        ask, answer = process.stdin, process.stdout
        if ask is None or answer is None:
            raise WorkspaceError("git cat-file has no pipes")
        # A few questions at a time fit in the pipe, so that neither side waits for the other for ever.
        for start in range(0, len(names), _ASK_AT_ONCE):
            some = names[start : start + _ASK_AT_ONCE]
            ask.write("".join(f"{name}\n" for name in some).encode())
            ask.flush()
            for name in some:
                head = answer.readline().split()
                if len(head) != 3:
                    raise WorkspaceError(f"object {name} is missing in {self.directory}")
                yield int(head[2]), answer
                answer.read(1)
