"""Calls back when a time has passed: one thread for every limit of a process, where timers would take one each."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Alarms:
    """Safe for use from several threads. The thread is made with the first alarm, and ends with the process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def after(self, seconds: float, callback: Callable[[], None]) -> Generator[None]:
        """Call back, in another thread and once, if the block still runs then; possibly when it has just ended."""
        key, when = object(), time.monotonic() + seconds
        with self._changed:
            self._due[key] = (when, callback)
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="alarms", daemon=True)
                self._thread.start()
            # mostly it wakes earlier anyway, for a call that is over by then
            elif when < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due.pop(key, None)

    def _wait(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                ripe = [key for key, (when, _) in self._due.items() if when <= now]
                callbacks = [self._due.pop(key)[1] for key in ripe]
                if not callbacks:
                    self._wakes_at = min((when for when, _ in self._due.values()), default=math.inf)
                    self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            for callback in callbacks:
                callback()
