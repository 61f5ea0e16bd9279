"""`runner stop`: no request reaches a provider once it returns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.halt import Halted
    from runner.config import Settings


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("stop")(stop)


def stop(
    run: Annotated[str | None, typer.Argument(help="A run's id, the start or end of one, or `last`.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Stop every run of this state directory, and let none start.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="With --all: told to whoever wants to start.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print how each run came to stand, as JSON.")] = False,
) -> int:
    """Stop a run, or all; then no request reaches a provider.

    Once this returns, no request of theirs leaves any more. A run's driver is asked first: it cuts the call under way,
    keeps a checkpoint and ends with exit code 9. One that does not answer within about 4 seconds is killed. A run that
    nobody drives (crashed, interrupted, parked) is ended too, so that the next `runner loop`, cron's included, does not
    go on with it. What their commands started is ended with them, whatever session it chose. Returns within 6 seconds.

    With --all no run starts either, and no call leaves and no tool starts, until `runner allow-starts`.

    Exit codes: 0 everything stands still, 1 something does not (it is named), 2 no such run.

    A stopped run goes on with `runner resume RUN`.

    Examples:
      runner stop last

      runner stop --all
    """
    import os

    from runner.app import halt, reach
    from runner.app.places import State
    from runner.config import load
    from runner.errors import ConfigError, NotFoundError
    from runner.store import journal
    from runner.store.database import Database

    if (run is None) == (not every):
        raise ConfigError(
            "say which run to stop: a run's id, or --all" if run is None else "both a run and --all were given",
            hint="runner stop last   runner stop --all   (see `runner runs`)",
        )
    settings = load(os.environ)
    waited_s = halt.age_s()
    if run is None:
        return _stop_all(settings, why, waited_s, as_json=as_json)
    # looking for a run makes no state directory
    if not State(settings.state_dir.value.expanduser()).database.exists():
        raise NotFoundError(f"there is no run {run!r}", hint="nothing was ever run with this state directory")
    state = reach.state_of(settings)
    reading = Database(state.database, read_only=True)
    named = journal.find_run(reading, run).id
    open_runs = [named] if named in halt.standing_open(reading) else []
    reading.close()
    halted = halt.halt(open_runs, state, lambda: reach.open_state(state, settings), waited_s=waited_s)
    return _say(halted, "nothing to stop: this run has ended already", as_json=as_json)


def _stop_all(settings: Settings, why: str, waited_s: float, *, as_json: bool) -> int:
    from runner.app import halt, identity, reach
    from runner.cli.edge import notice

    state = reach.state_of(settings)
    if not state.database.exists():
        state.open().close()
    halted, trouble = halt.halt_all(
        state,
        lambda: reach.open_state(state, settings),
        by=identity.user(),
        why=" ".join(why.split())[:200],
        waited_s=waited_s,
    )
    code = _say(halted, "nothing to stop: no run is going", as_json=as_json)
    if trouble:
        notice("error", f"starts are NOT blocked: {trouble}", "once that is mended, `runner stop --all` again")
        return 1
    if not as_json:
        typer.echo("starts are blocked until: runner allow-starts")
    return code


_TOLD = {
    "stopped": "its driver stopped",
    "killed": "its driver did not answer and was killed",
    "ended": "nobody was driving it; it is ended",
}


def _say(halted: list[Halted], nothing: str, *, as_json: bool) -> int:
    if as_json:
        typer.echo(json.dumps([{"run": one.run, "how": one.how, "detail": one.detail} for one in halted]))
    elif not halted:
        typer.echo(nothing)
    else:
        _tell(halted)
    return 1 if any(one.how == "alive" for one in halted) else 0


def _tell(halted: list[Halted]) -> None:
    from runner.cli.edge import notice

    stopped = [one for one in halted if one.how != "alive"]
    for one in stopped:
        typer.echo(f"run {one.run}: {_TOLD[one.how]}")
    if stopped:
        typer.echo(f"go on: runner resume {stopped[0].run if len(stopped) == 1 else 'RUN'}")
    for one in halted:
        if one.how == "alive":
            hint = "end that process (kill -9), then `runner stop` again"
            notice("error", f"run {one.run}: NOT stopped: {one.detail}", hint)
