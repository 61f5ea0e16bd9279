"""What a shell makes of pieces of words, as far as text alone tells: quotes, variables, braces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runner.policy import scripts, wrappers
from runner.policy.characters import names

HOLE = wrappers.HOLE
FIELD = "\x01"
"""Stands between the words that an unquoted expansion may fall into."""
_ESCAPED = re.compile(r"\\(\n|.)", re.DOTALL)
_PARAMETER = re.compile(r"\$\{([!#]?)([A-Za-z_]\w*|[@*#?$!0-9-])(\[[^\]]*\])?(.*)\}\Z", re.DOTALL)
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}|\{(\w+)\.\.(\w+)\}")
_INTERPRETERS = names(
    "python pypy perl ruby node php lua awk bun deno Rscript tclsh expect ed ex ftp sftp gdb sqlite3 psql mysql"
)
_MOST = 8
_MOST_WORDS = 64


def known(home: str) -> dict[str, list[str]]:
    """Variables whose values are no secret."""
    return {
        "HOME": [home],
        "PWD": ["."],
        "OLDPWD": [".."],
        "SHELL": ["/bin/bash"],
        "BASH": ["/bin/bash"],
        "0": ["sh"],
        "IFS": [" "],
        "PATH": ["/usr/local/bin:/usr/bin:/bin"],
        "TMPDIR": ["/tmp"],  # noqa: S108  as commands are given it
    }


def runs_value(name: str) -> bool:
    """Whether a variable's value is a command that some program runs."""
    return wrappers.runs_value(f"{name}=")


def runs_files(program: str) -> bool:
    """Whether a program runs files that it is named."""
    plain = wrappers.base(program)
    return plain in wrappers.SHELLS or plain in (".", "source") or is_code(program)


def runs_piped(argv: Sequence[str]) -> bool:
    """Whether a command is a shell that runs what it is piped."""
    return any(inner.kind == "stdin" for inner in wrappers.inside(argv))


def in_backticks(text: str) -> list[str]:
    """Texts between backticks."""
    return re.findall(r"`([^`]+)`", text)


def is_quoted(word: str) -> bool:
    """Whether a here-document's ending says that nothing in it is expanded."""
    return any(char in word for char in "'\"\\")


def is_code(program: str) -> bool:
    """Whether what a program is piped is code of another language than the shell's."""
    return wrappers.base(program) in _INTERPRETERS


def default_of(expansion: str) -> tuple[str, str] | None:
    """The name and the value that `${name:=value}` sets."""
    found = re.fullmatch(r"\$\{(\w+):?=(.*)\}", expansion, re.DOTALL)
    return (found.group(1), unquoted(found.group(2))) if found else None


def told_to(argv: Sequence[str], stdin: str) -> Iterator[tuple[str, str]]:
    """Variables that a command sets, and their values: `read`, `mapfile`, `printf -v`."""
    named = [word for word in argv[1:] if not word.startswith("-")]
    if argv[0] == "printf" and "-v" in argv[1:-1]:
        yield argv[argv.index("-v") + 1], " ".join(named[2:] or named[1:])
    elif argv[0] in ("read", "mapfile", "readarray") and stdin.strip(HOLE + "\n"):
        for line in stdin.splitlines()[:_MOST]:
            words = line.split()
            yield (named[-1] if named else "REPLY"), line
            yield from zip(named, words, strict=False)
            if len(words) >= len(named) > 1:
                yield named[-1], " ".join(words[len(named) - 1 :])


def unquoted(text: str) -> str:
    """A bare word without its backslashes."""
    return _ESCAPED.sub(lambda found: "" if found.group(1) == "\n" else found.group(1), text)


def in_quotes(text: str) -> str:
    """Text inside double quotes without the backslashes that mean something there."""
    return re.sub(r'\\([$`"\\\n])', lambda found: "" if found.group(1) == "\n" else found.group(1), text)


def ansi(text: str) -> str:
    """The inside of `$'…'`."""
    return scripts.unescaped(text)


def fields(text: str) -> str:
    """Text as an unquoted expansion leaves it."""
    return re.sub(r"[ \t\n]+", FIELD, text)


def braces(text: str) -> list[str]:
    """A word with its braces expanded: one value, its words apart."""
    words = [text]
    while any(_BRACES.search(word) for word in words) and len(words) <= _MOST_WORDS:
        further: list[str] = []
        for word in words:
            found = _BRACES.search(word)
            if found is None:
                further.append(word)
                continue
            parts = found.group(1).split(",") if found.group(1) is not None else [found.group(2), found.group(3)]
            further.extend(word[: found.start()] + part + word[found.end() :] for part in parts)
        words = further
    return [FIELD.join(words)]


def expanded(text: str, variables: Mapping[str, list[str]], *, quoted: bool) -> list[str]:
    """The values of `$x` and `${x…}`. A variable nobody set may be empty, or anything."""
    name, flag, rest = text[1:], "", ""
    if text.startswith("${"):
        found = _PARAMETER.match(text)
        if found is None:
            return [HOLE, ""]
        flag, name, _, rest = found.groups()
    values = list(variables.get(name, ("", HOLE)))
    if flag == "#":
        return [str(len(value)) for value in values]
    if flag == "!":
        values = [one for value in values for one in variables.get(value, (HOLE,))]
    results = dict.fromkeys(one for value in values for one in _changed(value, rest, variables))
    if quoted:
        return list(results)
    marks = "".join(variables.get("IFS", ()))
    split = dict.fromkeys(one for value in results for one in (_split_at(marks, value), fields(value)))
    return list(split)


def _split_at(marks: str, value: str) -> str:
    """A value as it falls apart at the characters of IFS."""
    return re.sub(f"[{re.escape(marks)} \\t\\n]+", FIELD, value)


def _changed(value: str, rest: str, variables: Mapping[str, list[str]]) -> Iterable[str]:
    """A value after `:-word`, `:1:2`, `#pre`, `%post`, `/a/b`, `^^`, `,,`."""
    if not rest:
        return (value,)
    if alternative := re.match(r":?[-=+?](.*)", rest, re.DOTALL):
        word = alternative.group(1).strip("\"'")
        inner = re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found.group(1), [HOLE])[0], word)
        # with a colon an empty value counts as none
        return (unquoted(inner), value) if value or rest[0] != ":" or rest[1] == "+" else (unquoted(inner),)
    if part := re.fullmatch(r":\s*(-?\d+)\s*(?::\s*(-?\d+))?", rest):
        start = int(part.group(1))
        return (value[start : None if part.group(2) is None else start + int(part.group(2))],)
    if rest[0] == "#":
        return (value.removeprefix(rest.lstrip("#")),)
    if rest[0] == "%":
        return (value.removesuffix(rest.lstrip("%")),)
    if rest[0] == "/":
        old, _, new = rest.lstrip("/").partition("/")
        return (value.replace(old, new),) if old else (value,)
    case = {"^^": value.upper(), ",,": value.lower(), "^": value.capitalize(), "@E": ansi(value)}
    return (case.get(rest, value),)


def split(words: Iterable[str]) -> tuple[str, ...]:
    """The words of a command, those that fell apart as several; () where nothing is left."""
    found: list[str] = []
    for word in words:
        found.extend([part for part in word.split(FIELD) if part] if FIELD in word else [word])
    while found and not found[0]:
        # an empty expansion before a name leaves the name
        found.pop(0)
    return tuple(found)
