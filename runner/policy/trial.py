"""A machine to try policies on: every plain program is installed, and nothing is read from a disk."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

ROOT = "/workspace"
"""Where the workspace of this machine lies."""


@dataclass(frozen=True, slots=True)
class AnyMachine:
    """Implements `facts.Surroundings`, so that examples of a policy mean the same on every machine."""

    sandboxed: bool = False
    egress: bool = False
    home: str = "/home/user"

    def program(self, name: str, cwd: str) -> tuple[str, bool]:
        """A plain name leads to /usr/bin; a path leads where it says."""
        if "/" not in name:
            return f"/usr/bin/{name}", False
        place = self._absolute(name, cwd)
        return place, _inside(place)

    def path(self, text: str, cwd: str) -> tuple[str, bool]:
        """Where a path leads, as it is written."""
        place = self._absolute(text, cwd)
        return (posixpath.relpath(place, ROOT), True) if _inside(place) else (place, False)

    def file_digest(self, path: str) -> str:
        """There is no file."""
        del path
        return ""

    def secrets(self, text: str) -> tuple[str, ...]:
        """There is no secret."""
        del text
        return ()

    def _absolute(self, text: str, cwd: str) -> str:
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        # two slashes at the front are one here, as everywhere but in POSIX's own words
        return "/" + posixpath.normpath(posixpath.join(ROOT, cwd, text)).lstrip("/")


def _inside(place: str) -> bool:
    return place == ROOT or place.startswith(f"{ROOT}/")
