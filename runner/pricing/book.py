"""The price book: what each known model costs at most, and how old that knowledge is.

A built-in book comes with runner. Over it are put, each before the next: what `runner prices update` took in, the
models of the servers named in the user's config, and the user's own file (`docs/reference/prices.md`). A model
without a price is refused, never free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from runner.errors import ConfigError, closest
from runner.pricing import reader, written
from runner.pricing.entry import Age, Entry, hold_percent, staleness, stanza

__all__ = ["UPDATE", "Age", "Book", "Entry", "builtin", "hold_percent", "places", "staleness", "stanza"]

BUILTIN = "builtin.json"
UPDATE = "prices.json"
"""The file of what `runner prices update` took in, in the folder of runner's state."""

_NO_SERVERS: Mapping[str, Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Book:
    """Prices by `provider/model`. Immutable; `digest` names its whole content."""

    entries: Mapping[str, Entry]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", written.digest(self.entries))

    @classmethod
    def load(
        cls,
        user_text: str | None = None,
        *,
        path: Path | str | None = None,
        update: bytes | None = None,
        servers: Mapping[str, Mapping[str, object]] = _NO_SERVERS,
    ) -> Book:
        """The built-in book, with the entries of a user's file (`path` names it in errors) put over it.

        `update` is what `runner prices update` wrote, `servers` the tables `models` of the servers in the user's
        config, by the server's name. Only the last two of the four may price a model at nothing. Raises ConfigError
        with file and line for anything in them that cannot be meant.
        """
        entries = builtin()
        if update is not None:
            # an update may be older than the book it was written beside is by now
            newer = updated(update, UPDATE)
            entries |= {n: e for n, e in newer.items() if n not in entries or e.as_of >= entries[n].as_of}
        for server, models in servers.items():
            entries |= reader.served(server, models, entries)
        if user_text is not None:
            entries = reader.read(user_text, path or "prices", entries).over(entries)
        return cls(dict(sorted(entries.items())))

    def lookup(self, name: str) -> Entry:
        """The entry of `provider/model`; raises ConfigError with the stanza to add when there is none."""
        if (entry := self.entries.get(name)) is not None:
            return entry
        near = closest(name, self.entries, cutoff=0.85)
        meant = f"Did you mean {near!r}? If not, write" if near else "Write"
        raise ConfigError(
            f"no price is known for model {name!r}, so no cap on it can bind",
            hint=f"{meant} this, with the provider's own numbers, to a file and name it with --prices FILE "
            f"or RUNNER_PRICES:\n\n{stanza(name)}",
        )


def builtin() -> dict[str, Entry]:
    """The entries that come with runner."""
    return written.read(resources.files(__package__ or "runner.pricing").joinpath(BUILTIN).read_bytes(), BUILTIN)


def updated(data: bytes, place: str) -> dict[str, Entry]:
    """The entries of an update file, none of them free. Raises ConfigError that names `place`."""
    entries = written.read(data, place)
    for name, entry in entries.items():
        if fault := written.unsound(entry):
            raise ConfigError(f"the price of {name!r} cannot be used: {fault}", path=place, hint=written.AGAIN)
    return entries


def places(text: str, path: Path | str) -> dict[str, int | None]:
    """The models that a sound price file names, each with the line its table begins on (None: it has no header)."""
    return dict(reader.read(text, path, builtin()).places)
