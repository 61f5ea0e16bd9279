"""`runner budget`: caps that several runs share."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
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
    group.command("unknown")(unknown)
    group.command("reconcile")(reconcile)
    app.add_typer(group, name="budget")


AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON, money in nano-USD.")]


def show(
    every: Annotated[bool, typer.Option("--all", help="Also what is counted for single runs and specs.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show what is spent, unknown, held and left of every budget.

    Those of this project and of you come first. Unknown is the full hold of calls whose outcome nobody could tell; it
    counts as spent. Calls that are local or unmetered are in no sum and are told apart.

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
    from runner.cli.sums import apart
    from runner.values import format_usd

    head = ["SCOPE", "PERIOD", "LIMIT", "SPENT", "UNKNOWN", "HELD", "HEADROOM"]
    rows: list[list[str]] = []
    for one in found:
        row = one.budget
        period = "total" if row.period == "total" else f"{row.period} {row.bucket} {one.zone}"
        room = None if row.room is None else max(0, row.room)
        money = [format_usd(value) for value in (row.limit, row.spent, row.unknown, row.held, room)]
        rows.append([_short(str(row.scope)), period, *money])
    lines = _columns(head, rows, right=set(range(2, len(head))))
    over = [f"{one.budget}: above its limit, admits no call" for one in found if one.budget.overrun]
    beside = [
        f"{one.budget}: beside its sums{apart(one.beside.local, one.beside.unmetered).replace(' ·', ',', 1)}"
        for one in found
        if one.beside.local or one.beside.unmetered
    ]
    return [*lines, *over, *beside]


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
    what is used already, or with a bill above what was held, admits no call until it is raised or its period ends.

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
        now = budgets.Line(budget=changed.now, zone=changed.zone, ours=False, beside=changed.beside)
        typer.echo(json.dumps({**now.document(), "before_nano_usd": changed.before, "ends": changed.ends}))
    else:
        for line in budgets.told(changed):
            typer.echo(line)
    return 0


def unknown(as_json: AsJson = False) -> int:
    """List the calls whose outcome nobody knows.

    They were dropped, timed out or cut, and each counts with its whole hold. The provider's own usage report says
    what they cost: runner budget reconcile.

    Example:
      runner budget unknown --json
    """
    from runner.app import reach
    from runner.app import reconcile as app
    from runner.config import load
    from runner.values import format_usd

    settings = load(os.environ)
    state = reach.state_of(settings)
    found = app.pending(reach.open_state(state, settings)) if state.database.exists() else []
    if as_json:
        typer.echo(json.dumps([one.document() for one in found]))
        return 0
    rows = [[one.run, one.call, one.model, _when(one.at), format_usd(one.hold), one.request_id or "-"] for one in found]
    for line in _columns(["RUN", "CALL", "MODEL", "HELD AT (UTC)", "COUNTS", "REQUEST"], rows, right={4}):
        typer.echo(line)
    total = sum(one.hold for one in found)
    typer.echo(f"{len(found)} unknown, {format_usd(total)} in all" if found else "no call's outcome is unknown")
    return 0


def reconcile(
    report: Annotated[Path, typer.Option("--from", metavar="FILE.csv", help="The provider's usage report.")],
    as_json: AsJson = False,
) -> int:
    """Lower what unknown calls count for, by a provider's usage report.

    CSV, its first line `request_id,cost_usd` for single requests (a column `model` may say more), or
    `start,end,model,cost_usd` for all calls of a model in a span of time (UTC, ended a day ago at least): an unknown
    call of that span counts with the whole bill at most. An id that several calls had is evidence for none of them.
    Each lowering is an event of its run, with the report's name. Nothing is lowered without such a row.

    Exit codes: 0 done, 2 the report cannot be read, 75 a run is being driven, and keeps its holds until the next time.

    Example:
      runner budget reconcile --from provider-usage.csv
    """
    from runner.app import evidence, reach
    from runner.app import reconcile as app
    from runner.errors import BusyError
    from runner.values import format_usd

    rows = evidence.read(report)
    access, _ = reach.reach(os.environ)
    done = app.apply(access, rows, source=str(report))
    left = app.pending(access)
    if as_json:
        found = {"lowered": [one.document() for one in done], "unknown": [one.document() for one in left]}
        typer.echo(json.dumps(found))
    else:
        for one in done:
            amounts = f"{format_usd(one.pending.hold)} -> {format_usd(one.cost)}"
            said = f"kept: {one.why}" if one.why else one.evidence
            typer.echo(f"run {one.pending.run} call {one.pending.call}: {amounts} ({said})")
        total = sum(one.pending.hold - one.cost for one in done if not one.why)
        typer.echo(f"lowered by {format_usd(total)}; {len(left)} unknown, {format_usd(sum(one.hold for one in left))}")
    return BusyError.exit_code if any(one.busy for one in done) else 0


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _columns(head: list[str], rows: list[list[str]], *, right: set[int]) -> list[str]:
    every = [head, *rows] if rows else []
    widths = [max(len(row[column]) for row in every) for column in range(len(head))] if every else []
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in every
    ]
