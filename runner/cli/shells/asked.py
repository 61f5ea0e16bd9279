"""`runner _complete KIND [RUN]`: names a shell's completion asks for, as lines of `name<TAB>what it is`.

It is run at every Tab, so it does without the command line's library, and imports no provider's SDK. Whatever goes
wrong, it prints nothing: a Tab is no place for an error.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.config import Settings

_MOST = 100
"""Of what grows with use."""

_DATED = re.compile(r"-(\d{8}|\d{4}-\d\d-\d\d)$")


def answer(words: Sequence[str]) -> int:
    """Print the names of a kind; 1 where there are none to give."""
    kind, run = (*words, "", "")[:2]
    ask = _KINDS.get(kind)
    if ask is None:
        return 1
    try:
        lines = list(islice(ask(run), None if kind in _WHOLE else _MOST))
    except Exception:  # noqa: BLE001  as the module says
        return 1
    sys.stdout.write("".join(f"{_plain(name)}\t{_plain(about)}\n" for name, about in lines))
    return 0


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _runs(_: str) -> Iterator[tuple[str, str]]:
    from runner.app.look import listed, look

    if (found := look(os.environ)) is None:
        return
    yield "last", "the newest run"
    here = os.getcwd() + os.sep  # noqa: PTH109  a text is shortened, no path is looked at
    for one in listed(found):
        status = str(one["status"])
        stands = str(one.get("stop_reason") or status) if status == "ended" else status
        yield str(one["run"]), f"{stands}, {str(one['spec']).removeprefix(here)}"


def _checkpoints(run: str) -> Iterator[tuple[str, str]]:
    from runner.app.look import look

    if (found := look(os.environ)) is None:
        return
    last = found.find(run or "last").summary.get("checkpoint")
    for number in range(last if isinstance(last, int) else -1, -1, -1):
        yield str(number), "what the run found" if number == 0 else f"checkpoint {number}"


def _models(_: str) -> Iterator[tuple[str, str]]:
    from runner import config
    from runner.app.pricefile import book

    settings = config.load(os.environ)
    entries = book(settings).entries
    # those that can be called as things stand come first; a dated snapshot is typed by who knows its date
    names = [name for name in entries if not _DATED.search(name)]
    for name in sorted(names, key=lambda one: (not _at_hand(one, settings), one)):
        price = entries[name].price
        yield name, f"${price.input / 1e6:g} in, ${price.output / 1e6:g} out per million tokens"


def _at_hand(model: str, settings: Settings) -> bool:
    from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS

    provider = model.partition("/")[0]
    key = {**SUPPORTED_KEYS, **FOREIGN_KEYS}.get(provider)
    return provider in settings.providers.value or (key is not None and bool(os.environ.get(key)))


def _scopes(_: str) -> Iterator[tuple[str, str]]:
    yield "project", "all runs of this project"
    yield "user", "all runs of yours"
    for name, _about in _models(""):
        yield f"model:{name}", "all runs with this model"


_KINDS: dict[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "runs": _runs,
    "checkpoints": _checkpoints,
    "models": _models,
    "scopes": _scopes,
}
_WHOLE = frozenset({"models", "scopes"})
