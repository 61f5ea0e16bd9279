"""What the model is told of each tool, and the reading of what it sends back.

Arguments are the model's own JSON text: anything may be in them. Reading gives values of the right type or raises
ArgumentsError, whose message tells the model what to write instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from runner.errors import closest
from runner.ports import ToolDefinition

MAX_TIMEOUT_S = 3600


class ArgumentsError(Exception):
    """Arguments that cannot be used; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `kind` is `string`, `integer`, `boolean` or `array` (of strings)."""

    name: str
    kind: str
    description: str
    required: bool = False
    least: int | None = None
    most: int | None = None

    def schema(self) -> dict[str, object]:
        schema: dict[str, object] = {"type": self.kind, "description": self.description}
        if self.kind == "array":
            schema |= {"items": {"type": "string"}, "minItems": 1}
        if self.least is not None:
            schema["minimum"] = self.least
        if self.most is not None:
            schema["maximum"] = self.most
        return schema


@dataclass(frozen=True, slots=True)
class Signature:
    """A tool's name, what it is for, and its parameters in order."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]

    def definition(self) -> ToolDefinition:
        return ToolDefinition(
            name=self.name,
            description=self.description,
            parameters={
                "type": "object",
                "properties": {parameter.name: parameter.schema() for parameter in self.parameters},
                "required": [parameter.name for parameter in self.parameters if parameter.required],
                "additionalProperties": False,
            },
        )


_PATH = "Path inside the workspace, relative to its root."
_CWD = Parameter("cwd", "string", "Directory to start in, relative to the workspace root (the default).")
_TIMEOUT = Parameter(
    "timeout_s", "integer", "Seconds after which it is ended (default 600).", least=1, most=MAX_TIMEOUT_S
)
_BACKGROUND = Parameter(
    "background",
    "boolean",
    "Do not wait: give a handle for `output` and `stop`. Ended with the iteration at the latest.",
)
_STDIN = Parameter("stdin", "string", "Text for its standard input (default: empty).")
_HANDLE = Parameter("handle", "string", "The handle a background command was given.", required=True)

SIGNATURES = (
    Signature(
        "read_file",
        "Read a text file of the workspace, or a line range of it. Also reads `artefact:NAME`, the whole output of a "
        "tool that was cut.",
        (
            Parameter("path", "string", _PATH, required=True),
            Parameter("start_line", "integer", "First line to give, counted from 1 (default 1).", least=1),
            Parameter("end_line", "integer", "Last line to give (default: the last).", least=1),
        ),
    ),
    Signature(
        "write_file",
        "Write a whole file, replacing what was there. Missing directories are made.",
        (
            Parameter("path", "string", _PATH, required=True),
            Parameter("content", "string", "The file's whole new content.", required=True),
        ),
    ),
    Signature(
        "edit_file",
        "Replace an exact piece of text in a file. `old` must occur exactly once, or exactly `count` times.",
        (
            Parameter("path", "string", _PATH, required=True),
            Parameter(
                "old", "string", "The text to replace, exactly as in the file, indentation included.", required=True
            ),
            Parameter("new", "string", "The text to put in its place.", required=True),
            Parameter("count", "integer", "How many occurrences there are; all are replaced (default 1).", least=1),
        ),
    ),
    Signature(
        "list_files",
        "List files below a directory, recursively, without `.git`.",
        (
            Parameter("path", "string", "Directory to list (default: the workspace root)."),
            Parameter("glob", "string", "Only paths that match, relative to `path`, e.g. `*.py` or `src/**/*.ts`."),
        ),
    ),
    Signature(
        "search_text",
        "Search files line by line with a regular expression (Python syntax). Gives `path:line: text`.",
        (
            Parameter("pattern", "string", "The regular expression.", required=True),
            Parameter("path", "string", "File or directory to search (default: the workspace root)."),
            Parameter("glob", "string", "Only files whose path, relative to `path`, matches."),
        ),
    ),
    Signature(
        "tick",
        "Tick a checklist item of the spec once it is done and verified.",
        (Parameter("item", "string", "The item's text, as in the spec.", required=True),),
    ),
    Signature(
        "run",
        "Run a program with arguments, without a shell. Gives standard output and error together, then the exit code.",
        (
            Parameter("argv", "array", "Program and arguments, one string each.", required=True),
            _CWD,
            _TIMEOUT,
            _BACKGROUND,
            _STDIN,
        ),
    ),
    Signature(
        "output",
        "What a background command has written since it was last asked, and whether it still runs.",
        (_HANDLE,),
    ),
    Signature("stop", "End a background command and all it started.", (_HANDLE,)),
    Signature(
        "shell",
        "Run a command line with `/bin/sh -c`. For a single program prefer `run`.",
        (
            Parameter("command", "string", "The command line.", required=True),
            _CWD,
            _TIMEOUT,
            _BACKGROUND,
            _STDIN,
        ),
    ),
)

