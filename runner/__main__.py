"""The `runner` command: hand the keys over first, then read the command line."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command; the result is the exit code."""
    from runner.handover import ensure

    keys = ensure(sys.argv[1:])

    from runner.cli import run

    return run(keys)


if __name__ == "__main__":
    sys.exit(main())
