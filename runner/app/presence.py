"""Which provider keys there are, and where each was found: never their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.models.keys import FOREIGN_KEYS, KNOWN_KEYS, SUPPORTED_KEYS
from runner.secrets import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A provider's key: never its value. `place` is where it was found; None: it is missing."""

    name: str
    provider: str
    supported: bool
    place: str | None


def held(environ: Mapping[str, str], keys: Keys | None = None) -> Keys:
    """The keys a run started here would have: those handed over, and those of the environment."""
    found = keys or Keys()
    found.add({name: value for name in KNOWN_KEYS if (value := environ.get(name, "").strip())}, "environment")
    return found


def keys_present(keys: Keys) -> Iterator[Key]:
    """The keys this version can use, there or not, and those it only knows of that are there."""
    for provider, name in {**SUPPORTED_KEYS, **FOREIGN_KEYS}.items():
        supported = provider in SUPPORTED_KEYS
        if supported or name in keys:
            place = keys.source(name) if name in keys else None
            yield Key(name=name, provider=provider, supported=supported, place=place)
