"""`runner where` and `runner clean`: what runner owns on this machine, and how it goes away."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.look import Look
    from runner.app.places import State
    from runner.store.journal import RunRow

_OLD = "30d"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("where")(where)
    app.command("clean")(clean)


def where(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> None:
    """List everything runner owns on this machine, with sizes.

    Nothing is made by looking.

    Example:
      runner where
    """
    from runner import config
    from runner.app.belongings import foreign, owned
    from runner.app.look import state_of
    from runner.cli.output import document, say
    from runner.config.settings import user_config_path

    setting = config.load(os.environ).state_dir
    state = state_of(os.environ)
    things = list(owned(state))
    others = foreign(state)
    written, _ = user_config_path(os.environ)
    if as_json:
        document({
            "state_directory": str(state.root),
            "state_directory_source": setting.source,
            "exists": state.root.is_dir(),
            "bytes": sum(one.bytes for one in things),
            "owned": [{"path": str(one.path), "what": one.what, "bytes": one.bytes} for one in things],
            "not_owned": [str(path) for path in others],
            "configuration": str(written),
            "configuration_exists": written.is_file(),
        })  # fmt: skip
        return
    there = "" if state.root.is_dir() else ", not made yet"
    say(f"state directory  {state.root} ({setting.source}{there})")
    say(*(f"  {_amount(one.bytes):>9}  {one.path.name:<14} {one.what}" for one in things))
    say(*(f"             {path.name}: not runner's" for path in others))
    say(f"configuration    {written} ({'yours' if written.is_file() else 'none; runner never writes it'})")
    if things:
        say("runner clean removes old runs, runner clean --all everything listed here")


def _amount(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit in {"B", "KB"} else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def clean(
    older_than: Annotated[str, typer.Option("--older-than", metavar="TIME", help="Age of a run's last event.")] = _OLD,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of it, open runs and sums included.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """Remove old ended runs, or everything; list first, and ask.

    Their logs and checkpoints go with them. Without a terminal it only lists, unless --yes is given. What a run spent
    stays counted in every budget; only --all forgets that too. Open runs are never removed by age.

    Examples:
      runner clean --older-than 7d --yes

      runner clean --all
    """
    from runner.app.look import look, state_of

    if everything:
        return _clean_all(state_of(os.environ), yes=yes, as_json=as_json)
    before = _before(older_than)
    found = look(os.environ)
    return _clean_old(found, before, older_than, yes=yes, as_json=as_json)


def _before(older_than: str) -> int:
    from runner.app.clock import SystemClock
    from runner.errors import ConfigError
    from runner.values import parse_duration

    try:
        return SystemClock().now() - parse_duration(older_than) * 1000
    except ValueError as error:
        raise ConfigError(f"--older-than: {error}", hint="e.g. --older-than 30d") from error


def _clean_old(found: Look | None, before: int, older_than: str, *, yes: bool, as_json: bool) -> int:
    from runner.app.belongings import old
    from runner.cli.output import age, document, say
    from runner.values import counted

    rows = [] if found is None else old(found, before=before)
    if found is None or not rows:
        if as_json:
            document({"removed": [], "would_remove": [], "kept": []})
        else:
            say(f"no ended run is older than {older_than}")
        return 0
    if not as_json:
        from runner.app.clock import SystemClock

        now = SystemClock().now()
        say(*(f"{row.id}  {age(now - row.created_at):>6}  {row.summary.get('spec', '')}" for row in rows))
    if not _agreed(f"remove {counted(len(rows), 'run')}, with logs and checkpoints?", yes=yes, as_json=as_json):
        if as_json:
            document({"removed": [], "would_remove": [row.id for row in rows], "kept": []})
        return 0
    removed, kept = _forget(found, rows)
    if as_json:
        document({"removed": removed, "would_remove": [], "kept": [{"run": run, "why": why} for run, why in kept]})
    else:
        say(f"removed {counted(len(removed), 'run')}", *(f"kept {run}: {why}" for run, why in kept))
    return 75 if kept else 0


def _forget(found: Look, rows: list[RunRow]) -> tuple[list[str], list[tuple[str, str]]]:
    """Remove runs one by one; what somebody is working on is kept."""
    from runner.app.belongings import forget
    from runner.errors import BusyError

    found.database.close()
    database = found.state.open(create=False)
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    for row in rows:
        try:
            forget(found.state, database, row)
        except BusyError as error:
            kept.append((row.id, error.message))
        else:
            removed.append(row.id)
    database.compact()
    database.close()
    return removed, kept


def _clean_all(state: State, *, yes: bool, as_json: bool) -> int:
    from runner.app.belongings import forget_all, owned
    from runner.cli.output import document, say

    things = list(owned(state))
    if not as_json:
        say(*(f"{_amount(one.bytes):>9}  {one.path}" for one in things))
    question = "remove all of it? Every run goes, open ones too, and every budget starts anew"
    agreed = not things or _agreed(question, yes=yes, as_json=as_json)
    left = [str(path) for path in forget_all(state)] if agreed else []
    if as_json:
        paths = [str(one.path) for one in things]
        document({"removed": paths if agreed else [], "would_remove": [] if agreed else paths, "kept": left})
    elif agreed:
        say(f"removed everything runner owned in {state.root}" if things else f"there is nothing in {state.root}")
        say(*(f"left alone, it is not runner's: {path}" for path in left))
    return 0


def _agreed(question: str, *, yes: bool, as_json: bool) -> bool:
    """Ask a person, where there is one; else only --yes is a yes."""
    if yes:
        return True
    if not as_json and sys.stdin.isatty() and sys.stderr.isatty():
        return typer.confirm(question, err=True)
    from runner.cli.edge import notice

    notice("note", "nothing was removed: --yes removes what is listed")
    return False
