"""Looking on: one run followed through its journal, or all that go on in a table. Reads only."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from runner.app.clock import SystemClock
from runner.app.look import Look, with_driver
from runner.app.present import NOTHING, Follower, Streamed, doing, read, spec_of, step
from runner.cli.lines import PlainScreen, Tone
from runner.cli.live.cells import cells, clean, cut
from runner.cli.live.frame import Frame
from runner.cli.live.rows import Row, Span, painted, row
from runner.cli.live.screen import LiveScreen
from runner.cli.live.terminal import Terminal
from runner.cli.output import age
from runner.cli.runs import standing
from runner.events.facts import Event
from runner.secrets import Vault, mask_patterns
from runner.state import State
from runner.store import journal
from runner.store.journal import RunRow
from runner.store.summary import summary
from runner.values import Ms, StopReason, format_usd

_PAUSE_S = 0.25
_TABLE_S = 1.0
_BEGINS_MS = 10_000
_WIDE = 140
_LEAVE = frozenset({"q", "Q", "\x03", "\x04", "\x1b"})
_BEFORE = 6
"""Lines of what happened before that a new onlooker is shown."""


class Onlooker:
    """One run, read as it grows."""

    def __init__(self, found: Look, run: str) -> None:
        self._found, self.run, self.database = found, run, found.database
        self._follower = Follower(found.database, run)
        self._place = found.state.run(run)
        self.before: deque[tuple[Ms, Event, State]] = deque(maxlen=60)
        self.driver: int | None = None
        self.before.extend(self.news())

    @property
    def state(self) -> State:
        return self._follower.state

    @property
    def stopped(self) -> StopReason | None:
        return self.state.stopped

    @property
    def ended(self) -> bool:
        """Whether it is over; what only stands still is not."""
        return self.stopped is not None and not self.stopped.is_open

    @property
    def driven(self) -> bool:
        """Whether somebody drove it at the last look; a run made just now is about to be."""
        made_just_now = self.state.epoch == 0 and SystemClock().now() - self.state.at < _BEGINS_MS
        return self.driver is not None or made_just_now

    def news(self) -> Iterator[tuple[Ms, Event, State]]:
        """Events since the last time. The driver is looked for first: one that is gone has written all it ever will."""
        self.driver = self._found.driver(self.run)
        yield from self._follower.news()

    def streamed(self, state: State) -> Streamed:
        """What streams now, as the driver last said."""
        if self.driver is None or not (state.open_calls or state.open_tools):
            return NOTHING
        return read(self._place.now)

    def standing(self) -> str:
        """How it stands, and what goes on with it."""
        if self.driven:
            pid = f" (pid {self.driver})" if self.driver else ""
            return f"watching run {self.run}{pid}"
        how = f"it was stopped ({self.stopped.kind})" if self.stopped else "its driver is gone (it crashed)"
        return f"run {self.run} is not being driven: {how}; go on: runner resume {self.run}"

    def hints(self) -> tuple[str, ...]:
        """The foot of the live view, for a wide and a narrow terminal."""
        run = self.run.rpartition("-")[2]
        more = f"q leaves, the run goes on · runner stop {run}"
        return (more if self.driven else f"q leaves · go on: runner resume {run}", "q leaves", "q")

    def left(self) -> str:
        """What to say to somebody who leaves."""
        goes = "the run goes on" if self.driven else "nobody drives the run"
        return f"left run {self.run}; {goes}. Back: runner watch {self.run}"


def followed(onlooker: Onlooker, screen: PlainScreen) -> None:
    """Print lines until the run stands still."""
    while onlooker.driven:
        time.sleep(_PAUSE_S)
        for at, event, state in onlooker.news():
            screen.event(at, event, state)
        if onlooker.stopped is not None:
            return


def watched(onlooker: Onlooker, *, colour: bool) -> bool:
    """Show the run until it ends, or somebody leaves; True when it ended."""
    spec = spec_of(onlooker.state)
    screen = LiveScreen(
        Vault({}),
        now=SystemClock().now,
        hints=onlooker.hints(),
        colour=colour,
        target=spec.target if spec is not None and spec.checks else None,
        keys=True,
    )
    screen.say(onlooker.standing())
    screen.before(onlooker.before, _BEFORE)
    try:
        with _signals(screen.pause, screen.go_on), screen.shown():
            driven = onlooker.driven
            while not onlooker.ended:
                screen.stands(
                    onlooker.state, driven=onlooker.driven, streamed=onlooker.streamed, hints=onlooker.hints()
                )
                if screen.key(_PAUSE_S) in _LEAVE:
                    return False
                for at, event, state in onlooker.news():
                    screen.event(at, event, state)
                if driven != onlooker.driven and not onlooker.ended:
                    driven = onlooker.driven
                    screen.say(onlooker.standing())
    except KeyboardInterrupt:
        return False
    return True


@contextmanager
def _signals(give_back: Callable[[], None], take: Callable[[], None]) -> Generator[None]:
    """Ctrl-Z gives the terminal back first; SIGTERM and SIGHUP leave as Ctrl-C does."""

    def suspend(_number: int, _frame: FrameType | None) -> None:
        give_back()
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        take()

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    wanted = {signal.SIGTSTP: suspend, signal.SIGTERM: leave, signal.SIGHUP: leave}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- all of them -----------------------------------------------------------------------------------------

HEAD = ("RUN", "STATUS", "ITER", "STEP", "SCORE", "SPENT", "LIMIT", "HELD", "AGE", "SPEC", "DOING")
RIGHT = frozenset({2, 3, 4, 5, 6, 7, 8})
_DROPPED = ("SPEC", "AGE", "HELD", "LIMIT", "SCORE", "STEP", "ITER", "STATUS")
"""Columns that go first where the terminal is narrow."""


@dataclass(frozen=True, slots=True)
class Going:
    """A run that goes on, or could."""

    document: dict[str, object]

    def cells(self, now: Ms, *, short: bool = False) -> tuple[str, ...]:
        """The run as a row under `HEAD`; `short` names it by the end of its id, which every command takes."""
        run = self.document
        limit, score, now_at = run["limit_nano_usd"], run["score"], run["iteration_step"]
        most = run["limit_iterations"]
        return (
            str(run["run"]).rpartition("-")[2] if short else str(run["run"]),
            standing(run).partition(" (")[0] if short else standing(run),
            f"{run['iterations']}{'' if most is None else f'/{most}'}",
            "-" if now_at is None else str(now_at),
            f"{score:.2f}" if isinstance(score, float) else "-",
            format_usd(_whole(run["spent_nano_usd"])),
            "-" if limit is None else format_usd(_whole(limit)),
            format_usd(_whole(run["held_nano_usd"])),
            age(now - _whole(run["created_at_ms"])),
            os.path.relpath(str(run["spec"])) if os.sep in str(run["spec"]) else str(run["spec"]),
            str(run["doing"]),
        )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


class Overview:
    """All runs that go on or could. Journals of driven ones are read once, then as they grow."""

    def __init__(self, found: Look) -> None:
        self._found = found
        self._followed: dict[str, Follower] = {}

    def runs(self) -> Iterator[Going]:
        """Every one of them, newest first."""
        for one in journal.runs(self._found.database):
            if one.summary.get("status") != "ended":
                yield self._going(one)

    def _going(self, stored: RunRow) -> Going:
        driver = self._found.driver(stored.id)
        follower = self._followed.setdefault(stored.id, Follower(self._found.database, stored.id))
        for _ in follower.news():
            pass
        state = follower.state
        known = with_driver(summary(state), stored, driver)
        going = driver is not None or state.stopped is not None
        said = doing(state).what if going else "nobody drives it (it crashed)"
        more = {"iteration_step": step(state), "limit_iterations": state.limits.iterations, "doing": said}
        return Going({**known, **more})


def refreshed(overview: Overview, *, colour: bool) -> None:
    """Show the table anew each second until somebody leaves, or the terminal is gone."""
    terminal, frame = Terminal(), Frame()

    def draw() -> None:
        size = terminal.size()
        rows = [painted(one, colour=colour).text for one in _table(overview, size.width - 1)]
        shown = rows[: max(1, size.height - 1)]
        terminal.write(frame.update(shown, size) if terminal.ours() else frame.clear())

    def give_back() -> None:
        terminal.write(frame.clear())
        terminal.unhush()

    with suppress(KeyboardInterrupt, OSError), _signals(give_back, lambda: terminal.hush(keys=True)):
        terminal.hush(keys=True)
        try:
            until = 0.0
            while True:
                if time.monotonic() >= until:
                    draw()
                    until = time.monotonic() + _TABLE_S
                if terminal.key(_PAUSE_S) in _LEAVE:
                    return
        finally:
            give_back()


def _table(overview: Overview, width: int) -> list[Row]:
    now = SystemClock().now()
    body = [
        tuple(clean(mask_patterns(cell)) for cell in one.cells(now, short=width < _WIDE)) for one in overview.runs()
    ]
    if not body:
        return [row("nothing is running or waits to go on; what ran: runner runs"), row(Span("q leaves", Tone.FAINT))]
    kept = list(HEAD)
    widths = {name: max(cells(one[index]) for one in (HEAD, *body)) for index, name in enumerate(HEAD)}
    for name in _DROPPED:
        if sum(widths[one] + 2 for one in kept if one != "DOING") + 20 <= width:
            break
        kept.remove(name)
    rows: list[Row] = []
    for line in (HEAD, *body):
        out: list[str] = []
        for index, name in enumerate(HEAD):
            if name in kept:
                blank = " " * (widths[name] - cells(line[index]))
                out.append(blank + line[index] if index in RIGHT else line[index] + blank)
        rows.append(row(Span(cut("  ".join(out).rstrip(), width), Tone.PLAIN if rows else Tone.HEAD)))
    return [*rows, row(Span(cut("q leaves", width), Tone.FAINT))]
