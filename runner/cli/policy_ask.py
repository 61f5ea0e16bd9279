"""`runner policy explain`, `decide` and `replay`: calls put before a policy. Nothing in here executes one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.app.replaying import Replayed
    from runner.values import ToolCall

Chosen = Annotated[
    str | None, typer.Option("--policy", metavar="NAME", help="A policy by name, or a file (also RUNNER_POLICY).")
]
Org = Annotated[Path | None, typer.Option("--org", metavar="DIR", help="Organisation policies to go by as well.")]
Sandboxed = Annotated[bool, typer.Option("--sandboxed", help="Decide as in a sandbox; otherwise there is none.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def explain(
    text: Annotated[str | None, typer.Argument(metavar="[COMMAND]", help="A command line of the shell tool.")] = None,
    *,
    call: Annotated[
        str | None, typer.Option("--call", metavar="FILE", help="A call as JSON, {tool, args}; - reads it here.")
    ] = None,
    policy: Chosen = None,
    org: Org = None,
    sandboxed: Sandboxed = False,
    as_json: AsJson = False,
) -> int:
    """Say how a call would be decided, by which rule, and why.

    Every other rule that speaks of it is listed, and the facts they rest on. Nothing is executed.

    Examples:
      runner policy explain 'git status; rm -rf x'

      runner policy explain --call call.json --policy overnight
    """
    from runner.app import rules
    from runner.app.explain import explain as explained
    from runner.app.judge import decided
    from runner.cli.here import here
    from runner.cli.output import document, say
    from runner.tools.surroundings import WorkspaceSurroundings

    asked = _asked(text, call)
    book = rules.here(os.environ, here(), policy=policy, org=org)
    around = WorkspaceSurroundings(here(), os.environ, sandboxed=sandboxed)
    decision, facts = decided(book, asked, around)
    found = explained(book, asked, decision, facts)
    if as_json:
        document(found.document())
    else:
        say(*found.lines())
    return 0


def _asked(text: str | None, call: str | None) -> ToolCall:
    from runner.app.batch import call_of
    from runner.errors import ConfigError
    from runner.values import ToolCall

    if (text is None) == (call is None):
        raise ConfigError("name one call: a command line, or --call FILE", hint="runner policy explain 'git push'")
    if call is None:
        return ToolCall("asked", "shell", json.dumps({"command": text}))
    try:
        return call_of(sys.stdin.buffer.read() if call == "-" else Path(call).read_bytes())
    except ValueError as error:
        raise ConfigError(str(error), path=call) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=call, hint="check its path") from None


def decide(
    policy: Chosen = None,
    org: Org = None,
    batch: Annotated[bool, typer.Option("--batch", help="Read JSON lines, and answer each with one.")] = False,
    sandboxed: Sandboxed = False,
) -> int:
    """Decide calls that another system asks about.

    On standard input {"id", "tool", "args"}, on standard output {"id", "decision", "rule", "reason"}; with --batch
    one a line, each answered at once. For the shell tool args is {"command": "…"}. What cannot be read is denied.
    Nothing is executed. Files count as those of the current directory.

    Example:
      runner policy decide --policy default --batch
    """
    from runner.app import rules
    from runner.app.batch import answer
    from runner.cli.here import here
    from runner.tools.surroundings import WorkspaceSurroundings

    book = rules.deciding(os.environ, policy, org=org)
    around = WorkspaceSurroundings(here(), os.environ, sandboxed=sandboxed)
    lines: Iterable[bytes] = sys.stdin.buffer if batch else (sys.stdin.buffer.read(),)
    for line in lines:
        if line.strip():
            sys.stdout.write(json.dumps(answer(book, line, around)) + "\n")
            sys.stdout.flush()
    return 0


def replay(
    run: Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")],
    policy: Annotated[str, typer.Option("--policy", metavar="NAME", help="The policy to decide by: a name or a file.")],
    org: Org = None,
    every: Annotated[bool, typer.Option("--all", help="Also the calls that are decided as they were.")] = False,
    as_json: AsJson = False,
) -> int:
    """Decide the calls of a recorded run again, under another policy.

    What would have been stopped, and what would have run; nothing is executed.

    Example:
      runner policy replay last --policy overnight
    """
    from runner.app import reach, rules
    from runner.app.replaying import replay as replayed
    from runner.cli.output import document, say

    book = rules.deciding(os.environ, policy, org=org)
    access, _ = reach.reach(os.environ)
    name, created, _ = reach.fold(run, access)
    calls = list(replayed(access.database, name, book, Path(created.workspace), os.environ))
    shown = [one for one in calls if every or one.stopped or one.loosened]
    if as_json:
        document([one.document() for one in shown])
        return 0
    say(*(access.vault.mask(_line(one)) for one in shown))
    stopped, loosened = sum(one.stopped for one in calls), sum(one.loosened for one in calls)
    say(f"{len(calls)} calls of run {name}: {stopped} would be stopped, {loosened} that were refused would run")
    return 0


def _line(one: Replayed) -> str:
    said = "would be stopped" if one.stopped else "would run" if one.loosened else "as it was"
    by = f"{one.now.ruling.value} by {one.now.rule or 'default'}" + (f" ({one.now.place})" if one.now.place else "")
    arguments = one.call.arguments if len(one.call.arguments) <= 100 else one.call.arguments[:99] + "…"
    return f"{one.seq}  iteration {one.iteration}  {one.call.name} {arguments}: {said}: {by}"
