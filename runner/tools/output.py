"""What a tool says: masked first, then bounded, the whole of it kept in a file.

Masking comes before cutting, so that no cut can leave half a secret that nobody recognises any more.
"""

from __future__ import annotations

import codecs
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HOLD_BACK = 16_384
"""Characters kept back while text streams: a secret up to this long is masked even when it comes in pieces."""

ARTEFACT_CAP = 50_000_000
"""Most characters kept of one output; what follows is counted, not kept."""

_NAME = re.compile(r"(?:out|bg)[0-9]+\.txt\Z")


class Masks(Protocol):
    """Knows the secret values of this run. Implemented by `runner.secrets.Vault`."""

    def mask(self, text: str) -> str:
        """The text with every known secret value replaced by `[secret:NAME]`."""
        ...

    def found_in(self, text: str) -> str | None:
        """The name of a known secret the text contains, if any."""
        ...


class MaskedStream:
    """Bytes in, masked text out. Invalid UTF-8 becomes U+FFFD and NUL is dropped; nothing else is changed."""

    def __init__(self, vault: Masks) -> None:
        self._vault = vault
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Take the next bytes; give what can no longer be the beginning of a secret."""
        self._held += self._decoder.decode(data).replace("\0", "")
        # Twice as much, or a program that writes byte by byte would have everything held masked for every byte.
        if len(self._held) < 2 * HOLD_BACK:
            return ""
        # Masking what was held together with what came is what finds a secret that came in pieces.
        text = self._vault.mask(self._held)
        cut = max(0, len(text) - HOLD_BACK)
        self._held = text[cut:]
        return text[:cut]

    def release(self) -> str:
        """Give what is held now. Only while the source is quiet: a secret half written would stay half masked."""
        text, self._held = self._vault.mask(self._held), ""
        return text

    def finish(self) -> str:
        """Give the rest."""
        text, self._held = self._vault.mask(self._held + self._decoder.decode(b"", final=True)), ""
        return text


class Artefacts:
    """A directory of whole outputs, one file each, mode 0600, numbered on across restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, kind: str) -> tuple[str, int]:
        """Open the next free `kind`N.txt for writing; its name and file descriptor."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = (entry.name for entry in self.directory.iterdir() if _NAME.match(entry.name))
        number = 1 + max((int(name[len(kind) : -4]) for name in names if name.startswith(kind)), default=0)
        while True:
            name = f"{kind}{number}.txt"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                return name, os.open(self.directory / name, flags, 0o600)
            except FileExistsError:
                number += 1

    def path(self, name: str) -> Path | None:
        """Where an artefact is; None when the name is not one of ours."""
        path = self.directory / name
        return path if _NAME.match(name) and path.is_file() else None


@dataclass(frozen=True, slots=True)
class Kept:
    """A bounded text, and the artefact with the whole of it ("" when nothing was left out)."""

    text: str
    artefact: str = ""


class Collector:
    """Masked text of one output: its head and tail in memory, the whole of it in an artefact once it is too long.

    `limit` is the most characters `kept` gives, the note about what was left out aside. `artefact` names one that
    somebody else writes already.
    """

    def __init__(self, artefacts: Artefacts, limit: int, *, artefact: str = "") -> None:
        self._artefacts = artefacts
        # How a program ended says more than how it began.
        self._head_limit = limit // 4
        self._tail_limit = limit - self._head_limit
        self._limit = limit
        self._head = ""
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self.size = 0
        self._newlines = 0
        self._file: int | None = None
        self.artefact = artefact
        self._written = 0
        self._lost = ""

    def open(self, kind: str) -> str:
        """Keep the whole output in a new artefact from now on; its name."""
        if not self.artefact:
            self.artefact, self._file = self._artefacts.create(kind)
            self._write(self._head + "".join(self._tail))
        return self.artefact

    def add(self, text: str) -> None:
        if not text:
            return
        # Before the tail forgets anything, the file must have it.
        if self.size + len(text) > self._limit and not self.artefact and not self._lost:
            try:
                self.open("out")
            except OSError as error:
                self._lost = f"the rest could not be kept: {error.strerror}"
        self._write(text)
        self.size += len(text)
        self._newlines += text.count("\n")
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head, text = self._head + text[:room], text[room:]
        if text:
            self._tail.append(text)
            self._tail_size += len(text)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
            self._tail_size -= len(self._tail.popleft())

    def _write(self, text: str) -> None:
        if self._file is None or not text:
            return
        if self._written + len(text) > ARTEFACT_CAP:
            self._end_file(f"\n[runner kept no more than {ARTEFACT_CAP:,} characters]\n")
            return
        self._written += len(text)
        try:
            with os.fdopen(self._file, "w", encoding="utf-8", errors="replace", newline="", closefd=False) as file:
                file.write(text)
        except OSError as error:
            self._lost = f"the artefact is incomplete: {error.strerror}"
            self._end_file("")

    def _end_file(self, note: str) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.write(file, note.encode())
            except OSError:
                # The text for the model already says what is missing.
                pass
            finally:
                os.close(file)

    def kept(self) -> Kept:
        """Head and tail with a note between them, or everything when it fits."""
        tail = "".join(self._tail)
        if self.size <= self._limit:
            return Kept(self._head + tail, "")
        head, tail = _to_line_end(self._head), _from_line_start(tail[-self._tail_limit :])
        lines = self._newlines - head.count("\n") - tail.count("\n")
        where = f"whole output: artefact {self.artefact}" if self.artefact else "the rest is lost"
        note = f"[… {max(lines, 1)} lines left out; {where}{'; ' + self._lost if self._lost else ''}]"
        return Kept(f"{head.rstrip()}\n{note}\n{tail}", self.artefact)

    def close(self) -> None:
        self._end_file("")


def _to_line_end(text: str) -> str:
    """Whole lines, unless that would throw most of it away."""
    end = text.rfind("\n") + 1
    return text[:end] if end > len(text) // 2 else text


def _from_line_start(text: str) -> str:
    start = text.find("\n") + 1
    return text[start:] if 0 < start < len(text) // 2 else text


def shorten(text: str, limit: int, *, more: Callable[[int], str]) -> str:
    """Whole lines from the beginning, at most `limit` characters; `more(lines given)` says how to read on."""
    if len(text) <= limit:
        return text
    cut = text.rfind("\n", 0, limit) + 1
    given = text[: cut or limit]
    return f"{given.rstrip(chr(10))}\n{more(given.count(chr(10)))}"
