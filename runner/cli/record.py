"""`runner record`: a recording of a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("record")(record)


def record(
    run: Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")] = "last",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE when it is there.")] = False,
) -> int:
    """Write a recording of a run, to play it again at no cost.

    It holds the model's replies in order, each for its iteration and step, with the tokens that were paid for; the
    run may still be going. `runner loop SPEC --model replay:FILE` plays it: on a copy of the same workspace, the same
    work, verdict and money come out. Secrets are masked. What a replay cannot do again is said on standard error.

    Exit codes: 0 written, 1 refused (FILE is there, or nothing was answered yet), 2 no such run.

    Examples:
      runner record last > demo.jsonl

      runner record 20261122-0904 -o demo.jsonl
    """
    import os
    import sys

    from runner.app import recordings
    from runner.app.look import look_or_refuse
    from runner.cli.edge import notice, tell

    made = recordings.recording(look_or_refuse(os.environ), run)
    if output is None or str(output) == "-":
        sys.stdout.write(made.text)
    else:
        recordings.write(made.text, output, force=force)
    tell(f"recorded {made.replies} {'reply' if made.replies == 1 else 'replies'} of run {made.run}")
    if made.masked:
        keys = "1 text that looks" if made.masked == 1 else f"{made.masked} texts that look"
        notice("note", f"{keys} like a key: masked, so files written with it differ in a replay")
    for note in made.notes:
        notice("note", note)
    if output is not None:
        tell(f"play it: runner loop SPEC --model replay:{output}")
    return 0
