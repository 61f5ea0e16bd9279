"""YAML as a tree in which every key and value knows its line and column: a spec's front matter, or a whole file.

A spec's front matter is small and strict: YAML 1.2 mappings, lists and scalars. Anchors, aliases and tags are
refused (nothing a spec says needs them), so no text can expand into more than was written.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from runner.errors import ConfigError
from runner.spec.keys import TOP, nearest
from runner.spec.yaml_tokens import NotYamlError, Token, tokens

MAX_BYTES = 64 * 1024
_MAX_DEPTH = 12
_BREAK = re.compile(r"\r\n|\n|\r")
_FENCE = re.compile(r"---[ \t]*(?:\r\n|\n|\r|\Z)")
_BLANK_OR_COMMENT = re.compile(r"[ \t]*(?:#.*)?\Z")
_KEY = re.compile(r"([A-Za-z_][\w-]*)[ \t]*:(?:[ \t]|\Z)")


@dataclass(frozen=True, slots=True)
class Place:
    """A point in a file; `line` and `column` are 1-based, `length` counts characters from there (0: not known)."""

    path: str
    line: int
    column: int
    length: int = 0

    def error(self, message: str, *, hint: str = "") -> ConfigError:
        """A ConfigError that points here."""
        return ConfigError(message, path=self.path, line=self.line, column=self.column, length=self.length, hint=hint)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as it was written. `plain` is false when it stood in quotes or in a block: then it is text."""

    at: Place
    text: str
    plain: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether YAML reads it as null."""
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Seq:
    """A YAML list."""

    at: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """A YAML mapping; its keys are distinct, in the order of the file."""

    at: Place
    entries: tuple[tuple[Scalar, Node], ...] = ()

    def get(self, key: str) -> Node | None:
        """The value of `key`, or None when it was not written."""
        return next((value for name, value in self.entries if name.text == key), None)


Node: TypeAlias = Scalar | Seq | Map


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A file cut in two. `yaml` is None without front matter; the offsets and lines say where the parts start."""

    yaml: str | None
    yaml_start: int
    body: str
    body_start: int
    body_line: int


def split(text: str, path: str) -> Parts:
    """Cut front matter from body; raise ConfigError when front matter opens and never closes.

    Front matter opens where the first line is `---`. Followed by an empty line, `---` is Markdown's horizontal
    rule, unless the first thing after it is one of the spec's keys (or nearly one): a key is never ignored.
    """
    start = 1 if text.startswith("\ufeff") else 0
    opened = _FENCE.match(text, start)
    if opened is None or _is_rule(text[opened.end() :]):
        return Parts(yaml=None, yaml_start=start, body=text[start:], body_start=start, body_line=1)
    yaml_start = here = opened.end()
    while here < len(text):
        if (closed := _FENCE.match(text, here)) is not None:
            return Parts(
                yaml=text[yaml_start:here],
                yaml_start=yaml_start,
                body=text[closed.end() :],
                body_start=closed.end(),
                body_line=len(_BREAK.findall(text, 0, closed.end())) + 1,
            )
        following = _BREAK.search(text, here)
        here = following.end() if following else len(text)
    raise ConfigError(
        "the front matter opened by '---' never closes",
        path=path,
        line=1,
        column=1,
        hint="add a line '---' after its last key; for a horizontal rule write '***'",
    )


def body_start(text: str) -> int:
    """Where the body begins in `text`; the whole text is body when the front matter never closes."""
    try:
        return split(text, "").body_start
    except ConfigError:
        return 0


def _is_rule(rest: str) -> bool:
    lines = (line for line in _BREAK.split(rest) if not _BLANK_OR_COMMENT.match(line))
    if not rest.strip():
        return True
    if _BREAK.split(rest, maxsplit=1)[0].strip():
        return False
    first = _KEY.match(next(lines, ""))
    return first is None or nearest(first[1], TOP) is None


