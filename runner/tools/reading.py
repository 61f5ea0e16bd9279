"""Tools that only look: read a file, list files, search text."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runner.ports import Interrupt, ToolOutcome
from runner.tools.arguments import Arguments
from runner.tools.globs import matcher
from runner.tools.output import Artefacts, MaskedStream, Masks, shorten
from runner.tools.paths import RefusedPathError, locate, open_directory, open_regular

READ_CAP = 64_000_000
"""Largest file `read_file` goes through, in bytes."""
SEARCH_FILE_CAP = 2_000_000
SEARCH_TOTAL_CAP = 200_000_000
MOST_PATHS = 1000
MOST_LOOKED_AT = 200_000
_SNIFF = 8192
_SEARCHER = Path(__file__).with_name("search_child.py")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads below `root`. Everything it gives is masked, then bounded to `limit` characters."""

    root: Path
    vault: Masks
    artefacts: Artefacts
    limit: int

    def read_file(self, arguments: Arguments) -> ToolOutcome:
        path = arguments.text("path")
        first, last = arguments.number("start_line") or 1, arguments.number("end_line")
        if last is not None and last < first:
            return _error(f"end_line {last} lies before start_line {first}")
        with self._open(path) as file:
            size = os.fstat(file).st_size
            if size > READ_CAP:
                return _error(
                    f"{path}: {size:,} bytes are too many to read ({READ_CAP:,} at most); use run with a program"
                )
            start = os.read(file, _SNIFF)
            if b"\0" in start:
                return _error(f"{path}: a binary file of {size:,} bytes; not shown")
            chosen, total = self._lines(file, start, first, last)
        if first > max(total, 1):
            return _error(f"{path}: has {total} lines, so there is no line {first}")
        text = shorten(
            chosen,
            self.limit,
            more=lambda given: (
                f"[… cut after line {first + given - 1} of {total}; read on with start_line={first + given}]"
                if given
                else f"[… line {first} of {total} is longer than {self.limit:,} characters; its rest is not shown]"
            ),
        )
        if not total:
            text = "[the file is empty]"
        return ToolOutcome(text=text, ok=True)

    @contextlib.contextmanager
    def _open(self, path: str) -> Generator[int]:
        if path.startswith("artefact:"):
            found = self.artefacts.path(path.removeprefix("artefact:").strip())
            if found is None:
                raise RefusedPathError(f"{path}: there is no such artefact")
            file = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        else:
            with locate(self.root, path) as place:
                file = open_regular(place, path)
        try:
            yield file
        finally:
            os.close(file)

    def _lines(self, file: int, start: bytes, first: int, last: int | None) -> tuple[str, int]:
        """The wanted lines (at most a little over the limit) and how many lines there are."""
        stream, chosen, kept = MaskedStream(self.vault), list[str](), 0
        number, partial = 1, False
        while True:
            data, start = start or os.read(file, 1 << 20), b""
            text = stream.feed(data) if data else stream.finish()
            for line in _split(text):
                if first <= number and (last is None or number <= last) and kept <= self.limit:
                    chosen.append(line)
                    kept += len(line)
                partial = not line.endswith("\n")
                number += not partial
            if not data:
                return "".join(chosen), number - (not partial)

    def list_files(self, arguments: Arguments) -> ToolOutcome:
        path, glob = arguments.text("path", "."), arguments.maybe_text("glob")
        matches = matcher(glob) if glob else None
        found: list[str] = []
        looked = 0
        with locate(self.root, path) as place:
            top = open_directory(place, path)
        prefix = "" if place.relative == "." else place.relative + "/"
        for relative, entry in _below(top):
            looked += 1
            if matches is None or matches(relative):
                found.append(prefix + relative + (" (link)" if entry.is_symlink() else ""))
            if len(found) >= MOST_PATHS or looked >= MOST_LOOKED_AT:
                break
        # Names that are no UTF-8 come as lone surrogates, which no journal could store.
        names = "\n".join(sorted(found)).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        text = self.vault.mask(names)
        if looked >= MOST_LOOKED_AT or len(found) >= MOST_PATHS:
            text += f"\n[… stopped at {len(found)} files; narrow by path or glob]"
        text = shorten(
            text, self.limit, more=lambda given: f"[… {len(found) - given} more files; narrow by path or glob]"
        )
        return ToolOutcome(text=text or "[no files]", ok=True)

    def search_text(self, arguments: Arguments, interrupt: Interrupt) -> ToolOutcome:
        pattern, path = arguments.text("pattern"), arguments.text("path", ".")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            return _error(f"search_text: not a regular expression: {error}")
        if "\0" in pattern:
            return _error("search_text: a pattern cannot contain NUL characters; no text file does either")
        files = self._searched(path, arguments.maybe_text("glob"))
        with contextlib.closing(files):
            # The first look at the path: what is wrong with it must be said before a process starts.
            begin = next(files, None)
            code, text = _search(pattern, begin, files, interrupt)
        if interrupt.fired:
            return ToolOutcome(text="[interrupted]", ok=False, interrupted=True)
        text = shorten(
            text, self.limit, more=lambda given: f"[… cut after {given} lines; narrow the pattern, path or glob]"
        )
        if code == -signal.SIGALRM:
            return _error(f"{text}\n[took too long and was ended; use a simpler pattern or a narrower path]".lstrip())
        if code != 0:
            return _error(f"search_text: the search ended with {code}")
        return ToolOutcome(text=text.rstrip("\n") or "[no matches]", ok=True)

    def _searched(self, path: str, glob: str | None) -> Generator[tuple[str, str]]:
        """Paths and masked texts to search. Masked before, so that no pattern can feel out a secret."""
        matches = matcher(glob or "**")
        with locate(self.root, path) as place:
            found = place.stat()
            if found is not None and stat.S_ISREG(found.st_mode):
                file = open_regular(place, path)
                if (text := self._text(file)) is not None:
                    yield place.relative, text
                return
            top = open_directory(place, path)
        prefix = "" if place.relative == "." else place.relative + "/"
        total = 0
        for relative, entry in _below(top):
            if total > SEARCH_TOTAL_CAP:
                yield "[runner]", f"stopped after {total:,} bytes; narrow by path or glob"
                return
            if entry.is_file(follow_symlinks=False) and matches(relative):
                with contextlib.suppress(OSError, RefusedPathError), locate(self.root, prefix + relative) as place:
                    file = open_regular(place, relative)
                    if (text := self._text(file)) is not None:
                        total += len(text)
                        yield self.vault.mask(prefix + relative), text

    def _text(self, file: int) -> str | None:
        """A text file's masked content; None for binary and oversized ones. Closes the file."""
        with os.fdopen(file, "rb") as source:
            data = source.read(SEARCH_FILE_CAP + 1)
        if len(data) > SEARCH_FILE_CAP or b"\0" in data[:_SNIFF]:
            return None
        return self.vault.mask(data.decode("utf-8", "replace").replace("\0", ""))


