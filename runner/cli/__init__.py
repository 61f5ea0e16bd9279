"""The command line. Importing it reads and prints nothing; commands import what they need when they run."""

from __future__ import annotations

import sys

from runner.secrets import Keys

__all__ = ["run"]


def run(keys: Keys) -> int:
    """Run the command that was typed; give its exit code."""
    if sys.argv[1:2] == ["_complete"]:
        # a Tab in a shell waits for this, and needs no command line
        from runner.cli.shells.asked import answer

        return answer(sys.argv[2:])
    from runner.cli.edge import guarded
    from runner.cli.main import command
    from runner.cli.typed import take_as_typed

    take_as_typed()
    return guarded(command, keys)
