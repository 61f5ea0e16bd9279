"""Events as canonical JSON and back, and the hash chain over them.

The hashed text of an event is `{"at":…,"body":…,"kind":…,"prev":…,"run":…,"seq":…}`: keys sorted, no white space,
UTF-8. Readers keep what they do not know: an unknown kind is shown as such, unknown fields are ignored by the fold
and stay in the stored text.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias, get_args

import msgspec

from runner.events.facts import Event
from runner.values import Ms

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}

GENESIS = "0" * 64

# the shape of decoded JSON objects; values stay `object` until somebody narrows them
Json: TypeAlias = dict[str, object]

_encoder = msgspec.json.Encoder(order="sorted")
_decoders: dict[str, msgspec.json.Decoder[Event]] = {}


def encode(event: Event) -> str:
    """Write an event's body as canonical JSON."""
    return _encoder.encode(event).decode()


def decode(kind: str, body: str | bytes) -> Event | None:
    """Read a stored body; None for a kind this version does not know. Raises msgspec.ValidationError if malformed."""
    if (decoder := _decoders.get(kind)) is None:
        if (known := KINDS.get(kind)) is None:
            return None
        decoder = _decoders[kind] = msgspec.json.Decoder(known)
    return decoder.decode(body)


def chain(*, run: str, seq: int, at: Ms, kind: str, body: str, prev: str) -> str:
    """Compute the hash of an event in its place (SHA-256 over the canonical JSON named at the top)."""
    head = f'{{"at":{at},"body":{body},"kind":"{kind}","prev":"{prev}","run":"{run}","seq":{seq}}}'
    return hashlib.sha256(head.encode()).hexdigest()
