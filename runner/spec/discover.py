"""Find the spec of a folder, and read it without trusting its size or its bytes."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from runner.errors import ConfigError, closest
from runner.spec.parse import MAX_BYTES, too_large

TEXT_PATH = "<text>"
STDIN_PATH = "<stdin>"
_NAMES = ("spec.md", "SPEC.md", "PROMPT.md")


def find_spec(cwd: Path) -> Path:
    """The only spec of `cwd`: spec.md, SPEC.md, PROMPT.md, .ralph/PROMPT.md or one of specs/*.md.

    A README.md in specs/ is none. Several different files, or none, are a ConfigError that says how to go on.
    """
    candidates = [
        *_listed(cwd, lambda name: name in _NAMES),
        *_listed(cwd / ".ralph", lambda name: name == "PROMPT.md"),
        *_listed(cwd / "specs", lambda name: name.endswith(".md") and name.lower() != "readme.md"),
    ]
    found: dict[tuple[int, int], Path] = {}
    for path in candidates:
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            found.setdefault((status.st_dev, status.st_ino), path)
    paths = list(found.values())
    if len(paths) == 1:
        return paths[0]
    if paths:
        names = [str(path.relative_to(cwd)) for path in paths]
        raise ConfigError(
            f"more than one spec here: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}",
            hint=f"name one: runner loop {names[0]}",
        )
    above = next((folder for folder in list(cwd.parents)[:3] if _listed(folder, lambda name: name in _NAMES)), None)
    raise ConfigError(
        f"no spec in {cwd}: looked for spec.md, SPEC.md, PROMPT.md, .ralph/PROMPT.md and specs/*.md",
        hint=f"there is one in {above}: cd {above}"
        if above
        else "write one with 'runner init', name one with 'runner loop FILE', or say it with 'runner loop -p TEXT'",
    )


def read_spec(path: Path) -> str:
    """The text of a spec file; raise ConfigError when it is no file, unreadable, over the size limit or not UTF-8."""
    try:
        # a FIFO must be refused, not waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            hint = "name a Markdown file, or '-' for standard input"
            raise ConfigError(f"the spec is {what}", path=path, hint=hint)
        if status.st_size > MAX_BYTES:
            raise too_large(str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return read_stream(file, str(path))
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)


def _missing(path: Path) -> ConfigError:
    """The error for a spec that is not there: the first part of its path that is missing, and what is near it."""
    if not path.parent.is_dir():
        return ConfigError("there is no such file, nor its folder", path=path, hint="check the path")
    there = _listed(path.parent, lambda name: not name.startswith("."))
    near = closest(path.name, (one.name for one in there))
    specs = [one.name for one in there if one.suffix == ".md"]
    others = f"Markdown files there: {', '.join(specs[:8])}" if specs else "write a spec with 'runner init'"
    hint = f"did you mean {near}?" if near else others
    return ConfigError("there is no such file", path=path, hint=hint)


def _unreadable(path: Path, error: OSError | ValueError) -> ConfigError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError(f"the spec cannot be read: {reason}", path=path, hint="check its name and permissions")


def read_stream(stream: BinaryIO, path: str = STDIN_PATH) -> str:
    """The text of a stream, of which never more than the size limit is kept."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise too_large(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        hint = "save it as UTF-8, e.g. with: iconv -f UTF-16 -t UTF-8"
        raise ConfigError("the spec is UTF-16, not UTF-8", path=path, hint=hint)
    if b"\0" in data[:8192]:
        raise ConfigError("the spec is no text: it holds NUL bytes", path=path, hint="name a Markdown file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        raise ConfigError(
            f"the spec is not UTF-8: byte 0x{data[error.start]:02x}",
            path=path,
            line=before.count(b"\n") + 1,
            column=len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1,
            hint="save it as UTF-8",
        ) from None


def _listed(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The wanted entries by the names the folder itself gives: one each, also where case does not matter."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if wanted(name)]  # noqa: PTH208  names, not paths
    except OSError:
        return []