def _split(text: str) -> list[str]:
    """Lines as editors count them, ends kept (`splitlines` also splits at form feeds and the like)."""
    *whole, last = text.split("\n")
    return [*(f"{line}\n" for line in whole), *([last] if last else [])]


def _below(top: int) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything but directories below an open directory, shallow first, symlinks not followed. Closes `top`."""
    waiting: list[tuple[str, int | None]] = [("", top)]
    root = top
    try:
        while waiting:
            prefix, directory = waiting.pop(0)
            if directory is None:
                try:
                    directory = _descend(root, prefix)
                except OSError:
                    continue
            try:
                with os.scandir(directory) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
                for entry in listed:
                    if entry.name.casefold() == ".git":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((f"{prefix}{entry.name}/", None))
                    else:
                        yield prefix + entry.name, entry
            finally:
                if directory != root:
                    os.close(directory)
    finally:
        os.close(root)


def _descend(root: int, relative: str) -> int:
    """Open a directory below `root`, one component at a time, following no symlink."""
    current = root
    for name in relative.rstrip("/").split("/"):
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
        if current != root:
            os.close(current)
        current = below
    return current


def _search(
    pattern: str,
    begin: tuple[str, str] | None,
    files: Iterator[tuple[str, str]],
    interrupt: Interrupt,
) -> tuple[int, str]:
    """Feed the searcher; its exit code and what it found."""

    def feed(target: IO[bytes] | None) -> None:
        if target is not None:
            target.write(pattern.encode() + b"\0")
            for pair in itertools.chain([begin] if begin else [], files):
                target.write(b"".join(item.encode("utf-8", "replace") + b"\0" for item in pair))
            target.close()

    with tempfile.TemporaryFile() as found:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", str(_SEARCHER)],
            stdin=subprocess.PIPE,
            stdout=found,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
        # It stops reading once it has found enough.
        with contextlib.suppress(BrokenPipeError), child, interrupt.calling(child.kill):
            with contextlib.suppress(BrokenPipeError):
                feed(child.stdin)
            child.wait()
        code = child.returncode
        found.seek(0)
        return code, found.read(8_000_000).decode("utf-8", "replace")


def _error(text: str) -> ToolOutcome:
    return ToolOutcome(text=text, ok=False)
