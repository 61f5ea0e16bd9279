"""Stops from outside: signals of this process, and notes other processes left in the inbox."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from runner.errors import StateError
from runner.events.facts import StopAsked
from runner.store.recorder import JournalRecorder

POLL_S = 0.1
_FIRST = b"\nrunner: finishing this step; Ctrl-C again stops now\n"


@contextmanager
def listening(recorder: JournalRecorder) -> Generator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into facts, and watch the inbox for a stop, while the block runs."""
    interrupts = 0
    # a handler runs between any two lines of the main thread, which may hold a lock just then: it only leaves word
    now_asked: deque[bool] = deque()

    def asked(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        if number == signal.SIGINT:
            interrupts += 1
            now = interrupts > 1
            recorder.post(StopAsked(by="SIGINT", now=now))
            if not now:
                with contextlib.suppress(OSError):
                    os.write(2, _FIRST)
                return
        else:
            recorder.post(StopAsked(by="SIGTERM", now=True))
        now_asked.append(True)

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's user wants the run to outlive the terminal
        heard.append(signal.SIGHUP)
    before = {one: signal.signal(one, asked) for one in heard}
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(recorder, now_asked, over), name="inbox", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        for one, handler in before.items():
            signal.signal(one, handler)


def _watch(recorder: JournalRecorder, now_asked: deque[bool], over: threading.Event) -> None:
    while not over.wait(POLL_S):
        with contextlib.suppress(StateError):  # the driver meets the same error where it can answer it
            if now_asked or recorder.stop_waits():
                recorder.interrupt.fire()
                return
