"""The one door to ruamel.yaml: its event stream as plain tokens with offsets. YAML 1.2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# ruamel.yaml ships without types for its events, marks and errors: Any stays inside this module
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One event: `kind` is `document`, `scalar`, `alias`, `[`, `]`, `{` or `}`.

    `offset` and `length` (of a scalar) count characters.
    """

    kind: str
    offset: int
    length: int = 0
    text: str = ""
    plain: bool = False
    tag: str | None = None
    anchored: bool = False


class NotYamlError(Exception):
    """The text is not YAML: what is wrong, and at which offset."""

    def __init__(self, problem: str, offset: int, *, hint: str) -> None:
        super().__init__(problem)
        self.problem, self.offset, self.hint = problem, offset, hint


_KINDS = {
    "DocumentStartEvent": "document",
    "ScalarEvent": "scalar",
    "AliasEvent": "alias",
    "SequenceStartEvent": "[",
    "SequenceEndEvent": "]",
    "MappingStartEvent": "{",
    "MappingEndEvent": "}",
}


def tokens(source: str) -> Iterator[Token]:
    """The tokens of `source`, one at a time; raise NotYamlError where it stops being YAML."""
    # loading it takes 40 ms, and a spec without front matter needs none of it
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    # without types of its own, as said above
    parser: Any = YAML(typ="safe", pure=True)
    # the same for what it raises
    fault: Any
    try:
        for event in parser.parse(source):
            kind = _KINDS.get(type(event).__name__)
            if kind is not None:
                yield _token(kind, event)
    except ReaderError as error:
        fault = error
        code = ord(fault.character) if isinstance(fault.character, str) else int(fault.character)
        raise NotYamlError(
            f"YAML does not allow the character U+{code:04X}",
            int(fault.position),
            hint="remove it, or write it as an escape in double quotes",
        ) from None
    except MarkedYAMLError as error:
        fault = error
        # what never closes is found at the end, and mended where it opened
        unclosed = "stream" in str(fault.problem)
        mark = (fault.context_mark if unclosed else None) or fault.problem_mark or fault.context_mark
        told = ", ".join(str(part) for part in (fault.problem, fault.context) if part)
        raise NotYamlError(
            f"this is not YAML: {told}", int(mark.index) if mark is not None else 0, hint=_hint(told)
        ) from None
    except (YAMLError, ValueError, OverflowError) as error:
        # the scanner lets some malformed escapes and version numbers fall through to int() and chr()
        raise NotYamlError(f"this is not YAML: {error}", 0, hint="put special characters in single quotes") from None


# the event is ruamel's, without types
def _token(kind: str, event: Any) -> Token:  # noqa: ANN401  ruamel.yaml ships no types
    tag = getattr(event, "tag", None)
    return Token(
        kind=kind,
        offset=int(event.start_mark.index),
        length=int(event.end_mark.index) - int(event.start_mark.index) if kind == "scalar" else 0,
        text=str(event.value) if kind == "scalar" else "",
        plain=kind == "scalar" and event.style is None,
        tag=None if tag is None else str(tag),
        anchored=getattr(event, "anchor", None) is not None,
    )


def _hint(told: str) -> str:
    if "\\t" in told:
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in told:
        return "put text with ': ' in quotes, and keys of one level in one column"
    if "quoted scalar" in told:
        return "close the quote"
    if "flow" in told:
        return "close the bracket, and put a comma between its parts"
    return "put text with special characters in quotes, and keys of one level in one column"
