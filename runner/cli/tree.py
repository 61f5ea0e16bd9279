"""The names of all commands, each with the module that brings it once it is typed: `--help` imports none of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class Listed:
    """One command: `runner.cli.<module>` has `register(app)`; `line` is the first line of the command's own help."""

    module: str
    line: str


COMMANDS = {
    "loop": Listed("loop", "Run the agent on a spec until its checks say it is done, or a limit says stop."),
    "resume": Listed("loop", "Go on with a run, with other limits if you like. No counter starts anew."),
    "stop": Listed("stop", "Stop a run, or all of them. Once this returns, no request of theirs reaches a provider."),
    "runs": Listed("runs", "List what ran, newest first: how it stands, what it reached, what it cost."),
    "show": Listed("runs", "Show one run whole: limits, money, iterations, checks, what is missing, and how to go on."),
    "checkpoints": Listed(
        "checkpoints", "List the checkpoints of a run: when, why, what changed, and the score where one was given."
    ),
    "diff": Listed(
        "checkpoints",
        "Show what changed between two checkpoints of a run, from its first to its last if none is named.",
    ),
    "log": Listed(
        "log",
        "Print every step of a run; `verify` tells whether its log is as it was written, `repair` writes it anew.",
    ),
    "where": Listed("where", "List everything runner owns on this machine, with sizes. Nothing is made by looking."),
    "clean": Listed(
        "where", "Remove old ended runs with their logs and checkpoints, or everything. Lists first, and asks."
    ),
    "rollback": Listed(
        "rollback", "Set a run's workspace back to a checkpoint, byte by byte; keep what is there first."
    ),
    "apply": Listed("apply", "Bring what a run did in its own working copy into your directory."),
    "export": Listed(
        "apply", "Write a run's checkpoints as the branch `runner/RUN` of your repository, a commit each."
    ),
    "budget": Listed("budget", "Show and set the caps that runs of a project, a user or a model share."),
    "protect": Listed(
        "protect", "List a run's protected files: unchanged, changed by the agent or by somebody else, accepted."
    ),
    "spec": Listed("spec", "Say what is understood of a spec, what it costs at worst, and whether every cap can bind."),
    "init": Listed("init", "Write a commented spec to begin with. A file that is there already is never touched."),
}


class Later(TyperCommand):
    """A command by name and line; everything else is asked of the real one, imported then."""

    def __init__(self, name: str, listed: Listed) -> None:
        super().__init__(name, short_help=listed.line, rich_markup_mode=None)
        self._module = listed.module

    # typer keeps the types of contexts to itself
    def make_context(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401  as above
        """Begin the real command."""
        return real(self._module, self.name or "").make_context(*arguments, **extra)


class Tree(TyperGroup):
    """The group of all listed commands."""

    # what a group is made of is typer's own business
    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  as above
        super().__init__(**attributes)
        for name, listed in COMMANDS.items():
            self.add_command(Later(name, listed))


# what typer returns here has no public name
def real(module: str, name: str) -> Any:  # noqa: ANN401  as above
    """Import a command's module and give the command as typer builds it."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_nothing)  # one command beside a callback stays a command of a group
    importlib.import_module(f"runner.cli.{module}").register(app)
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        msg = f"runner.cli.{module} registers no commands"
        raise TypeError(msg)
    return group.commands[name]


def _nothing() -> None:
    """Do nothing before a command."""
