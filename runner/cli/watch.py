"""`runner watch` and `runner top`: look on at runs that other processes drive. Nothing here touches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.look import Look
    from runner.cli.looking import Onlooker

Run = Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")]
Plain = Annotated[bool, typer.Option("--plain", help="Lines instead of the live view (also RUNNER_PLAIN=1).")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("watch")(watch)
    app.command("top")(top)


def watch(run: Run = "last", plain: Plain = False) -> int:
    """Watch a run that another process drives.

    It looks as on the run's own terminal. It only reads. `q` or Ctrl-C leaves; the run goes on. When the run ends, its
    summary is printed. A run that stands still (interrupted, parked, crashed) is watched until somebody goes on with
    it.

    Where standard output is no terminal, lines are printed from now on until the run stands still.

    Exit codes: 0 however the run ends, and when you leave.

    Examples:
      runner watch last

      runner watch 1b8b18
    """
    import os

    from runner.app.look import look_or_refuse
    from runner.cli.live.terminal import fit
    from runner.cli.looking import Onlooker

    found = look_or_refuse(os.environ)
    onlooker = Onlooker(found, found.find(run).id)
    if onlooker.ended:
        return _ended(onlooker)
    return _lines(onlooker) if plain or not fit(os.environ) else _live(onlooker)


def _ended(onlooker: Onlooker) -> int:
    from runner.app.goon import raise_command
    from runner.cli.ending import told
    from runner.cli.output import say

    state = onlooker.state
    if state.stopped is not None:
        raise_it = raise_command(onlooker.database, onlooker.run, state.stopped, state)
        say(*told(state.stopped, state, raise_it=raise_it))
    return 0


def _lines(onlooker: Onlooker) -> int:
    from runner.cli.lines import PlainScreen
    from runner.cli.looking import followed
    from runner.secrets import Vault

    screen = PlainScreen(Vault({}))
    screen.say(onlooker.standing())
    driven = onlooker.driven
    try:
        followed(onlooker, screen)
    except KeyboardInterrupt:
        screen.say(onlooker.left())
        return 0
    if driven and onlooker.state.stopped is None:
        screen.say(onlooker.standing())
    return _ended(onlooker)


def _live(onlooker: Onlooker) -> int:
    import os

    from runner.cli.live.terminal import coloured
    from runner.cli.looking import watched
    from runner.cli.output import say

    if watched(onlooker, colour=coloured(os.environ)):
        return _ended(onlooker)
    say(onlooker.left())
    return 0


def top(
    once: Annotated[bool, typer.Option("--once", help="Print the table once; so it is without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, see the reference's page json.")] = False,
) -> int:
    """Show all runs that go on or could go on, in one live table.

    It is made anew each second. `q` or Ctrl-C leaves. Ended runs are listed by `runner runs`.

    Examples:
      runner top

      runner top --once
    """
    import os

    from runner.app.look import look
    from runner.cli.live.terminal import fit
    from runner.cli.output import document, say

    found = look(os.environ)
    if as_json:
        document(_documents(found))
    elif once or not fit(os.environ):
        _once(found)
    elif found is None or not _live_table(found):
        say("nothing is running or waits to go on; what ran: runner runs")
    return 0


def _documents(found: Look | None) -> list[dict[str, object]]:
    from runner.cli.looking import Overview

    return [] if found is None else [one.document for one in Overview(found).runs()]


def _once(found: Look | None) -> None:
    from runner.app.clock import SystemClock
    from runner.cli.looking import HEAD, RIGHT, Overview
    from runner.cli.output import say, table

    now = SystemClock().now()
    rows = [] if found is None else [one.cells(now) for one in Overview(found).runs()]
    if rows:
        table(HEAD, rows, right=RIGHT)
    else:
        say("nothing is running or waits to go on; what ran: runner runs")


def _live_table(found: Look) -> bool:
    import os

    from runner.cli.live.terminal import coloured
    from runner.cli.looking import Overview, refreshed

    overview = Overview(found)
    if not list(overview.runs()):
        return False
    refreshed(overview, colour=coloured(os.environ))
    return True