DEFINITIONS = tuple(signature.definition() for signature in SIGNATURES)
_BY_NAME = {signature.name: signature for signature in SIGNATURES}


class Arguments:
    """Checked arguments of one call."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    @property
    def values(self) -> Mapping[str, object]:
        """All that was given, by name."""
        return self._values

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name, default)
        return value if isinstance(value, str) else default

    def maybe_text(self, name: str) -> str | None:
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def flag(self, name: str) -> bool:
        return self._values.get(name) is True

    def words(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name)
        return tuple(str(word) for word in cast("list[object]", value)) if isinstance(value, list) else ()

    def strings(self) -> Iterator[str]:
        """Every text in them."""
        for name in self._values:
            yield from self.words(name) or (self.text(name),)


@lru_cache(maxsize=1)  # a call is decided, and then prepared
def read(name: str, text: str) -> Arguments:
    """Read a call's arguments. Raises ArgumentsError for an unknown tool, bad JSON, or values that do not fit."""
    signature = _BY_NAME.get(name)
    if signature is None:
        raise ArgumentsError(f"there is no tool {name!r}; the tools are {', '.join(_BY_NAME)}")
    try:
        loaded = cast("object", json.loads(text or "{}"))
    except (ValueError, RecursionError) as error:
        raise ArgumentsError(f"{name}: the arguments are not valid JSON ({error}); send one JSON object") from None
    if not isinstance(loaded, dict):
        raise ArgumentsError(f"{name}: the arguments must be one JSON object with {_names(signature)}")
    values = cast("dict[str, object]", loaded)
    known = {parameter.name: parameter for parameter in signature.parameters}
    for given in values:
        if given not in known:
            near = closest(given, known)
            hint = f"; did you mean {near!r}?" if near else f"; it takes {_names(signature)}"
            raise ArgumentsError(f"{name}: there is no parameter {given!r}{hint}")
    # Models send null for "not given".
    values = {given: value for given, value in values.items() if value is not None or known[given].required}
    for parameter in signature.parameters:
        if parameter.name in values:
            _fit(name, parameter, values[parameter.name])
        elif parameter.required:
            raise ArgumentsError(f"{name}: the parameter {parameter.name!r} is missing; it takes {_names(signature)}")
    return Arguments(values)


def _names(signature: Signature) -> str:
    return ", ".join(parameter.name + ("" if parameter.required else "?") for parameter in signature.parameters)


def _fit(tool: str, parameter: Parameter, value: object) -> None:
    """Raise ArgumentsError when a value is not what the parameter takes."""
    where = f"{tool}: {parameter.name!r} must be"
    match parameter.kind:
        case "string":
            if not isinstance(value, str):
                raise ArgumentsError(f"{where} a string")
            if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
                raise ArgumentsError(f"{where} valid Unicode (it contains half a surrogate pair)")
        case "boolean":
            if not isinstance(value, bool):
                raise ArgumentsError(f"{where} true or false")
        case "integer":
            _fit_number(where, parameter, value)
        case _:
            _fit_words(where, value)


def _fit_number(where: str, parameter: Parameter, value: object) -> None:
    # true is an int in Python, not in JSON.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArgumentsError(f"{where} a whole number")
    if parameter.least is not None and value < parameter.least:
        raise ArgumentsError(f"{where} at least {parameter.least}")
    if parameter.most is not None and value > parameter.most:
        raise ArgumentsError(f"{where} at most {parameter.most}")


def _fit_words(where: str, value: object) -> None:
    words = cast("list[object]", value) if isinstance(value, list) else []
    if not words or not all(isinstance(word, str) for word in words):
        raise ArgumentsError(f'{where} a list of strings, e.g. ["ls", "-l"]')
    if not words[0]:
        raise ArgumentsError(f"{where} a list that begins with a program")
    for word in words:
        if isinstance(word, str) and ("\0" in word or any(0xD800 <= ord(character) <= 0xDFFF for character in word)):
            raise ArgumentsError(f"{where} made of valid text without NUL characters")
