"""The command line. Importing it reads and prints nothing; commands import what they need when they run."""

from __future__ import annotations

from runner.secrets import Keys

__all__ = ["run"]


def run(keys: Keys) -> int:
    """Run the command that was typed; give its exit code."""
    from runner.cli.edge import guarded
    from runner.cli.main import command
    from runner.cli.typed import take_as_typed

    take_as_typed()
    return guarded(command, keys)
