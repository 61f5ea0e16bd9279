"""Take prices in from a file, for every run of this user from then on: checked, compared, and written whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from runner.app import pricefile
from runner.app.places import State
from runner.config import Settings, state_dir
from runner.errors import ConfigError, RefusedError
from runner.pricing import reader, written
from runner.pricing.book import Entry, builtin, updated
from runner.pricing.compare import Change, changes
from runner.store import journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What an update file does: changes by model (none: the model is new), where it was written, and the whole book."""

    changed: Mapping[str, Sequence[Change]]
    place: Path
    digest: str

    @property
    def lower(self) -> list[str]:
        """Every change that makes some call cheaper."""
        return [f"{name} {one.what}" for name, every in self.changed.items() for one in every if one.lowers]


def update(source: Path, settings: Settings, state: State, *, lower: bool) -> Update:
    """Put the entries of a file over those of the built-in book, and keep them.

    Of two for one model, the one that was true later counts.

    Raises ConfigError for a file that cannot be used, RefusedError for one that an agent may have written, or that
    lowers a price without `lower`; then nothing was written.
    """
    _refuse_workspace(source, state)
    place = pricefile.update_file(settings)
    before = _kept(place)
    known = {**builtin(), **before}
    entries = _read(source, known)
    changed = {
        name: changes(known[name], entry) if name in known else []
        for name, entry in sorted(entries.items())
        if name not in known or changes(known[name], entry)
    }
    after = {**before, **{name: entries[name] for name in changed}}
    found = Update(changed=changed, place=place, digest="")
    if found.lower and not lower:
        raise RefusedError(
            f"this lowers {len(found.lower)} prices, and nothing was changed: {', '.join(found.lower[:5])}",
            hint="look them up at the provider; if they are right: the same with --lower",
        )
    if changed:
        state_dir(settings.state_dir.value)
        as_of = max(entry.as_of for entry in after.values())
        _write(place, written.write(after.values(), as_of=as_of, sources={"update": source.name}))
    return Update(changed=changed, place=place, digest=pricefile.book(settings).digest)


def _kept(place: Path) -> dict[str, Entry]:
    try:
        return updated(place.read_bytes(), str(place))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read the prices: {error.strerror}", path=place, hint="mend or remove it") from None


def _read(source: Path, known: Mapping[str, Entry]) -> dict[str, Entry]:
    """A book as runner writes it, or a price file as people write it, none of it free."""
    text = pricefile.text_of(source)
    if text.lstrip().startswith("{"):
        return updated(text.encode(), str(source))
    found = reader.read(text, source, known)
    if found.contracts:
        raise ConfigError("a contract is your own word", path=source, hint="write it to a file named with --prices")
    data = written.write(found.entries.values(), as_of=date.min, sources={})
    return updated(data, str(source))


def _refuse_workspace(source: Path, state: State) -> None:
    if not state.database.exists():
        return
    database = state.open(create=False)
    try:
        folders = {row.workspace for row in journal.runs(database)}
    finally:
        database.close()
    real = source.resolve()
    for folder in folders:
        if real.is_relative_to(folder):
            raise RefusedError(
                f"{source} lies in {folder}, where an agent works: it may have written it",
                hint="look at it, and name a copy that lies elsewhere",
            )


def _write(place: Path, data: bytes) -> None:
    number, name = tempfile.mkstemp(dir=place.parent, prefix=place.name)
    with os.fdopen(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(place)
