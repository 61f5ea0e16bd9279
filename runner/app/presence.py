"""Which provider keys there are, and where each was found: never their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS, is_key
from runner.models.server import Server
from runner.secrets import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A provider's key: never its value. `place` is where it was found; None: it is missing.

    `supported` says that the provider has an adapter of its own, or is a server of the user's (`provider` is its name);
    the others are called through litellm.
    """

    name: str
    provider: str
    supported: bool
    place: str | None


def held(environ: Mapping[str, str], keys: Keys | None = None) -> Keys:
    """The keys a run started here would have: those handed over, and those of the environment."""
    found = keys or Keys()
    found.add({name: value.strip() for name, value in environ.items() if is_key(name) and value.strip()}, "environment")
    return found


def keys_present(keys: Keys, servers: Iterable[Server] = ()) -> Iterator[Key]:
    """The keys of providers with an adapter of their own and of `servers`, there or not; those for litellm if there."""
    known = {key: provider for provider, key in {**SUPPORTED_KEYS, **FOREIGN_KEYS}.items()}
    own = {server.key: server.name for server in servers if server.key and server.name not in SUPPORTED_KEYS}
    for name, provider in {**known, **own}.items():
        supported = provider in SUPPORTED_KEYS or name in own
        if supported or name in keys:
            place = keys.source(name) if name in keys else None
            yield Key(name=name, provider=provider, supported=supported, place=place)
