"""What every way of speaking to a provider has in common: a request as it was understood, a reply to be told."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from runner.models.replay import Request
from runner.testing.script import Fault
from runner.values import Reply, Usage

_ITERATION = re.compile(r"^Iteration (\d+)", re.MULTILINE)


class BadRequestError(ValueError):
    """A request that the real provider would refuse with status 400."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the prompt after which a cache may keep it; `life` is asked for there ("": none is)."""

    text: bytes
    life: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, whatever its dialect.

    `lives` are how long a prefix it caches may live ("": the provider's own choice); empty: it caches nothing by
    itself. `service` and `geo` are the classes it is to be billed in, as `Usage` names them.
    """

    request: Request
    model: str
    tools: tuple[str, ...]
    streamed: bool
    blocks: tuple[Block, ...]
    lives: tuple[str, ...] = ("",)
    thinks: bool = False
    service: str = ""
    geo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One reply to be told. `told` is the usage it reports, which a fault may have made untrue."""

    number: int
    model: str
    reply: Reply
    told: Usage
    fault: Fault | None
    thinks: bool = False


class Dialect(Protocol):
    """One provider's API: how requests are read, and replies and refusals told."""

    provider: str
    id_header: str

    def read(self, body: bytes) -> Asked:
        """Understand a request; raises BadRequestError for one the real provider would refuse."""
        ...

    def stream(self, turn: Turn) -> Iterator[bytes]:
        """The events of a reply, each as its own bytes."""
        ...

    def broken(self) -> bytes:
        """The event that reports an error in the middle of a stream."""
        ...

    def whole(self, turn: Turn) -> bytes:
        """The reply in one piece of JSON."""
        ...

    def error(self, status: int, message: str, number: int) -> bytes:
        """The body of a refusal."""
        ...

    def resets(self, seconds: int) -> Mapping[str, str]:
        """Headers that say when a used-up rate is full again."""
        ...


def top_of(body: bytes) -> Mapping[str, object]:
    """The request's JSON object; raises BadRequestError when it is none."""
    try:
        return mapping(json.loads(body))
    except ValueError as error:
        raise BadRequestError(str(error)) from None


def mapping(value: object) -> Mapping[str, object]:
    """A JSON object; raises BadRequestError for anything else."""
    if not isinstance(value, dict):
        msg = "not a JSON object"
        raise BadRequestError(msg)
    # JSON makes every key a str
    return cast("Mapping[str, object]", value)


def objects(value: object, what: str) -> list[Mapping[str, object]]:
    """A list of JSON objects; raises BadRequestError naming it."""
    if not isinstance(value, list):
        msg = f"a request needs a list `{what}`"
        raise BadRequestError(msg)
    # the elements of a JSON list; each is looked at
    return [mapping(item) for item in cast("list[object]", value)]


def limit(top: Mapping[str, object], *names: str) -> int:
    """The output limit; raises BadRequestError when there is none."""
    value = next((top[name] for name in names if name in top), None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        msg = f"a request needs a positive `{names[0]}`"
        raise BadRequestError(msg)
    return value


def text_of(value: object) -> str:
    """The text of a content that is a string or a list of blocks."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    # the elements of a JSON list; each is looked at
    blocks = [mapping(item) for item in cast("list[object]", value)]
    return "".join(text for block in blocks if isinstance(text := block.get("text"), str))


def request(*, prompt: str, replies: int, answered: Sequence[str], size: int, granted: int) -> Request:
    """What a recording looks at. The prompt's own line `Iteration N` tells the iteration."""
    found = _ITERATION.search(prompt)
    return Request(
        iteration=int(found[1]) if found else 1,
        step=replies + 1,
        prompt=prompt,
        answered="\n".join(answered),
        size=size,
        granted=granted,
    )


def plain(value: object) -> bytes:
    """JSON as it goes into a cache's key."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()


def sealed(text: str) -> str:
    """A signature that only the same text has: what is thought must come back byte-equal."""
    return base64.b64encode(hashlib.sha256(b"of the scripted provider:" + text.encode()).digest()).decode()


def thought(turn: Turn) -> str:
    """What the model thinks before a reply. It holds what careless code would change: escapes, space, non-ASCII."""
    return f'Step {turn.number}:  is "7/8" \u2265 0.9?\n\t\u6f22\u5b57 \\u0041 {{}} </thinking> '
