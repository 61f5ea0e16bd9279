"""Matches a regular expression against lines, in a process of its own.

A pattern can take for ever and Python cannot be told to stop matching, so the one who matches must be one who can be
killed: by the alarm set here, or with the pipe that feeds it. Run as a script by `runner.tools.search`.

Standard input: the pattern, NUL; then for each file its path, NUL, its text, NUL. Standard output: `path:line: text`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator

SECONDS = 20
MOST_LINES = 500
SHOWN = 300
LONGEST_LINE = 100_000


def received() -> Iterator[str]:
    """The NUL-terminated items of standard input."""
    rest = b""
    while data := os.read(0, 1 << 20):
        *items, rest = (rest + data).split(b"\0")
        yield from (item.decode("utf-8", "replace") for item in items)


def main() -> None:
    """Read files, print matching lines, stop at the limits."""
    signal.alarm(SECONDS)
    target = sys.stdout
    items = received()
    search = re.compile(next(items, "")).search
    given = 0
    for path, text in zip(items, items, strict=False):
        for number, raw in enumerate(text.removesuffix("\n").split("\n"), 1):
            line = raw.rstrip("\r")
            found = search(line[:LONGEST_LINE])
            if found is None:
                continue
            start = max(0, found.start() - SHOWN // 3)
            shown = ("…" if start else "") + line[start : start + SHOWN] + ("…" if start + SHOWN < len(line) else "")
            target.write(f"{path}:{number}: {shown}\n")
            given += 1
            if given >= MOST_LINES:
                target.write(f"[stopped after {MOST_LINES} lines; narrow the pattern, path or glob]\n")
                return


if __name__ == "__main__":
    main()
