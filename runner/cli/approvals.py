"""`runner approvals`: the calls that wait for somebody, and saying yes or no to one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.serve import asked, link, serve

if TYPE_CHECKING:
    from runner.app.questions import Question
    from runner.store.database import Database

Name = Annotated[str, typer.Argument(metavar="APPROVAL", help="Its id, the start of one, or `last`.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; the agent is told of a no, the record has it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="List the calls that wait for somebody, and say yes or no.",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("list")(list_)
    group.command("show")(show)
    group.command("approve")(approve)
    group.command("deny")(deny)
    group.command("serve")(serve)
    group.command("link")(link)
    app.add_typer(group, name="approvals")


def list_(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that are closed, and who answered how often.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """List the calls that wait for an approval, and for how long.

    Example:
      runner approvals list
    """
    from runner.app import approvals
    from runner.app.clock import SystemClock
    from runner.app.questions import Questions
    from runner.cli.output import document, say, table

    if (reply := asked({"want": "list"}, elsewhere=True)) is not None:
        document(reply["approvals"]) if as_json else say(str(reply["text"]))
        return 0
    database = _database()
    questions = None if database is None else Questions(database)
    found = [] if questions is None else questions.every() if every else questions.open()
    if as_json:
        document([approvals.document(one) for one in found])
        return 0
    if not found:
        say("no call waits for an approval")
        return 0
    now = SystemClock().now()
    table(("APPROVAL", "RUN", "STANDS", "WAITS FOR", "TIME", "CALL"), [_row(one, now) for one in found])
    if every:
        say(*(f"{name}: {count} answers, {yes} of them yes" for name, count, yes in approvals.rates(found)))
    return 0


def show(name: Name = "last", as_json: AsJson = False) -> int:
    """Show a call that waits: what would run, by which rule.

    Example:
      runner approvals show last
    """
    from runner.app import approvals, rendering
    from runner.app.clock import SystemClock
    from runner.cli.output import document, say
    from runner.policy import gates

    if (reply := asked({"want": "show", "approval": name}, elsewhere=True)) is not None:
        document(reply["approval"]) if as_json else say(str(reply["text"]))
        return 0
    found, now = approvals.find(_must(), name), SystemClock().now()
    if as_json:
        document(approvals.document(found))
        return 0
    request, because = found.request, approvals.because(found)
    say(*rendering.page(request, missing=found.tally(now).missing, now=now), *rendering.facts(request))
    say(f"  stands    {approvals.outcome(found)}{f': {because}' if because else ''}", f"  run       {found.run}")
    for one in found.asked.votes:
        by, note = gates.named(one.vote, request.decision.owner), f" ({one.vote.note})" if one.vote.note else ""
        say(f"  said      {'yes' if one.vote.approve else 'no'}: {by}{note}")
    return 0


def approve(
    name: Name,
    note: Note = "",
    for_run: Annotated[
        bool, typer.Option("--for-run", help="For exactly this action until the run ends, where its gates allow that.")
    ] = False,
    edit: Annotated[
        str | None,
        typer.Option("--edit", metavar="FILE", help="Let it have the arguments (a JSON object) of FILE instead."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Say yes to a call that waits.

    A yes is for exactly what `show` shows: if the arguments, a file that the call names, the directory, the policy or
    the sandbox are others when it would start, it does not. Who you are is proved by `runner approvals serve`, or by
    nothing: then your yes counts only for gates that whoever runs the loop may answer. With --edit the call has other
    arguments from then on and is decided from the start.

    Exit codes: 0 said, 1 refused or it does not count, 2 no such approval.

    Examples:
      runner approvals approve a-12

      runner approvals approve last --for-run --note "checked with ops"
    """
    return _say(name, approve=True, note=note, scope="run" if for_run else "once", edit=edit, as_json=as_json)


def deny(name: Name, note: Note = "", as_json: AsJson = False) -> int:
    """Say no to a call that waits; one no ends it.

    Exit codes: 0 said, 1 refused, 2 no such approval.

    Example:
      runner approvals deny last --note "use the staging database"
    """
    return _say(name, approve=False, note=note, scope="once", edit=None, as_json=as_json)


def _say(name: str, *, approve: bool, note: str, scope: str, edit: str | None, as_json: bool) -> int:
    from runner.app import approvals
    from runner.cli.output import document, say

    arguments = "" if edit is None else _arguments(edit)
    word = {"approve": approve, "note": note, "scope": scope, "arguments": arguments}
    if (reply := asked({"want": "answer", "approval": name, **word})) is not None:
        document(reply) if as_json else say(f"{reply['by']}: {reply['text']}")
        return 0
    database = _must()
    question = approvals.find(database, name)
    vote = approvals.unproved(question, approve=approve, note=note, scope=scope)
    found = approvals.say(database, question, vote, arguments=arguments)
    counts = approvals.counts(found, vote)
    if as_json:
        document(approvals.document(found))
    else:
        say(*_told(found, counts=counts))
    return 0 if counts else 1


def _told(found: Question, *, counts: bool) -> list[str]:
    from runner.app.clock import SystemClock

    name, told = found.request.approval, found.tally(SystemClock().now())
    if not counts:
        return [
            f"recorded, but it does not count for {name}: who said it is not proved, or may not approve this",
            "say it where people are known: runner approvals serve",
        ]
    if not told.outcome:
        return [f"recorded; {name} still needs {told.missing}"]
    if found.status == "open":
        return [f"{name} is {told.outcome}; go on with its run: runner resume {found.run}"]
    return [f"{name} is {told.outcome}; run {found.run} takes it from here"]


def _arguments(file: str) -> str:
    """A call's new arguments. Raises ConfigError for what is no JSON object."""
    import sys
    from pathlib import Path

    from runner.errors import ConfigError

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        loaded: object = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read as the arguments of a call: {error}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{file}: the arguments of a call are one JSON object")
    return json.dumps(loaded)


def _row(one: Question, now: int) -> tuple[str, ...]:
    from runner.app import approvals
    from runner.cli.output import age
    from runner.policy import gates

    request, stands = one.request, approvals.outcome(one)
    first = " ".join(request.shown.split())
    left = age(request.expires_at - now) if stands == "open" else "-"
    call = first if len(first) <= _CALL else f"{first[: _CALL - 1]}…"
    return (request.approval, one.run, stands, gates.waits_for(request.gates), left, call)


_CALL = 60


def _database() -> Database | None:
    """The state directory's database; None where nothing ever ran."""
    from runner.app import reach
    from runner.config import load

    settings = load(os.environ)
    state = reach.state_of(settings)
    return reach.open_state(state, settings).database if state.database.exists() else None


def _must() -> Database:
    from runner.errors import NotFoundError

    database = _database()
    if database is None:
        raise NotFoundError("no call waits for an approval: nothing was ever run here")
    return database
