"""`runner checkpoints` and `runner diff`: what a run kept, and how it differs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.kept import Kept

_MOST_PATHS = 3


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("checkpoints")(checkpoints)
    app.command("diff")(diff)


def checkpoints(
    run: Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")] = "last",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, see the reference's page json.")] = False,
) -> None:
    """List a run's checkpoints: when, why, what changed.

    A checkpoint that the checks judged has its score. `runner rollback` goes back to one.

    Example:
      runner checkpoints last
    """
    from runner.app.kept import kept
    from runner.app.look import look_or_refuse, picture
    from runner.cli.output import document, say, table, when

    found = look_or_refuse(os.environ)
    seen = picture(found, run)
    every = list(kept(found, seen))
    if as_json:
        document([_document(one) for one in every])
    elif not every:
        say(f"run {seen.run} has no checkpoint yet")
    else:
        rows = (
            (str(one.point.made.number), when(one.point.at), _score(one), _changed(one), one.point.made.reason)
            for one in every
        )
        table(("#", "WHEN", "SCORE", "CHANGED", "WHY"), rows, right=frozenset({0, 2}))
        for one in every:
            if one.point.made.skipped:
                say(f"not kept in {one.point.made.number}: {', '.join(one.point.made.skipped)}")


def _score(one: Kept) -> str:
    return "-" if one.point.score is None else f"{one.point.score:.2f}"


def _changed(one: Kept) -> str:
    paths = [change.path for change in one.changed]
    more = f" and {len(paths) - _MOST_PATHS} more" if len(paths) > _MOST_PATHS else ""
    return ", ".join(paths[:_MOST_PATHS]) + more or "-"


def _document(one: Kept) -> dict[str, object]:
    made = one.point.made
    return {
        "number": made.number,
        "at_ms": one.point.at,
        "reason": made.reason,
        "score": one.point.score,
        "changed": [{"path": change.path, "kind": change.kind} for change in one.changed],
        "not_kept": list(made.skipped),
        "commit": made.commit,
        "tree": made.tree,
    }


def diff(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN] [A B]", help="A run, and two checkpoints: numbers, `last` or `best`."),
    ] = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only how much changed in each file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the changed paths, as a JSON object.")] = False,
) -> None:
    """Show what changed between two checkpoints of a run.

    From its first to its last, if none is named.

    Examples:
      runner diff                 all the newest run has done

      runner diff last 2 best     from checkpoint 2 to the best scored one
    """
    from runner.app import kept
    from runner.app.look import look_or_refuse, picture
    from runner.cli.output import document, say

    run, old, new = _understood(words or [])
    found = look_or_refuse(os.environ)
    seen = picture(found, run)
    before, after = seen.point(old), seen.point(new)
    if as_json:
        changed = [{"path": one.path, "kind": one.kind} for one in kept.changes(found, seen, before, after)]
        document({"run": seen.run, "from": before.made.number, "to": after.made.number, "changed": changed})
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if text := kept.diff(found, seen, before, after, stat=stat, colour=colour):
        say(text.removesuffix("\n"), coloured=colour)


def _understood(words: list[str]) -> tuple[str, str, str]:
    match words:
        case []:
            return "last", "0", "last"
        case [run]:
            return run, "0", "last"
        case [old, new]:
            return "last", old, new
        case [run, old, new]:
            return run, old, new
        case _:
            from runner.errors import ConfigError

            raise ConfigError("too many words", hint="runner diff [RUN] A B, e.g. runner diff last 0 best")
