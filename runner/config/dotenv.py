"""`.env` files: read strictly, believed according to who could have written them.

Lines are `NAME=value`, with an optional `export`, quotes and comments. Nothing is interpolated, no command is run.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import ConfigError
from runner.models.keys import KNOWN_KEYS

LARGEST = 256 * 1024

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)\Z", re.DOTALL)
_QUOTED = {'"': re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL), "'": re.compile(r"'[^']*+'")}
_MOST_LINES = 120
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceKeys:
    """What a workspace's `.env` gave: keys of known providers, and the names in it that count for nothing.

    `problem` says why the file, or a line of it, was not read.
    """

    keys: dict[str, str] = field(default_factory=dict, repr=False)
    ignored: tuple[str, ...] = ()
    problem: str = ""

    @property
    def warning(self) -> str:
        """What the user must be told; empty when there is nothing."""
        said: list[str] = []
        if self.ignored:
            names = ", ".join(self.ignored[:10]) + (
                f" and {len(self.ignored) - 10} more" if len(self.ignored) > 10 else ""
            )
            said.append(
                f"the workspace's .env sets {names}: ignored, since only keys of known providers are taken from a "
                "workspace; to trust the file wholly, name it with --env-file"
            )
        if self.problem:
            said.append(f"the workspace's .env was not read in full: {self.problem}")
        return "; ".join(said)


def workspace_keys(directory: Path) -> WorkspaceKeys:
    """Take provider keys from `directory`/.env, and nothing else from it. Never raises for what it holds."""
    try:
        text = _bounded(directory / ".env", follow=False)
    except FileNotFoundError:
        return WorkspaceKeys()
    except (OSError, ValueError) as error:
        return WorkspaceKeys(problem=_why(error))
    values, problems = parse(text)
    return WorkspaceKeys(
        keys={name: value for name, value in values.items() if name in KNOWN_KEYS and value},
        ignored=tuple(sorted(name for name in values if name not in KNOWN_KEYS)),
        problem=f"line {problems[0][0]}: {problems[0][1]}" if problems else "",
    )


def env_file(path: Path) -> dict[str, str]:
    """Read a file the user named with `--env-file`; all of it counts. Raises ConfigError with the line."""
    try:
        text = _bounded(path, follow=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read the env file: {_why(error)}", path=path, hint="name a file of NAME=value lines"
        ) from None
    values, problems = parse(text)
    if problems:
        line, what = problems[0]
        hint = 'write NAME=value, or NAME="value" with quotes'
        raise ConfigError(what, path=path, line=line, hint=hint, quotable=False)
    return values


def parse(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Read the lines of a `.env` text into values and problems (line, what); the last line for a name counts."""
    values: dict[str, str] = {}
    problems: list[tuple[int, str]] = []
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    number = 0
    while number < len(lines):
        start, line = number + 1, lines[number].strip()
        number += 1
        if not line or line.startswith("#"):
            continue
        if (found := _LINE.match(line)) is None:
            # the text is not shown: it may be half a key
            problems.append((start, "this line is not NAME=value"))
            continue
        name, raw = found.groups()
        if raw[:1] in _QUOTED and _QUOTED[raw[0]].match(raw) is None:
            # a quoted value may span lines (a private key), within reason: the file may be hostile
            longer = "\n".join([raw, *lines[number : number + _MOST_LINES]])
            if (quoted := _QUOTED[raw[0]].match(longer)) is not None:
                after = longer.find("\n", quoted.end())
                raw = longer if after < 0 else longer[:after]
                number += raw.count("\n")
        value = _value(raw)
        if value is None or "\0" in value:
            problems.append((start, f"the value of {name} is not closed by its quote, or text follows it"))
            continue
        values[name] = value
    return values, problems


def _value(raw: str) -> str | None:
    """Read what stands right of `=`; None when a quote is not closed or text follows it."""
    if raw[:1] not in _QUOTED:
        return re.split(r"(?:^|[ \t])#", raw, maxsplit=1)[0].strip()
    if (quoted := _QUOTED[raw[0]].match(raw)) is None:
        return None
    rest = raw[quoted.end() :].strip()
    if rest and not rest.startswith("#"):
        return None
    inner = quoted[0][1:-1]
    if raw[0] == "'":
        return inner
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), inner, flags=re.DOTALL)


def _bounded(path: Path, *, follow: bool) -> str:
    """Read a file of reasonable size; ValueError with the reason otherwise.

    A file nobody named (`follow` False) must be a regular one, and no link: a pipe would block, a device never end.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not follow and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            msg = "it is not a regular file"
            raise ValueError(msg)
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        msg = f"it is larger than {LARGEST // 1024} kB"
        raise ValueError(msg)
    try:
        return data.decode()
    except UnicodeDecodeError:
        msg = "it is not UTF-8"
        raise ValueError(msg) from None


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return "it is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror).lower()
    return str(error)
