"""`run` and `shell`: a command waited for, or one kept running in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from runner.events.facts import ToolStarted
from runner.ports import Interrupt, ToolOutcome
from runner.sandbox.process import GRACE_S, INTERRUPT_GRACE_S, Command, Ended, Pace, signal_name
from runner.tools.output import Artefacts, Collector, MaskedStream, Masks

_STOPPED = "stopped"
_INTERRUPTED = "interrupted"
_QUIET_S = 0.25
"""Seconds without output after which what came so far counts as whole."""
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every command of a run shares. `limit` in characters, times in seconds.

    `on_output` gets what a command that is waited for prints, as it comes and unmasked.
    """

    vault: Masks
    artefacts: Artefacts
    limit: int
    timeout_s: int
    idle_s: int
    on_output: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class Foreground:
    """A command the model waits for."""

    started: ToolStarted
    command: Command
    settings: Settings
    timeout_s: int | None

    def act(self, interrupt: Interrupt) -> ToolOutcome:
        settings = self.settings
        stream, collector = MaskedStream(settings.vault), Collector(settings.artefacts, settings.limit)
        if interrupt.fired:
            self.command.abandon()
            return ToolOutcome(text="[interrupted before it began]", ok=False, interrupted=True)
        pace = Pace(total_s=self.timeout_s or settings.timeout_s, idle_s=settings.idle_s)
        with interrupt.calling(lambda: self.command.end(INTERRUPT_GRACE_S, _INTERRUPTED)):
            self.command.go()
            ended = self.command.run(self._heard(lambda data: collector.add(stream.feed(data))), pace)
        collector.add(stream.finish())
        collector.close()
        kept = collector.kept()
        left = tuple(settings.vault.mask(words) for words in ended.left)
        return ToolOutcome(
            text=_with_last_line(kept.text, _ending(ended, left)),
            ok=ended.status == 0 and not ended.why,
            artefact=kept.artefact,
            interrupted=ended.why == _INTERRUPTED,
            left_behind=left,
        )

    def _heard(self, take: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Who else listens hears it first."""
        if (listen := self.settings.on_output) is None:
            return take

        def both(data: bytes) -> None:
            listen(data)
            take(data)

        return both

    def abandon(self) -> None:
        self.command.abandon()


class Background:
    """A command that goes on while the model does other things. It is its own preparation."""

    def __init__(
        self,
        started: ToolStarted,
        command: Command,
        settings: Settings,
        *,
        title: str,
        timeout_s: int | None,
        register: dict[str, Background],
    ) -> None:
        self.started = started
        self.handle = ""
        self.title = title
        self._command = command
        self._settings = settings
        self._pace = Pace(total_s=timeout_s)
        self._register = register
        self._stream = MaskedStream(settings.vault)
        self._whole = Collector(settings.artefacts, 0)
        self._news = Collector(settings.artefacts, settings.limit)
        self._heard = 0.0
        self._lock = threading.Lock()
        self._ended: Ended | None = None
        self._thread = threading.Thread(target=self._watch, name=title, daemon=True)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def abandon(self) -> None:
        self._command.abandon()

    def act(self, interrupt: Interrupt) -> ToolOutcome:
        if interrupt.fired:
            self.abandon()
            return ToolOutcome(text="[interrupted before it began]", ok=False, interrupted=True)
        try:
            artefact = self._whole.open("bg")
        except OSError as error:
            self.abandon()
            return ToolOutcome(text=f"its output cannot be kept: {error.strerror}; not started", ok=False)
        self.handle = artefact.removesuffix(".txt")
        self.title = f"{self.handle}: {self.title}"
        self._news = self._no_news()
        self._register[self.handle] = self
        self._heard = time.monotonic()
        self._command.go()
        self._thread.start()
        return ToolOutcome(
            text=f"[started in the background as {self.handle}; ask with output, end with stop]", ok=True
        )

    def _no_news(self) -> Collector:
        return Collector(self._settings.artefacts, self._settings.limit, artefact=self._whole.artefact)

    def _watch(self) -> None:
        ended = self._command.run(self._take, self._pace)
        with self._lock:
            self._keep(self._stream.finish())
            self._ended = ended
            self._whole.close()

    def _take(self, data: bytes) -> None:
        with self._lock:
            self._heard = time.monotonic()
            self._keep(self._stream.feed(data))

    def _keep(self, text: str) -> None:
        self._whole.add(text)
        self._news.add(text)

    def output(self) -> ToolOutcome:
        """What was written since the last time."""
        give_up = time.monotonic() + _PATIENCE_S
        while self.running and time.monotonic() - self._heard < _QUIET_S and time.monotonic() < give_up:
            self._thread.join(_QUIET_S / 4)
        with self._lock:
            if time.monotonic() - self._heard >= _QUIET_S:
                self._keep(self._stream.release())
            news, self._news = self._news, self._no_news()
            ended = self._ended
        kept = news.kept()
        left = tuple(self._settings.vault.mask(words) for words in ended.left) if ended else ()
        return ToolOutcome(
            text=_with_last_line(kept.text, _ending(ended, left) if ended else "[still running]"),
            ok=ended is None or ended.why == _STOPPED or ended.status == 0,
            artefact=kept.artefact,
            left_behind=left,
        )

    def stop(self) -> ToolOutcome:
        """End it; what it wrote last."""
        self._command.end(GRACE_S, _STOPPED)
        self._thread.join()
        return self.output()


def _ending(ended: Ended, left: tuple[str, ...]) -> str:
    """One line that says how a command ended."""
    if ended.why:
        how = f"{ended.why}; ended"
    elif ended.status is None:
        how = "ended; its exit code is unknown"
    elif ended.status < 0:
        how = f"ended by {signal_name(-ended.status)}"
    else:
        how = f"exit code {ended.status}"
    return f"[{how}{'; left behind and ended: ' + ', '.join(left) if left else ''}]"


def _with_last_line(text: str, line: str) -> str:
    return f"{text}\n{line}" if text and not text.endswith("\n") else f"{text}{line}"


def outcome_of_lost(ended: tuple[str, ...]) -> ToolOutcome:
    """What the model is told of a command that was under way when runner died."""
    still = f" What was still running was ended: {', '.join(ended)}." if ended else ""
    return ToolOutcome(
        text="interrupted: runner was ended while this command was under way. It may have run partly or not at all; "
        f"it was not run again.{still} Look at the workspace before you repeat it.",
        ok=False,
        interrupted=True,
        left_behind=ended,
    )