def read(parts: Parts, text: str, path: str) -> Map:
    """The front matter as a tree; raise ConfigError with its place for anything that is not sound YAML."""
    locate = _Locator(text, path)
    empty = Map(locate(parts.yaml_start))
    if parts.yaml is None:
        return empty
    if len(parts.yaml.encode("utf-8", "replace")) > MAX_BYTES:
        raise empty.at.error(
            f"the front matter is larger than {MAX_BYTES // 1024} KiB", hint="put what the agent reads below it"
        )
    node = _Composer(parts, locate, "spec").document()
    if node is None or (isinstance(node, Scalar) and node.is_empty):
        return empty
    if not isinstance(node, Map):
        raise node.at.error(
            "the front matter is not a mapping of keys",
            hint="write keys like 'target: 1'; for a horizontal rule put an empty line after '---'",
        )
    return node


def document(text: str, path: str, *, noun: str) -> Map:
    """A whole file of YAML as a tree, as strict as front matter; `noun` is what the file is, for the hints.

    Raises ConfigError with its place for anything that is not one sound mapping.
    """
    locate = _Locator(text, path)
    start = 1 if text.startswith("\ufeff") else 0
    parts = Parts(yaml=text[start:], yaml_start=start, body="", body_start=len(text), body_line=1)
    node = _Composer(parts, locate, noun).document()
    if not isinstance(node, Map):
        raise locate(start).error(f"this {noun} is not a mapping of keys", hint="write keys like 'kind: Policy'")
    return node


class _Locator:
    """Turns an offset in the file into its place."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._starts = [0, *(found.end() for found in _BREAK.finditer(text))]
        # a byte order mark is no column of the first line
        self._mark = 1 if text.startswith("\ufeff") else 0

    def __call__(self, offset: int, length: int = 0) -> Place:
        line = bisect_right(self._starts, offset)
        start = self._starts[line - 1] + (self._mark if line == 1 else 0)
        return Place(self._path, line, max(offset - start, 0) + 1, length)


class _Composer:
    """Builds the tree from the parser's tokens."""

    def __init__(self, parts: Parts, locate: _Locator, noun: str) -> None:
        self._noun = noun
        self._offset = parts.yaml_start
        self._locate = locate
        self._tokens = tokens(parts.yaml or "")

    def document(self) -> Node | None:
        node: Node | None = None
        try:
            for token in self._tokens:
                if token.kind == "document":
                    if node is not None:
                        raise self._at(token.offset).error(
                            "a second YAML document", hint=f"a {self._noun} has one: leave the second '---' out"
                        )
                    node = self._node(next(self._tokens), 0)
        except NotYamlError as error:
            raise self._at(error.offset).error(error.problem, hint=error.hint) from None
        return node

    def _at(self, offset: int, length: int = 0) -> Place:
        return self._locate(self._offset + offset, length)

    def _node(self, token: Token, depth: int) -> Node:
        at = self._at(token.offset, token.length)
        if depth > _MAX_DEPTH:
            raise at.error(f"nested more than {_MAX_DEPTH} deep", hint=f"no key of a {self._noun} needs that")
        if token.kind == "alias" or token.anchored:
            raise at.error(
                f"anchors and aliases ('&', '*') are not used in a {self._noun}", hint="write it out, or quote it"
            )
        if token.tag is not None:
            raise at.error(
                f"tags ({token.tag}) are not used in a {self._noun}", hint="leave the tag out, or quote the value"
            )
        if token.kind == "scalar":
            return Scalar(at, token.text, plain=token.plain)
        return Seq(at, tuple(self._items(depth))) if token.kind == "[" else self._map(at, depth)

    def _items(self, depth: int) -> Iterator[Node]:
        while (token := next(self._tokens)).kind != "]":
            yield self._node(token, depth + 1)

    def _map(self, at: Place, depth: int) -> Map:
        seen: dict[str, Scalar] = {}
        entries: list[tuple[Scalar, Node]] = []
        while (token := next(self._tokens)).kind != "}":
            key = self._node(token, depth + 1)
            if not isinstance(key, Scalar):
                raise key.at.error("a key must be a word", hint="write 'key: value'")
            if (first := seen.get(key.text)) is not None:
                raise key.at.error(
                    f"the key '{key.text[:40]}' is written twice (first on line {first.at.line})",
                    hint="keep one of them",
                )
            seen[key.text] = key
            value = self._node(next(self._tokens), depth + 1)
            # the parser finds that a value is missing only at the next line
            entries.append((key, replace(value, at=key.at) if value == Scalar(value.at, "", plain=True) else value))
        return Map(at, tuple(entries))
