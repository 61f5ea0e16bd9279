"""The `runner` command: hand the keys over first, then read the command line."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def main() -> int:
    """Run one command; the result is the exit code."""
    _open_streams()
    try:
        from runner.handover import ensure

        keys = ensure(sys.argv[1:])

        from runner.cli import run

        return run(keys)
    except KeyboardInterrupt:
        return 130


def _open_streams() -> None:
    """Open what of 0, 1 and 2 was closed, or the next file opened, perhaps the database, would be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  a descriptor, open as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  as above
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115  as above
    if isinstance(sys.stdout, TextIOWrapper):
        # a terminal without UTF-8 is no reason to fall silent; whatever the wrapper wraps, it can be told so
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType]


if __name__ == "__main__":
    sys.exit(main())
