"""What happens in a run right now: the reply that streams, the output of a running command, and words for it all.

The journal has facts only. What lies between two of them is kept in memory for the screen, and a driver leaves it in a
small file for other processes that look on. Both are masked; neither is ever needed to go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from runner.app import build
from runner.errors import ConfigError
from runner.events.facts import CallDispatched, Event, RunCreated, ToolStarted
from runner.secrets import Vault, mask_patterns
from runner.spec.checklist import checklist
from runner.spec.model import Item, Spec
from runner.spec.parse import parse_spec
from runner.state import State, evolve, pass_over
from runner.store import journal
from runner.store.database import Database
from runner.values import Ms, ToolCall

Piece = TypeVar("Piece", str, bytes)

_KEPT = 16_384
"""Characters, or bytes, of a stream that are remembered at least; always more than twice the longest secret."""
_LONGEST_KEY = 4_096
"""Characters of what looks like a key, at most."""
_SHOWN = 1_500
_LONGEST_FILE = 65_536
_PAUSE_S = 0.4
_SPARE = 50
"""A publisher rests so many times longer than its last writing took."""

# orders to a terminal, as programs write them: colours, titles, movements of the cursor, one begun at the very end
_ORDERS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|\Z)|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\|\Z)|[ -/]*[0-~]|\Z)")
_WORD = "".join(map(chr, range(33, 127)))


# ---- streams ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """The masked ends of what streams: a reply under way, and what a running tool printed. `of` says whose they are."""

    of: str = ""
    text: str = ""
    output: str = ""


NOTHING = Streamed()


class Streams:
    """Takes what streams, cheaply, from the thread that drives; any other thread may ask for it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        # a character is four bytes at most
        self._kept = max(_KEPT, 8 * vault.longest)
        self._of = self._text = ""
        self._output = b""
        self._seen, self._streamed = 0, NOTHING
        self.version = 0

    def event(self, event: Event) -> None:
        """Begin anew with each call and each tool."""
        if isinstance(event, CallDispatched):
            self._of, self._text, self._output = str(event.call), "", b""
            self.version += 1
        elif isinstance(event, ToolStarted):
            self._of, self._text, self._output = event.call.id, "", b""
            self.version += 1

    def text(self, piece: str) -> None:
        """Take a piece of the reply under way."""
        if piece:
            self._text = (self._text + piece)[-self._kept :]
            self.version += 1

    def output(self, data: bytes) -> None:
        """Take what the running tool printed."""
        if data:
            self._output = (self._output + data)[-self._kept :]
            self.version += 1

    def now(self) -> Streamed:
        """Give what may be shown: whole words, masked."""
        version = self.version
        if version != self._seen:
            of, text, output = self._of, self._text, self._output
            said = self._whole(text, cut=len(text) == self._kept)
            printed = self._whole(output.decode("utf-8", "replace"), cut=len(output) == self._kept)
            self._streamed = Streamed(of=of, text=said, output=printed) if text or output else NOTHING
            self._seen = version
        return self._streamed

    def _whole(self, raw: str, *, cut: bool) -> str:
        return shown(raw, self._vault, cut=cut) if raw else ""


def shown(raw: str, vault: Vault, *, cut: bool = False) -> str:
    """The end of a stream that is still coming, masked: no half of a secret at either end, no orders to a terminal.

    `cut` says that its beginning may be lost.
    """
    text = _ORDERS.sub("", raw)
    # a word that is not over may be the beginning of a secret
    text = text.rstrip(_WORD)
    text = text[: len(text) - vault.begun(text)]
    whole = mask_patterns(vault.mask(text))
    if cut:
        # what is left of a secret whose beginning was lost stands first
        whole = whole[max(vault.longest, _LONGEST_KEY) :]
    return whole[-_SHOWN:]


# ---- the file for other processes ------------------------------------------------------------------------


