"""The live screen: takes what happens in no time, and draws a few times a second from a thread of its own."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress

from runner.app.present import Streamed, Streams, Ticks
from runner.cli.edge import let_go
from runner.cli.lines import Line, Lines, Tone
from runner.cli.live.frame import Frame, Painted
from runner.cli.live.picture import Moment, region
from runner.cli.live.rows import Span, painted, row
from runner.cli.live.terminal import Terminal, ignored
from runner.events.facts import Event
from runner.secrets import Vault, mask_patterns
from runner.state import State
from runner.values import Ms

_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
_RUSH, _RUSH_PAUSE_S = 12, 1.0
"""So many events in one frame are more than an eye can follow: the next frame comes later."""
_SPARE = 50
"""Between two frames passes so many times what the last one cost in processor time."""
_CLOCK_MS = 1000


class LiveScreen:
    """Implements `ports.Screen`. Everything but the drawing only takes notes.

    `hints` are the last row, in words for a wide and a narrow terminal. Text that was masked before, in a journal, is
    masked again by what looks like a key.
    """

    def __init__(
        self,
        vault: Vault,
        *,
        now: Callable[[], Ms],
        hints: tuple[str, ...],
        colour: bool,
        target: float | None = None,
        keys: bool = False,
    ) -> None:
        self._vault, self._now, self._hints, self._colour, self._target = vault, now, hints, colour, target
        self._keys = keys
        self._terminal, self._frame, self._lines = Terminal(), Frame(), Lines()
        self._streams, self._ticks = Streams(vault), Ticks()
        self._told: Callable[[State], Streamed] | None = None
        self._pending: deque[tuple[Event, State] | Line] = deque()
        self._state = State()
        self._driven = True
        self._noted = self._paused = 0
        self._drawn: object = None
        self._wake, self._over = threading.Event(), threading.Event()
        self._lock = threading.RLock()
        self._gone = self._broken = False

    # ---- taking notes ------------------------------------------------------------------------------------

    def event(self, at: Ms, event: Event, state: State) -> None:
        """Remember what happened."""
        self._streams.event(event)
        self._state = state
        self._pending.append((event, state))
        self._noted += 1

    def text(self, piece: str) -> None:
        """Streamed text of the reply under way."""
        self._streams.text(piece)

    def output(self, data: bytes) -> None:
        """What the running tool printed."""
        self._streams.output(data)

    def say(self, line: str) -> None:
        """A line for good, soon."""
        self._pending.extend(Line(one) for one in line.split("\n"))
        self._noted += 1
        self._wake.set()

    def before(self, events: Iterable[tuple[Ms, Event, State]], lines: int) -> None:
        """Show the last lines of what happened before somebody looked."""
        told = [line for _, event, state in events for line in self._lines.of(event, state)]
        self._pending.extend(told[-lines:])

    def stopping(self, line: str) -> None:
        """Say that the first Ctrl-C was heard, now and until the step is over."""
        self._hints = (line, "Ctrl-C again stops now", "Ctrl-C: now")
        self.say(line)

    def key(self, timeout_s: float) -> str:
        """Wait so long for a key of somebody who looks on; "" when none came."""
        return self._terminal.key(timeout_s)

    def stands(
        self, state: State, *, driven: bool, streamed: Callable[[State], Streamed], hints: tuple[str, ...]
    ) -> None:
        """For who looks on: the state as it is, whether somebody drives, where to ask for what streams, what to do."""
        self._state, self._driven, self._told, self._hints = state, driven, streamed, hints

    # ---- drawing -----------------------------------------------------------------------------------------

    @contextmanager
    def shown(self) -> Generator[None]:
        """Draw while the block runs; afterwards the region is gone, and everything said stands above."""
        thread = threading.Thread(target=self._draw, name="live view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            # an impatient Ctrl-C must not leave a terminal without its cursor: whenever one comes, this begins anew
            over = False
            while not over:
                with suppress(KeyboardInterrupt):
                    self._end(thread)
                    over = True

    def _end(self, thread: threading.Thread) -> None:
        """Give the terminal back for good; as often as you like."""
        with ignored(signal.SIGINT):
            self._over.set()
            self._wake.set()
            # first what needs no writing: a terminal that takes nothing more holds up the rest
            self._terminal.unhush()
            thread.join()
            self._leave()

    def pause(self) -> None:
        """Give the terminal back, until `go_on`. Several may: somebody who is asked here may press Ctrl-Z as well."""
        with self._lock:
            self._paused += 1
            self._leave()

    def go_on(self) -> None:
        """Take the terminal again, at the next frame, once all who paused it say so."""
        with self._lock:
            self._paused -= 1

    def _leave(self) -> None:
        with self._lock:
            self._write(self._printed_only() + self._frame.clear())
            self._terminal.unhush()

    def _draw(self) -> None:
        pause, drawn = 0.0, 0
        while not self._over.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            before = self._noted
            with self._lock:
                try:
                    cost = 0.0 if self._paused else self._tick()
                except Exception as error:  # noqa: BLE001  the run must go on, and be seen, whatever is wrong here
                    cost = self._broke(error)
            least = _RUSH_PAUSE_S if before - drawn > _RUSH else _PAUSE_S
            pause, drawn = min(_LONGEST_PAUSE_S, max(least, _SPARE * cost)), before

    def _broke(self, error: Exception) -> float:
        """A mistake in drawing costs the region, never the lines."""
        if not self._broken:
            self._broken = True
            self._write(self._frame.clear())
            self._pending.append(Line(f"note: the live view broke ({error!r}); lines from here on", Tone.NOTE))
        return 0.0

    def _tick(self) -> float:
        """One frame, if it differs from the last one. What its region cost, in seconds; lines cost what they must."""
        if self._broken or not self._terminal.ours():
            self._write(self._frame.clear() + self._printed_only())
            return 0.0
        state, now, size = self._state, self._now(), self._terminal.size()
        streamed = self._streams.now() if self._told is None else self._told(state)
        moment = (self._noted, streamed, size, (now - state.at) // _CLOCK_MS, self._driven, id(state))
        if moment == self._drawn and self._frame.shown:
            return 0.0
        self._drawn = moment
        if not self._frame.shown:
            self._terminal.hush(keys=self._keys)
        printed = self._printed()
        began = time.thread_time()
        if state.created is None:
            rows = []
        else:
            rows = region(
                Moment(
                    state=state,
                    now=now,
                    streamed=streamed,
                    items=self._ticks.items(state),
                    target=self._target,
                    driven=self._driven,
                    hints=self._hints,
                ),
                size,
            )
        self._write(self._frame.update([painted(one, colour=self._colour).text for one in rows], size, printed))
        return time.thread_time() - began

    def _printed(self) -> list[Painted]:
        out: list[Painted] = []
        while self._pending:
            one = self._pending.popleft()
            for line in (one,) if isinstance(one, Line) else self._lines.of(*one):
                for text in line.text.split("\n"):
                    masked = mask_patterns(self._vault.mask(text))
                    out.append(painted(row(Span(masked, line.tone)), colour=self._colour))
        return out

    def _printed_only(self) -> str:
        if not self._pending:
            return ""
        return self._frame.clear() + "".join(f"{one.text}\r\n" for one in self._printed())

    def _write(self, text: str) -> None:
        if self._gone or not text:
            return
        try:
            self._terminal.write(text)
        except OSError:
            self._gone = True
            let_go(1)
