"""Typed values out of front matter. Each reader raises ConfigError with the place, the fault and the fix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from runner.errors import ConfigError, closest
from runner.spec.frontmatter import Map, Node, Place, Scalar, Seq
from runner.spec.keys import advice, nearest
from runner.values import NanoUsd, parse_duration, parse_usd

T = TypeVar("T")

SHELL = ("/bin/sh", "-c")
MOST_WHOLE = 10**15
_MAX_TEXT = 500
MOST_SECONDS = 10 * 366 * 24 * 3600
_INT = re.compile(r"[0-9]{1,3}(?:_?[0-9]{3})*\Z|[0-9]+\Z", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?\Z|\.[0-9]{1,12}\Z", re.ASCII)
_USD = re.compile(r"\$?[0-9]{1,9}(?:\.[0-9]{1,9})?\Z", re.ASCII)


class Faults:
    """Collects what is wrong, so that a user mends it in one go."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def of(self, part: Callable[[], T], otherwise: T) -> T:
        """What `part` reads, or `otherwise` when it is wrong."""
        try:
            return part()
        except ConfigError as error:
            self._found.append(error)
            return otherwise

    def __enter__(self) -> None:
        """Whatever is found wrong inside `with` is kept, too."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ConfigError):
            self._found.append(error)
            return True
        return False

    def end(self) -> None:
        """Raise all that was found, if anything was."""
        if self._found:
            raise ConfigError.joined(self._found)


def shown(node: Node) -> str:
    """The value as an error message quotes it."""
    match node:
        case Scalar():
            if node.is_empty:
                return "empty"
            text = node.text if len(node.text) <= 40 else f"{node.text[:39]}…"
            return repr(text)
        case Seq():
            return "a list"
        case Map():
            return "a mapping"


def wrong(node: Node, what: str, hint: str) -> ConfigError:
    """The error for a value of the wrong kind: `what` tells what it is not."""
    return node.at.error(f"{what}: {shown(node)}", hint=hint)


def known(table: Map, names: tuple[str, ...], where: str) -> Map:
    """`table`, when it has no key but `names`; `where` tells people which mapping it is."""
    place = f" in {where}" if where else ""
    unknown = [
        key.at.error(f"unknown key {shown(key)}{place}", hint=advice(key.text[:40], names))
        for key, _ in table.entries
        if key.text not in names
    ]
    if unknown:
        raise ConfigError.joined(unknown)
    return table


def meant(word: str, names: Sequence[str]) -> str:
    """What to write instead of `word`, where `names` are known."""
    near = closest(word, names)
    return f"did you mean '{near}'?" if near else f"known here: {', '.join(names)}"


def mapping(node: Node, name: str, names: tuple[str, ...], *, example: str) -> Map:
    """A mapping whose keys are all among `names`."""
    if not isinstance(node, Map):
        raise wrong(node, f"{name} is not a mapping", f"write '{example}'")
    return known(node, names, name)


def text(node: Node, name: str, *, example: str) -> str:
    """One line of text, without white space at its ends."""
    if not isinstance(node, Scalar) or node.is_empty or not node.text.strip():
        raise wrong(node, f"{name} is not text", f"write '{example}'")
    value = node.text.strip()
    if len(value) > _MAX_TEXT:
        raise node.at.error(f"{name} is longer than {_MAX_TEXT} characters", hint=f"write '{example}'")
    if any(ord(char) < 32 or char in "\x7f\u2028\u2029\x85" for char in value):
        raise node.at.error(f"{name} is more than one line, or has control characters", hint=f"write '{example}'")
    return value


def is_none(node: Node) -> bool:
    """Whether the value says `none`: no limit."""
    return isinstance(node, Scalar) and node.text == "none"


def whole(node: Node, name: str, *, least: int = 0, most: int = MOST_WHOLE) -> int:
    """A whole number between `least` and `most`; digits may be grouped by `_`."""
    written = isinstance(node, Scalar) and len(node.text) <= 30 and _INT.match(node.text)
    value = int(node.text.replace("_", "")) if isinstance(node, Scalar) and written else None
    if value is None:
        raise wrong(
            node, f"{name} is not a whole number", f"write digits, e.g. '{name.rpartition('.')[2]}: {max(least, 10)}'"
        )
    if not least <= value <= most:
        raise node.at.error(
            f"{name} is not between {least} and {most}: {value}", hint=f"write one from {least} to {most}"
        )
    return value


def number(node: Node, name: str, *, hint: str) -> float:
    """A non-negative decimal number."""
    if not isinstance(node, Scalar) or not _NUMBER.match(node.text):
        raise wrong(node, f"{name} is not a number", hint)
    return float(node.text)


def positive(node: Node, name: str) -> float:
    """A number above zero."""
    value = number(node, name, hint=f"write a number above 0, e.g. '{name.rpartition('.')[2]}: 2'")
    if not value > 0 or not math.isfinite(value):
        raise wrong(node, f"{name} is not above 0", "write a number above 0, or leave the key out")
    return value


def usd(node: Node, name: str) -> NanoUsd:
    """An amount of US dollars, exact, in nano-dollars."""
    if not isinstance(node, Scalar) or not _USD.match(node.text):
        raise wrong(
            node,
            f"{name} is not an amount of US dollars",
            "write e.g. 'usd: 5' or 'usd: 0.25', or 'usd: none' for no cap",
        )
    return parse_usd(node.text)


def seconds(node: Node, name: str, *, least: int = 0) -> int:
    """A duration in seconds."""
    hint = f"write e.g. '{name.rpartition('.')[2]}: 90s', '45m' or '1h30m'"
    if not isinstance(node, Scalar) or not node.text.isascii() or len(node.text) > 20:
        raise wrong(node, f"{name} is not a duration", hint)
    try:
        value = parse_duration(node.text)
    except ValueError:
        raise wrong(node, f"{name} is not a duration", hint) from None
    if not least <= value <= MOST_SECONDS:
        raise wrong(node, f"{name} is not between {least}s and ten years", hint)
    return value


def flag(node: Node, name: str) -> bool:
    """`true` or `false`."""
    if isinstance(node, Scalar) and node.plain and node.text.lower() in {"true", "false"}:
        return node.text.lower() == "true"
    raise wrong(node, f"{name} is not true or false", f"write '{name.rpartition('.')[2]}: true'")


def one_of(node: Node, name: str, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    value = node.text if isinstance(node, Scalar) else ""
    if value not in choices:
        meant = nearest(value, choices)
        hint = f"did you mean '{meant}'?" if meant else f"write one of: {', '.join(choices)}"
        raise wrong(node, f"{name} is not one of {', '.join(choices)}", hint)
    return value


def entries(node: Node, name: str, *, example: str) -> Iterator[Node]:
    """The entries of a list; a lone text stands for a list of one."""
    if isinstance(node, Scalar) and not node.is_empty:
        yield node
    elif isinstance(node, Seq):
        yield from node.items
    else:
        raise wrong(node, f"{name} is not a list", f"write '{example}'")


def command(node: Node, name: str) -> tuple[str, ...]:
    """A command as argv: a list runs as it is, a text runs through the shell."""
    if isinstance(node, Seq):
        argv = tuple(_word(item, name) for item in node.items)
        if not argv or not argv[0].strip():
            raise node.at.error(
                f"{name} is an empty command", hint="write its program and arguments, e.g. [pytest, -q]"
            )
        return argv
    if not isinstance(node, Scalar) or node.is_empty or not node.text.strip():
        raise wrong(node, f"{name} is not a command", "write text for the shell, or a list like [pytest, -q]")
    if node.text.lstrip().startswith("-"):
        raise wrong(node, f"{name} is not a command", "one command as a list is a list in the list: [[pytest, -q]]")
    _no_nul(node.at, node.text, name)
    return (*SHELL, node.text.strip())


def _word(node: Node, name: str) -> str:
    if not isinstance(node, Scalar) or (node.plain and node.text == ""):
        raise wrong(node, f"an argument of {name} is not text", "put it in quotes")
    _no_nul(node.at, node.text, name)
    return node.text


def _no_nul(at: Place, value: str, name: str) -> None:
    if "\0" in value:
        raise at.error(f"{name} holds a NUL character", hint="no program can be given one")
