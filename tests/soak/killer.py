"""`runner` as installed, that kills itself at one exact place. `python -P killer.py HOW COUNT loop spec.md ...`.

HOW: `before` dies inside the transaction that appends this process's COUNT-th event, its effects done and nothing
written; `after` dies when that transaction is committed and nobody has heard of it (not even the log); `torn` dies
with half of that event's line in the log file.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from runner.__main__ import main
from runner.events.facts import Event
from runner.log.writer import RunLog
from runner.store import recorder


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Count:
    """How many events this process has appended, and the number of the one to die at."""

    def __init__(self, wanted: int) -> None:
        self.appended, self.wanted, self.seq = 0, wanted, 0


def arm(how: str, wanted: int) -> None:
    """Put the bomb in."""
    count = _Count(wanted)
    batch = recorder._Batch
    append, tell, flush = batch.append, batch.tell, RunLog._flush

    def appending(self: recorder._Batch, event: Event) -> None:
        append(self, event)
        count.appended += 1
        if count.appended == count.wanted:
            count.seq = self.state.seq
            if how == "before":
                _die()

    def telling(self: recorder._Batch, listeners: Sequence[recorder.Listener]) -> None:
        if how == "after" and count.seq:
            _die()
        tell(self, listeners)

    def flushing(self: RunLog) -> None:
        if how == "torn" and count.seq and self._pending:
            whole = b"".join(self._pending)
            os.write(self._open(), whole[: len(whole) - len(self._pending[-1]) // 2])
            _die()
        flush(self)

    batch.append, batch.tell = appending, telling  # type: ignore[method-assign]  # the bomb is the point
    RunLog._flush = flushing  # type: ignore[method-assign]  # as above


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    sys.exit(main())
