"""Stops from outside: signals of this process, and notes other processes left in the inbox."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from runner.errors import StateError
from runner.events.facts import StopAsked
from runner.store.recorder import JournalRecorder

POLL_S = 0.1
_FIRST = "finishing this step; Ctrl-C again stops now"
_OVER = 0  # no signal has this number


class Terminal(Protocol):
    """A terminal that the screen draws on: it tells that a stop was heard, and is given back while we are stopped."""

    def stopping(self, line: str) -> None: ...
    def pause(self) -> None: ...
    def go_on(self) -> None: ...


@contextmanager
def listening(recorder: JournalRecorder, terminal: Terminal | None = None) -> Generator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into facts, and watch the inbox for a stop, while the block runs.

    Ctrl-Z stops the process as ever; a `terminal` is given back before that.

    The word of a signal comes through a pipe to a thread of its own. A handler in Python would run in the main
    thread: while that holds a lock, or not at all when the signal came just before it waits for a provider.
    """
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's user wants the run to outlive the terminal
        heard.append(signal.SIGHUP)
    if terminal is not None:
        heard.append(signal.SIGTSTP)
    earlier = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    before = {one: signal.signal(one, _in_the_pipe) for one in heard}
    watcher = threading.Thread(target=_watch, args=(recorder, ear, terminal), name="signals and inbox", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(earlier)
        os.write(mouth, bytes((_OVER,)))
        watcher.join()
        os.close(ear)
        os.close(mouth)


def _in_the_pipe(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the interpreter has put the signal's number into the pipe."""


def _watch(recorder: JournalRecorder, ear: int, terminal: Terminal | None) -> None:
    interrupts, inbox_read = 0, False
    with selectors.DefaultSelector() as waiting:
        waiting.register(ear, selectors.EVENT_READ)
        while True:
            numbers = os.read(ear, 64) if waiting.select(POLL_S) else b""
            for number in numbers:
                if number == _OVER:
                    return
                if number == signal.SIGTSTP and terminal is not None:
                    _sleep(terminal)
                    continue
                interrupts += number == signal.SIGINT
                _stop(recorder, number, interrupts, terminal)
            with contextlib.suppress(StateError):  # the driver meets the same error where it can answer it
                if not inbox_read and recorder.stop_waits():
                    inbox_read = True
                    recorder.interrupt.fire()


def _sleep(terminal: Terminal) -> None:
    """Stop, as Ctrl-Z asks, until the shell lets us go on."""
    terminal.pause()
    try:
        # to this thread: another one could take it while this one goes on for a moment
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    finally:
        terminal.go_on()


def _stop(recorder: JournalRecorder, number: int, interrupts: int, terminal: Terminal | None) -> None:
    """Pass one signal on: the first Ctrl-C lets the step finish, everything else stops now."""
    if number == signal.SIGINT and interrupts == 1:
        recorder.post(StopAsked(by="SIGINT", now=False))
        if terminal is not None:
            terminal.stopping(_FIRST)
            return
        with contextlib.suppress(OSError):
            os.write(2, f"\nnote: {_FIRST}\n".encode())
        return
    recorder.post(StopAsked(by="SIGINT" if number == signal.SIGINT else "SIGTERM", now=True))
    recorder.interrupt.fire()
