"""Which blob a file was the last time it was read, so that an unchanged file is not read again."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from typing import cast

from runner.workspace.objects import Entry
from runner.workspace.place import Place
from runner.workspace.scan import Identity, identity, is_settled

_NAME = "cache.json"
_FORMAT = 1
# Reading this many files again costs less than writing the whole cache after every step.
_WORTH_WRITING = 200


class Cache:
    """Path -> (identity, entry). Trusted only where a later write is sure to show in the identity."""

    def __init__(self, place: Place, found: dict[bytes, tuple[Identity, Entry]]) -> None:
        self._place = place
        self._found = found
        self._unsaved = 0

    @classmethod
    def load(cls, place: Place) -> Cache:
        """Read what an earlier process left; whatever is not exactly right is as good as nothing."""
        try:
            told = cast("dict[str, object]", json.loads(place.kept(_NAME) or b"{}"))
            # Written by `settle` below, in this very shape; any other shape raises and is caught.
            rows = cast("list[tuple[str, list[int], str, str]]", told["files"] if told.get("format") == _FORMAT else [])
            found = {
                os.fsencode(path): (cast("Identity", tuple(seen)), Entry(mode, blob)) for path, seen, mode, blob in rows
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            found = {}
        return cls(place, found)

    def get(self, path: bytes, status: os.stat_result) -> Entry | None:
        seen = self._found.get(path)
        return seen[1] if seen is not None and seen[0] == identity(status) else None

    def put(self, path: bytes, entry: Entry, before: os.stat_result, after: os.stat_result | None, at_ns: int) -> bool:
        """Remember a file read between two looks at it; False when it changed between them."""
        if after is None or identity(before) != identity(after):
            return False
        self._found.pop(path, None)
        if is_settled(before, at_ns):
            self._found[path] = (identity(before), entry)
            self._unsaved += 1
        return True

    def blobs(self) -> set[str]:
        return {entry.blob for _, entry in self._found.values()}

    def drop_unless(self, known: Collection[str]) -> None:
        """Forget files whose blob is not stored after all."""
        self._found = {path: seen for path, seen in self._found.items() if seen[1].blob in known}

    def settle(self, entries: Mapping[bytes, Entry]) -> set[str]:
        """Everything in `entries` is stored now: keep only these paths, on disk when it is worth it."""
        if len(self._found) > len(entries):
            self._found = {path: seen for path, seen in self._found.items() if path in entries}
        if self._unsaved >= _WORTH_WRITING:
            rows = [(os.fsdecode(path), seen, entry.mode, entry.blob) for path, (seen, entry) in self._found.items()]
            self._place.keep(_NAME, json.dumps({"format": _FORMAT, "files": rows}).encode())
            self._unsaved = 0
        return {entry.blob for entry in entries.values()}
