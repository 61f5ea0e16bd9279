"""The machine's own clock."""

from __future__ import annotations

import time

from runner.values import Ms


class SystemClock:
    """Wall time in milliseconds; monotonic time in seconds, which stands still while the machine sleeps."""

    def now(self) -> Ms:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
