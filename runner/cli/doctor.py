"""`runner doctor`: what works on this machine, and how to mend what does not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.health import Finding
    from runner.secrets import Keys

_MARKS = 4
# a mark is a word; colour only helps to find it
_INKS = {"ok": "32", "note": "2", "warn": "33", "FAIL": "1;31"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    checks: Annotated[
        list[str] | None, typer.Argument(metavar="[CHECK]...", help="Make only these checks; with --call, providers.")
    ] = None,
    network: Annotated[bool, typer.Option("--network", help="Try a connection to the provider, too.")] = False,
    call: Annotated[
        bool, typer.Option("--call", help="Send each configured provider one tiny request, for at most 0.05 USD.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """Look over this machine: what works, and how to mend the rest.

    Checks: python, packages, git, state, database, runs, config, prices, keys, network, sandbox, processes, terminal,
    here. `FAIL` is needed to run, `warn` should be known, `note` needs nothing. Nothing is changed or sent; a probe in
    the state directory is removed again. Keys are shown as present or missing.

    With --call, and only then, every provider with a key and every server of the configuration gets one real request
    (or those that are named: a provider, a server, or a model). It is held and booked like that of any run.

    Exit codes: 0 all well or warnings only, 1 something needed to run is missing, 2 no such check.

    Examples:
      runner doctor

      runner doctor git sandbox

      runner doctor --call anthropic
    """
    from dataclasses import replace

    from runner.errors import ConfigError, closest
    from runner.secrets import Keys

    try:
        from runner.app.health import CHECKS, World, examine, needed
        from runner.app.presence import held
    except ImportError as error:
        return _unusable(error, as_json=as_json)
    for name in [] if call else checks or []:
        if name not in CHECKS:
            near = closest(name, CHECKS)
            hint = f"did you mean {near}?" if near else f"there are: {', '.join(CHECKS)}"
            raise ConfigError(f"there is no check {name!r}", hint=hint)
    keys = held(os.environ, context.obj if isinstance(context.obj, Keys) else None)
    if call:
        return _call(checks or [], keys, as_json=as_json)
    world = World(environ=os.environ, cwd=_cwd(), keys=keys, network=network)
    mask = keys.vault().mask
    found = [(name, replace(one, text=mask(one.text), fix=mask(one.fix))) for name, one in examine(checks or [], world)]
    if as_json:
        _document(found)
    else:
        _show(found)
    return 1 if needed(one for _, one in found) else 0


def _call(wanted: list[str], keys: Keys, *, as_json: bool) -> int:
    """Call providers; 1 when one did not answer."""
    from dataclasses import replace

    from runner.app.doctorcall import Where, call
    from runner.app.health import needed

    mask = keys.vault().mask
    found = [
        ("call", replace(one, text=mask(one.text), fix=mask(one.fix)))
        for one in call(Where(environ=os.environ, cwd=_cwd(), keys=keys), wanted)
    ]
    if as_json:
        _document(found)
    else:
        _show(found)
    return 1 if needed(one for _, one in found) else 0


def _unusable(error: ImportError, *, as_json: bool) -> int:
    """Say that runner's own parts cannot be loaded: then nothing else can be looked at."""
    from runner.cli.output import document, say

    fix = f"{sys.executable} -m pip install --force-reinstall agent-loop-runner"
    if as_json:
        one = {"check": "packages", "mark": "fail", "what": "packages", "finding": str(error), "fix": fix}
        document({"well": False, "findings": [one]})
    else:
        say(f"FAIL  packages  {error}", f"      fix: {fix}")
    return 1


def _cwd() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _show(found: list[tuple[str, Finding]]) -> None:
    from runner.app.health import Mark
    from runner.cli.columns import width, wrapped
    from runner.cli.output import say
    from runner.cli.report import wants_colour

    wide = width()
    room = max((len(one.what) for _, one in found), default=0)
    indent = _MARKS + 2 + room + 2
    coloured = wants_colour(1)
    for _, one in found:
        first, *rest = wrapped(one.text, wide=wide, indent=indent)
        mark = f"{one.mark:<{_MARKS}}"
        if coloured:
            mark = f"\x1b[{_INKS[one.mark]}m{mark}\x1b[0m"
        say(f"{mark}  {one.what:<{room}}  {first}", *rest, coloured=coloured)
        if one.fix:
            say(*(" " * indent + line.strip() for line in wrapped(f"fix: {one.fix}", wide=wide, indent=indent)))
    counted = {mark: sum(one.mark is mark for _, one in found) for mark in Mark}
    say("", _summary(counted[Mark.FAIL], counted[Mark.WARN]))


def _summary(failed: int, warned: int) -> str:
    from runner.values import counted

    warnings = counted(warned, "warning")
    if failed:
        return f"{counted(failed, 'thing')} a run needs {'is' if failed == 1 else 'are'} missing or broken, {warnings}"
    return f"everything needed to run is there, {warnings}" if warned else "all well"


def _document(found: list[tuple[str, Finding]]) -> None:
    from runner.app.health import needed
    from runner.cli.output import document

    document({
        "well": not needed(one for _, one in found),
        "findings": [
            {"check": name, "mark": one.mark.lower(), "what": one.what, "finding": one.text, "fix": one.fix or None}
            for name, one in found
        ],
    })  # fmt: skip
