"""Tell somebody that a run stands still: the user's own command, with the run as JSON on its standard input."""

from runner.notify.hooks import Hooks

__all__ = ["Hooks"]
