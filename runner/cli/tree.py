"""The names of all commands, each with the module that brings it once it is typed: `--help` imports none of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from runner.cli.pages import Page


@dataclass(frozen=True, slots=True)
class Listed:
    """One command: `runner.cli.<module>` has `register(app)`; `line` is the first line of the command's own help."""

    module: str
    line: str


COMMANDS = {
    "loop": Listed("loop", "Run the agent on a spec until its checks say it is done."),
    "resume": Listed("loop", "Go on with a run, with other limits if you like."),
    "stop": Listed("stop", "Stop a run, or all; then no request reaches a provider."),
    "allow-starts": Listed("starts", "Let runs start again after `runner stop --all`."),
    "runs": Listed("runs", "List what ran: how it stands, what it reached and cost."),
    "show": Listed("runs", "Show one run whole: limits, money, checks, what is next."),
    "watch": Listed("watch", "Watch a run that another process drives."),
    "top": Listed("watch", "Show all runs that go on or could go on, in one live table."),
    "checkpoints": Listed("checkpoints", "List a run's checkpoints: when, why, what changed."),
    "diff": Listed("checkpoints", "Show what changed between two checkpoints of a run."),
    "log": Listed("log", "Print every step of a run, or check that its log is whole."),
    "audit": Listed("audit", "Check that the record is whole, and write it out for auditors."),
    "where": Listed("where", "List everything runner owns on this machine, with sizes."),
    "clean": Listed("where", "Remove old ended runs, or everything; list first, and ask."),
    "rollback": Listed("rollback", "Set a run's workspace back to a checkpoint, byte by byte."),
    "apply": Listed("apply", "Bring what a run did in its own copy into your directory."),
    "export": Listed("apply", "Write a run's checkpoints as a branch of your repository."),
    "budget": Listed("budget", "Show and set the caps that several runs share."),
    "policy": Listed("policy", "Check, try and explain what a policy allows."),
    "protect": Listed("protect", "List a run's protected files, or accept a change of one."),
    "approvals": Listed("approvals", "List the calls that wait for somebody, and say yes or no."),
    "spec": Listed("spec", "Say what is understood of a spec, and what it may cost."),
    "config": Listed("config", "Show every setting: its value, and who says so."),
    "models": Listed("models", "List the models that have a price, and which one would be used."),
    "prices": Listed("prices", "Show what a model costs in every class, or take newer prices in."),
    "doctor": Listed("doctor", "Look over this machine: what works, and how to mend the rest."),
    "init": Listed("init", "Write a commented spec to begin with."),
    "record": Listed("record", "Write a recording of a run, to play it again at no cost."),
    "completion": Listed("completion", "Print or install the completion of a shell."),
    "help": Listed("help", "Show the help of a command, as its --help does."),
}

# How `runner --help` lists them. What is named here and not above is not shown; what is in no group comes last.
GROUPS = {
    "Run": ("init", "spec", "loop", "resume", "stop", "allow-starts"),
    "Look": ("runs", "show", "watch", "top", "log", "audit", "checkpoints", "diff"),
    "Take over, or take back": ("apply", "export", "rollback", "record"),
    "Bounds": ("budget", "policy", "protect", "approvals"),
    "This machine": ("config", "models", "prices", "doctor", "where", "clean", "completion", "help"),
}


class Later(TyperCommand):
    """A command by name and line; everything else is asked of the real one, imported then."""

    def __init__(self, name: str, listed: Listed) -> None:
        super().__init__(name, short_help=listed.line, rich_markup_mode=None)
        self._module = listed.module

    def real(self) -> Shown | ShownGroup:
        """Import the real one."""
        return real(self._module, self.name or "")

    # typer keeps the types of contexts to itself
    def make_context(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401  as above
        """Begin the real command."""
        return self.real().make_context(*arguments, **extra)


class Shown(TyperCommand):
    """A command whose `--help` begins with examples."""

    # typer keeps the types of contexts to itself
    def get_help(self, ctx: Any) -> str:  # noqa: ANN401  as above
        """Give the help as text, as wide as the terminal is."""
        return _help(self, ctx)


class ShownGroup(TyperGroup):
    """A group of commands, shown in the same way."""

    # as above
    def get_help(self, ctx: Any) -> str:  # noqa: ANN401  as above
        """As of a command."""
        return _help(self, ctx)


# as above
def _help(command: Shown | ShownGroup, ctx: Any) -> str:  # noqa: ANN401  as above
    from runner.cli.helping import rendered
    from runner.cli.pages import page

    return rendered(page(command, tuple(ctx.command_path.split()[1:])))


class Tree(ShownGroup):
    """The group of all listed commands."""

    # what a group is made of is typer's own business
    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  as above
        super().__init__(**attributes)
        for name, listed in COMMANDS.items():
            self.add_command(Later(name, listed))

    # as above
    def get_help(self, ctx: Any) -> str:  # noqa: ANN401  as above
        """Give the help with the commands by group, importing none of them."""
        from runner.cli.helping import rendered

        return rendered(self.page())

    def page(self) -> Page:
        """Describe the program as a whole, with the lines of its commands and no more of them."""
        from dataclasses import replace

        from runner.cli.pages import page

        listed = tuple((title, tuple(names.items())) for title, names in grouped().items())
        return replace(page(self, (), deep=False), commands=listed)


def root() -> Tree:
    """Give the program as typer builds it."""
    from runner.cli.main import app

    tree = get_command(app)
    if not isinstance(tree, Tree):
        msg = "the program is no tree of commands"
        raise TypeError(msg)
    return tree


def every() -> Page:
    """Describe the program and every command in it, in the order of the list. Imports all of them."""
    from dataclasses import replace

    from runner.cli.pages import page

    names = [name for names in grouped().values() for name in names]
    return replace(root().page(), pages=tuple(page(real(COMMANDS[name].module, name), (name,)) for name in names))


def grouped() -> dict[str, dict[str, str]]:
    """Give the groups of `runner --help`, each with its commands and their lines."""
    groups = {
        title: {name: COMMANDS[name].line for name in names if name in COMMANDS} for title, names in GROUPS.items()
    }
    shown = {name for names in groups.values() for name in names}
    groups["More"] = {name: listed.line for name, listed in COMMANDS.items() if name not in shown}
    return {title: names for title, names in groups.items() if names}


def real(module: str, name: str) -> Shown | ShownGroup:
    """Import a command's module and give the command as typer builds it."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_nothing)  # one command beside a callback stays a command of a group
    importlib.import_module(f"runner.cli.{module}").register(app)
    _show_in_our_way(app)
    group = get_command(app)
    command = group.commands[name] if isinstance(group, TyperGroup) else None
    if not isinstance(command, Shown | ShownGroup):
        msg = f"runner.cli.{module} registers no command {name!r}"
        raise TypeError(msg)
    return command


def _show_in_our_way(app: typer.Typer) -> None:
    for one in app.registered_commands:
        one.cls = Shown
    for group in app.registered_groups:
        group.cls = ShownGroup
        if group.typer_instance is not None:
            _show_in_our_way(group.typer_instance)


def _nothing() -> None:
    """Do nothing before a command."""
