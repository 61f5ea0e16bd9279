"""Git's word on what is ignored, from one `git check-ignore` for as long as a look at the workspace takes."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from runner.errors import WorkspaceError
from runner.workspace.git import TIMEOUT_S, Git, bare_environment

_PIECE = 1 << 16


class CheckIgnore:
    """Answers questions about paths below `top`, each of which begins with `prefix`. Starts git at the first one."""

    def __init__(self, git: Git, top: Path, prefix: bytes) -> None:
        self._git = git
        self._top = top
        # Without "./" a name that begins with a colon would be a pattern with magic.
        self._prefix = b"./" + prefix
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # it only ever reads
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
            self._process.wait()

    def ask(self, paths: list[bytes]) -> set[bytes]:
        """Those of the paths that a rule ignores."""
        if not paths:
            return set()
        asked = b"".join(self._prefix + path + b"\0" for path in paths)
        fields = self._talk(asked, 4 * len(paths))
        # For each path: the file of the rule, its line, the rule ("" when there is none), and the path.
        return {
            path
            for path, rule in zip(paths, fields[2::4], strict=True)
            if rule and not rule.startswith(b"!")
        }  # fmt: skip

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    self._git.argv(["check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"], self._top),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                    cwd=self._top, env=bare_environment(self._git.workspaces), pass_fds=self._git.keeps_open,
                )  # fmt: skip
            except FileNotFoundError as error:
                raise WorkspaceError(f"cannot run git: {error}", hint="install git 2.36 or newer") from error
        return self._process

    def _talk(self, asked: bytes, wanted: int) -> list[bytes]:
        """Write the questions and read so many fields, both at once: a full pipe stops neither side for ever."""
        process = self._start()
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise WorkspaceError("git check-ignore has no pipes")
        left, heard, said, count = memoryview(asked), list[bytes](), b"", 0
        deadline = time.monotonic() + TIMEOUT_S
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as pipes:
            pipes.register(process.stdin, selectors.EVENT_WRITE)
            pipes.register(process.stdout, selectors.EVENT_READ)
            pipes.register(process.stderr, selectors.EVENT_READ)
            while count < wanted:
                if time.monotonic() > deadline:
                    raise WorkspaceError(f"git check-ignore did not answer within {TIMEOUT_S} s")
                for key, _ in pipes.select(timeout=5):
                    if key.fileobj is process.stdin:
                        left = left[_write(process.stdin, left) :]
                        if not left:
                            pipes.unregister(process.stdin)
                    elif key.fileobj is process.stderr:
                        piece = os.read(key.fd, _PIECE)
                        said += piece
                        if not piece:
                            pipes.unregister(process.stderr)
                    elif piece := os.read(key.fd, _PIECE):
                        heard.append(piece)
                        count += piece.count(b"\0")
                    else:
                        words = said + process.stderr.read()
                        raise WorkspaceError(f"git check-ignore: {words.decode('utf-8', 'replace').strip()}")
        return b"".join(heard).split(b"\0")[:wanted]


def _write(pipe: IO[bytes], data: memoryview) -> int:
    try:
        return os.write(pipe.fileno(), data[:_PIECE])
    except BrokenPipeError:
        return len(data)  # it ended; why is on the other pipes
