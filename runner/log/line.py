"""One line of the log: an event's place in the journal, its body made fit for other eyes, and a sum over the line.

Rendering is deterministic, so that `verify` can compare whole lines byte by byte. Whoever changes what a line looks
like raises `VERSION`, and keeps what `render` made before: lines of `VERSIONS` are compared byte by byte, those of any
other by their sum and their place in the chain. Version 2 leaves blocks out that only a provider can read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol, TypeAlias

import msgspec

from runner.events.facts import Stamped
from runner.secrets import Vault, mask_patterns, may_hold_pattern
from runner.values import Ms

VERSION = 2
VERSIONS = frozenset({1, VERSION})
_BEFORE_OPAQUE = 1

LONGEST_TEXT = 8_192
LONGEST_LIST = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUM = b',"sum":"'
# quotes inside a text are escaped: this is the field itself, with something in it
_OPAQUE = '"opaque":[{'


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event as the journal stores it: `body` is canonical JSON, `prev` and `hash` are hex SHA-256."""

    run: str
    seq: int
    at: Ms
    kind: str
    body: str
    prev: str
    hash: str


class Stored(Protocol):
    """What a store gives for one event."""

    @property
    def seq(self) -> int: ...
    @property
    def at(self) -> Ms: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def prev(self) -> str: ...
    @property
    def hash(self) -> str: ...


def rows_of(run: str, stored: Iterable[Stored]) -> Iterator[Row]:
    """Name the run of each stored event."""
    for one in stored:
        yield Row(run=run, seq=one.seq, at=one.at, kind=one.kind, body=one.body, prev=one.prev, hash=one.hash)


def row_of(stamped: Stamped) -> Row:
    """Show a recorded event the way the journal stores it."""
    return Row(
        run=stamped.run,
        seq=stamped.seq,
        at=stamped.at,
        kind=type(stamped.event).__name__,
        body=stamped.body,
        prev=stamped.prev,
        hash=stamped.hash,
    )


def iso(at: Ms) -> str:
    """Write a moment as ISO 8601 in UTC with milliseconds."""
    second, ms = divmod(at, 1000)
    return f"{_second(second)}.{ms:03}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat().removesuffix("+00:00")


def render(row: Row, vault: Vault | None = None, *, version: int = VERSION) -> bytes:
    """Write one event as one line, newline included; key-like text masked, long text cut and named by its SHA-256.

    Blocks that only a provider can read (signed thinking, encrypted reasoning) are left out, named the same way.
    `version` is one of `VERSIONS`: the line as the runner wrote it that made such lines.
    Known secrets are kept out where text enters a run. Should one stand in the journal all the same, `vault` masks it
    here, and the line says so by `masked`: whoever verifies it may not know that secret.
    """
    masked = vault is not None and vault.found_in(row.body) is not None
    fields: dict[str, object] = {
        "seq": row.seq,
        "at": iso(row.at),
        "run": row.run,
        "kind": row.kind,
        "prev": row.prev,
        "hash": row.hash,
        "body": _shown(row.body, vault if masked else None, opaque=version <= _BEFORE_OPAQUE),
        "v": version,
    }
    if masked:
        fields["masked"] = True
    return sealed(msgspec.json.encode(fields))


def _shown(body: str, vault: Vault | None, *, opaque: bool) -> object:
    """A body made to fit, with the secrets masked that `vault` knows in it; the usual one as it is stored."""
    too_much = _may_not_fit(body)
    closed = not opaque and _OPAQUE in body
    if vault is None and not too_much and not closed:
        return msgspec.Raw(body.encode())
    value: _Value = msgspec.json.decode(body)
    if closed:
        value = _without_blocks(value)
    if vault is not None:
        value = _each_text(value, vault.mask)
    return _fit(value) if too_much else value


def _without_blocks(value: _Value) -> _Value:
    """Say of each block in a reply how long it is and what its SHA-256 is, instead of what it says."""
    match value:
        case {"reply": {"opaque": list() as blocks}}:
            for block in blocks:
                match block:
                    case {"data": str() as data}:
                        block["data"] = f"[left out: {len(data)} characters, sha256 {_digest(data)}]"
                    case _:
                        pass
        case _:
            pass
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _may_not_fit(body: str) -> bool:
    """Whether anything in it could be too long or look like a key: the usual event is spared a walk."""
    return len(body) > LONGEST_TEXT or body.count(",") >= LONGEST_LIST or may_hold_pattern(body)


def sealed(text: bytes) -> bytes:
    """Close a line with the SHA-256 of everything before its `sum`."""
    opened = text.removesuffix(b"}")
    return b'%s%s%s"}\n' % (opened, _SUM, hashlib.sha256(opened).hexdigest().encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a sound line says of itself."""

    run: str
    seq: int
    at: str
    kind: str
    prev: str
    hash: str
    v: int
    masked: bool = False

    @property
    def comparable(self) -> bool:
        """Whether rendering the event here, in the line's version, gives the very same line."""
        return self.v in VERSIONS and not self.masked

    def holds(self, row: Row) -> bool:
        """Whether this line stands for `row`."""
        ours = (self.run, self.seq, self.at, self.kind, self.prev, self.hash)
        return ours == (row.run, row.seq, iso(row.at), row.kind, row.prev, row.hash)


def read(line: bytes) -> Place | None:
    """Read a line's place; None unless it is whole and its sum is right."""
    opened, found, rest = line.rpartition(_SUM)
    if not found or rest != b'%s"}\n' % hashlib.sha256(opened).hexdigest().encode():
        return None
    try:
        return msgspec.json.decode(line, type=Place)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


# What JSON can say.
_Value: TypeAlias = "str | int | float | bool | list[_Value] | dict[str, _Value] | None"


def _fit(value: _Value) -> _Value:
    """Mask and bound every text and list inside `value`, however deep."""
    match value:
        case str():
            return _fit_text(value)
        case list():
            kept: list[_Value] = [_fit(item) for item in value[:LONGEST_LIST]]
            if len(value) > LONGEST_LIST:
                kept.append(f"… {len(value) - LONGEST_LIST} more")
            return kept
        case dict():
            return {name: _fit(item) for name, item in value.items()}
        case _:
            return value


def _each_text(value: _Value, change: Callable[[str], str]) -> _Value:
    match value:
        case str():
            return change(value)
        case list():
            return [_each_text(item, change) for item in value]
        case dict():
            return {name: _each_text(item, change) for name, item in value.items()}
        case _:
            return value


def _fit_text(text: str) -> str:
    # masked before it is cut: half a key no longer looks like one
    shown = mask_patterns(text)
    if len(shown) <= LONGEST_TEXT:
        return shown
    return f"{shown[:LONGEST_TEXT]}… [{len(shown) - LONGEST_TEXT} more characters, sha256 {_digest(text)}]"
