"""`runner budget`: caps that several runs share."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.budgets import Line


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Show and set the caps that several runs share.",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("show")(show)
    group.command("set")(set_)
    app.add_typer(group, name="budget")


AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON, money in nano-USD.")]


def show(
    every: Annotated[bool, typer.Option("--all", help="Also what is counted for single runs and specs.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show what is spent, unknown, held and left of every budget.

    Those of this project and of you come first. Unknown is the full hold of calls whose outcome nobody could tell; it
    counts as spent.

    Example:
      runner budget show --json
    """
    from runner.app import budgets, reach
    from runner.config import load

    settings = load(os.environ)
    state = reach.state_of(settings)
    if not state.database.exists():
        typer.echo("[]" if as_json else "no budgets yet: nothing ran, and no limit is set (runner budget set)")
        return 0
    access = reach.open_state(state, settings)
    found = budgets.lines(access, budgets.own(settings, access, here()))
    if as_json:
        typer.echo(json.dumps([one.document() for one in found]))
        return 0
    shown = [one for one in found if every or one.budget.scope.kind not in {"run", "spec"}]
    for line in _table(shown):
        typer.echo(line)
    if len(shown) < len(found):
        typer.echo(f"and {len(found) - len(shown)} of single runs and specs: runner budget show --all")
    return 0


def _table(found: list[Line]) -> list[str]:
    from runner.values import format_usd

    head = ["SCOPE", "PERIOD", "LIMIT", "SPENT", "UNKNOWN", "HELD", "HEADROOM"]
    rows = [head]
    for one in found:
        row = one.budget
        period = "total" if row.period == "total" else f"{row.period} {row.bucket} {one.zone}"
        room = None if row.room is None else max(0, row.room)
        money = [format_usd(value) for value in (row.limit, row.spent, row.unknown, row.held, room)]
        rows.append([_short(str(row.scope)), period, *money])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    over = [f"{one.budget}: above its limit, admits no call" for one in found if one.budget.overrun]
    return [*lines, *over]


def _short(scope: str) -> str:
    kind, _, name = scope.partition(":")
    # a first commit's id says no more in full
    is_id = len(name) == 40 and set(name) <= set("0123456789abcdef")
    return f"{kind}:{name[:12]}" if is_id else scope


def set_(
    scope: Annotated[str, typer.Argument(help="project, user, project:NAME, user:NAME or model:NAME.")],
    amount: Annotated[str, typer.Argument(metavar="USD", help="The limit in US dollars; `none` takes it away.")],
    period: Annotated[str, typer.Option("--period", metavar="PERIOD", help="total, day, week or month.")] = "total",
    zone: Annotated[
        str | None, typer.Option("--zone", help="Where days begin, e.g. Europe/Berlin. Default: UTC.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Set what all runs of a project, user or model may spend.

    It binds running runs too, at their next call, and no flag of a run loosens it. 0 allows nothing. A limit below
    what is used already admits no call until it is raised or its period ends.

    Examples:
      runner budget set project 20 --period day --zone Europe/Berlin

      runner budget set user 300 --period month

      runner budget set model:openai/gpt-5.4 none
    """
    from runner.app import budgets, reach
    from runner.errors import ConfigError
    from runner.values import Period

    limit = budgets.amount(amount)
    if period not in set(Period):
        raise ConfigError(f"no such period: {period!r}", hint="total, day, week or month")
    access, settings = reach.reach(os.environ, create=True)
    named = budgets.scope(scope, settings, access, here())
    changed = budgets.set_limit(access, named, limit, period=Period(period), zone=zone)
    if as_json:
        now = budgets.Line(budget=changed.now, zone=changed.zone, ours=False)
        typer.echo(json.dumps({**now.document(), "before_nano_usd": changed.before, "ends": changed.ends}))
    else:
        for line in budgets.told(changed):
            typer.echo(line)
    return 0
