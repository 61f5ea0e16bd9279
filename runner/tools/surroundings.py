"""Where names and paths of a call lead on this machine: what a policy cannot read off the text."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from runner.secrets import withheld_in


class _Vault(Protocol):
    def found_in(self, text: str) -> str | None: ...


class WorkspaceSurroundings:
    """Implements `policy.facts.Surroundings` for tools that work in `root` with the environment `env`.

    `sandboxed` = walls that passed their test, or recorded commands only; `egress` = some host can be reached.
    A name found in a directory of PATH that lies in the workspace is inside it.
    """

    def __init__(
        self,
        root: Path,
        env: Mapping[str, str],
        *,
        sandboxed: bool = False,
        egress: bool = False,
        home: str = "",
        vault: _Vault | None = None,
    ) -> None:
        self._root = posixpath.realpath(root)
        self._search = env.get("PATH", os.defpath).split(os.pathsep)
        self._vault = vault
        self._real: dict[str, str] = {}
        self.sandboxed, self.egress = sandboxed, egress
        self.home = home or env.get("HOME", "") or "/"

    def program(self, name: str, cwd: str) -> tuple[str, bool]:
        if not name or "\0" in name:
            return "", False
        here = posixpath.join(self._root, cwd)
        if "/" in name:
            return self._identity(posixpath.join(here, name))
        for directory in self._search:
            path = f"{directory}/{name}" if directory.startswith("/") else posixpath.join(here, directory, name)
            if os.access(path, os.X_OK) and not posixpath.isdir(path):
                return self._identity(path)
        return "", False

    def _identity(self, path: str) -> tuple[str, bool]:
        directory, name = posixpath.split(path)
        if directory not in self._real:
            self._real[directory] = posixpath.realpath(directory)
        named = posixpath.join(self._real[directory], name)
        return named, self._inside(named) or self._inside(posixpath.realpath(path))

    def _inside(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root.rstrip("/") + "/")

    def path(self, text: str, cwd: str) -> tuple[str, bool]:
        try:
            real = posixpath.realpath(posixpath.join(self._root, cwd, text))
        except (OSError, ValueError):
            return text, False
        if not self._inside(real):
            return unicodedata.normalize("NFC", real), False
        return unicodedata.normalize("NFC", posixpath.relpath(real, self._root)), True

    def file_digest(self, path: str) -> str:
        try:
            file = os.open(posixpath.join(self._root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return ""
        try:
            with os.fdopen(file, "rb") as opened:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    return ""
                return hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError:
            return ""

    def secrets(self, text: str) -> tuple[str, ...]:
        found = (self._vault.found_in(text) if self._vault is not None else None, withheld_in(text))
        return tuple(dict.fromkeys(name for name in found if name is not None))
