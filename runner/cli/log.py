"""`runner log`: every step of a run, and whether its record is whole."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.look import Look
    from runner.log.chain import Finding, Report


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("log")(log)


def log(
    what: Annotated[
        str, typer.Argument(metavar="[verify|repair] [RUN]", help="A run's id, or what to do with its log.")
    ] = "last",
    run: Annotated[str | None, typer.Argument(hidden=True)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run stands still.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The stored JSON lines; of verify, its result.")] = False,
) -> int:
    """Print every step of a run, or check that its log is whole.

    `verify` compares log, hash chain and journal, names what it finds and repairs nothing: exit 0 intact, 1 not.
    `repair` writes the log from an intact journal, keeps a copy of the old one, and is on record itself.

    Examples:
      runner log last --follow

      runner log verify last
    """
    from runner.app.look import look_or_refuse

    if what not in {"verify", "repair"} and run is not None:
        from runner.errors import ConfigError

        raise ConfigError(f"one run at a time, not {what!r} and {run!r}", hint="runner log RUN, runner log verify RUN")
    found = look_or_refuse(os.environ)
    if what == "verify":
        return _verify(found, run or "last", as_json=as_json)
    if what == "repair":
        return _repair(found, run or "last", as_json=as_json)
    name = found.find(what).id
    return _stored(found, name, follow=follow) if as_json else _readable(found, name, follow=follow)


def _readable(found: Look, run: str, *, follow: bool) -> int:
    from runner.app.record import events
    from runner.cli.events import line
    from runner.cli.output import say

    for row in events(found, run, follow=follow):
        if row is None:
            sys.stdout.flush()
        else:
            say(line(row))
    return 0


def _stored(found: Look, run: str, *, follow: bool) -> int:
    from runner.app.record import lines

    for line in lines(found, run, follow=follow):
        if line is None:
            sys.stdout.flush()
        else:
            sys.stdout.write(line.decode("utf-8", "replace"))
    return 0


def _verify(found: Look, name: str, *, as_json: bool) -> int:
    from runner.app.record import checked
    from runner.cli.output import document, say

    row, report = checked(found, name)
    if as_json:
        document(_document(row.id, report))
    else:
        say(f"run {row.id}: {'intact' if report.ok else 'NOT intact'}, {report.events} events")
        say(f"  {report.journal}", f"  {report.log}", *(f"  {note}" for note in report.notes))
        if report.next:
            say(f"  {report.next}")
    return 0 if report.ok else 1


def _document(run: str, report: Report) -> dict[str, object]:
    return {
        "run": run,
        "intact": report.ok,
        "events": report.events,
        "journal": _finding(report.journal),
        "log": _finding(report.log),
        "notes": list(report.notes),
    }


def _finding(one: Finding) -> dict[str, object]:
    return {"result": one.result, "how": one.how, "seq": one.seq, "line": one.line, "detail": one.detail}


def _repair(found: Look, name: str, *, as_json: bool) -> int:
    from runner.app.reach import reach
    from runner.app.record import checked, repair
    from runner.cli.output import say
    from runner.errors import RefusedError

    row, report = checked(found, name)
    if not report.journal.ok:
        raise RefusedError(f"the log was left as it is: {report.journal}", hint=report.next)
    if not report.log.ok:
        access, _ = reach(os.environ)
        kept = repair(access, row.id, report)
        if not as_json:
            say(f"was: {report.log}", f"the log of run {row.id} was written anew from its journal")
            if kept is not None:
                say(f"the old one is kept as {kept}")
    return _verify(found, row.id, as_json=as_json)