@contextmanager
def published(streams: Streams, path: Path) -> Generator[None]:
    """Leave what streams in a file for whoever looks on, a few times a second, while the block runs.

    Written by a thread of its own, in place of the last one, never synced. The first failure is the last attempt.
    """
    over = threading.Event()
    thread = threading.Thread(target=_publish, args=(streams, path, over), name="now.json", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _publish(streams: Streams, path: Path, over: threading.Event) -> None:
    version, pause, last = streams.version, _PAUSE_S, NOTHING
    while not over.wait(pause):
        if streams.version == version:
            continue
        version, began = streams.version, time.thread_time()
        now = streams.now()
        if now == last:
            continue
        last = now
        try:
            _write(path, now)
        except OSError:
            return
        pause = max(_PAUSE_S, _SPARE * (time.thread_time() - began))


def _write(path: Path, now: Streamed) -> None:
    text = json.dumps({"of": now.of, "text": now.text, "output": now.output})
    beside = path.with_suffix(".tmp")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8", errors="replace") as stream:
        stream.write(text)
    beside.replace(path)


def read(path: Path) -> Streamed:
    """What a driver left last; nothing when there is no such file, or it is not whole."""
    try:
        with path.open("rb") as file:
            found: object = json.loads(file.read(_LONGEST_FILE))
    except (OSError, ValueError):
        return NOTHING
    # the keys of a JSON object; each value is looked at
    fields = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    of, text, output = (fields.get(name) for name in ("of", "text", "output"))
    if isinstance(of, str) and isinstance(text, str) and isinstance(output, str):
        return Streamed(of=of, text=text, output=output)
    return NOTHING


# ---- words for it ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What a run does now. `until` counts down to, else `since` counts up from; `streams` may have more of it."""

    what: str
    since: Ms | None = None
    until: Ms | None = None
    streams: str = ""


def doing(state: State) -> Doing:
    """What a driven run does now, as far as its journal tells."""
    iteration = state.iteration
    if state.stopped is not None:
        return Doing(what=f"stopped: {state.stopped.rule}")
    if state.open_tools:
        call = next(reversed(list(state.open_tools.values()))).call
        return Doing(what=asked(call), since=state.at, streams=call.id)
    if state.open_calls:
        return Doing(what="waiting for the model", since=state.at, streams=next(iter(state.open_calls)))
    if iteration is None:
        return Doing(what="getting ready" if not state.scored else "between two iterations", since=state.at)
    if iteration.finished is not None:
        return Doing(what="running the checks", since=state.at)
    if iteration.waiting_since is not None and iteration.refused is not None:
        what = f"waiting: other calls hold what is left of {iteration.refused.scope}"
        return Doing(what=what, since=iteration.waiting_since)
    if iteration.retry_at > state.at:
        return Doing(what=mask_patterns(f"trying again: {iteration.trouble}"), until=iteration.retry_at)
    return Doing(what="working", since=state.at)


def step(state: State) -> int | None:
    """The step under way in its iteration: a call and then its tools; None between iterations."""
    iteration = state.iteration
    if iteration is None or iteration.finished is not None:
        return None
    tools = bool(state.open_tools or iteration.pending or iteration.answered)
    return iteration.steps if tools else iteration.steps + 1


def asked(call: ToolCall) -> str:
    """A tool call in words: `run pytest -q`, `read_file src/a.py`."""
    try:
        found: object = json.loads(call.arguments)
    except (ValueError, RecursionError):
        found = None
    # the keys of a JSON object; each value is looked at
    arguments = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    match arguments:
        case {"argv": list()}:
            # a list of anything; each is made a text
            what = shlex.join(str(one) for one in cast("list[object]", arguments["argv"]))
        case {"command": str(what)} | {"path": str(what)} | {"pattern": str(what)} | {"item": str(what)}:
            pass
        case _:
            what = call.arguments if call.arguments != "{}" else ""
    return mask_patterns(" ".join(f"{call.name} {what}".split()))[:300]


# ---- looking on ------------------------------------------------------------------------------------------


class Follower:
    """Reads a run's journal as it grows."""

    def __init__(self, database: Database, run: str) -> None:
        self._database, self._run = database, run
        self.state = State()

    def news(self) -> Iterator[tuple[Ms, Event, State]]:
        """Every event since the last time, with the state after it. Raises StateError when one is damaged."""
        for row in journal.rows(self._database, self._run, after=self.state.seq):
            stamped = journal.known(self._run, row)
            if stamped is None:
                self.state = pass_over(self.state, row.seq)
                continue
            self.state = evolve(self.state, stamped.event, row.at, row.seq)
            yield row.at, stamped.event, self.state


class Ticks:
    """The checklist of a run's spec, with its ticks as they are in the workspace now. One look costs a `stat`."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._created: RunCreated | None = None
        self._seen: object = None
        self._items: tuple[Item, ...] = ()

    def items(self, state: State) -> tuple[Item, ...]:
        """The items. Their texts are the masked ones of the journal; a file that says something else is not asked."""
        if state.created is not self._created:
            self._created = state.created
            self._file = None if state.created is None else build.spec_file_in(state.created)
            self._seen = None
        seen = (state.spec_text, state.ticked, self._stamp())
        if seen != self._seen:
            self._seen, self._items = seen, self._read(state)
        return self._items

    def _stamp(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            if self._file is not None:
                found = self._file.stat()
                return found.st_mtime_ns, found.st_size
        return None

    def _read(self, state: State) -> tuple[Item, ...]:
        known = checklist(state.spec_text)
        there: tuple[Item, ...] = ()
        if known and self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                there = checklist(self._file.read_text("utf-8"))
        if len(there) != len(known):
            there = known
        return tuple(
            replace(item, ticked=now.ticked or item.text in state.ticked)
            for item, now in zip(known, there, strict=True)
        )


def spec_of(state: State) -> Spec | None:
    """The spec a run goes by; None when its masked text can no longer be read as one."""
    if state.created is None:
        return None
    try:
        return parse_spec(state.created.spec_text, state.created.spec_path, on_path=lambda _: True, now=state.at)
    except ConfigError:
        return None


def both(first: Callable[[Piece], None], second: Callable[[Piece], None]) -> Callable[[Piece], None]:
    """Give a piece to two listeners."""

    def given(piece: Piece) -> None:
        first(piece)
        second(piece)

    return given
