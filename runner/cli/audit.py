"""`runner audit`: evidence of what ran, who let it run, and that the record of it is whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Check that the record is whole, and write it out for auditors.",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("verify")(verify)
    group.command("export")(export)
    app.add_typer(group, name="audit")


def verify(
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="An earlier result of --json, kept elsewhere.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, with the head of every run.")] = False,
) -> int:
    """Check that all records are whole, and all in them was let run.

    Looks at each run's hash chain and log, as `runner log verify` does; that every tool that started was decided, under
    the policy its run went by; that every approval was given by votes that count, in time, and used for what was
    approved; and that nothing began while `runner stop --all` held. Repairs nothing.

    A chain does not show that all of it was rewritten. Keep the result of --json on another machine: --against holds
    the record against it, and says how many events have come since.

    Exit codes: 0 nothing is wrong, 1 something is (it is named).

    Example:
      runner audit verify
    """
    from dataclasses import asdict

    from runner.app.auditing import audit, heads_in
    from runner.app.look import look_or_refuse
    from runner.cli.output import document, say
    from runner.values import counted

    heads = None if against is None else heads_in(against)
    found = audit(look_or_refuse(os.environ), heads)
    if as_json:
        document({"ok": found.ok, **asdict(found)})
    else:
        say(f"{counted(found.runs, 'run')}, {counted(found.events, 'event')}: {'intact' if found.ok else 'NOT intact'}")
        say(*(f"  {one}" for one in found.faults))
        if found.unanchored is None:
            say("  held against no earlier result: a record rewritten as a whole would not be seen (--against)")
        else:
            say(f"  {counted(found.unanchored, 'event')} came since {against}: the unanchored tail")
    return 0 if found.ok else 1


def export(
    since: Annotated[
        str, typer.Option("--from", metavar="DATE", help="The first moment, a date or a date with a time.")
    ] = "1970-01-01",
    until: Annotated[
        str, typer.Option("--to", metavar="DATE", help="The moment to stop before; now if not given.")
    ] = "",
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="jsonl or csv.")] = "jsonl",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here, and make no file that is there already.")
    ] = None,
) -> int:
    """Write what was decided, approved, run and stopped, line by line.

    Each record names the agent, the run's owner and the approver as three fields, with rule, file and line, the
    policy's digest and the hash of the event in the journal. Dates are UTC unless they say otherwise. Secrets are
    masked, long texts cut. What each field is evidence for stands in docs/reference/audit.md.

    Example:
      runner audit export --from 2026-11-01 --to 2026-12-01 --format csv --out november.csv
    """
    from runner.app import audit
    from runner.app.clock import SystemClock
    from runner.app.look import look_or_refuse
    from runner.config import load
    from runner.errors import ConfigError
    from runner.secrets import Keys, mask_patterns

    if form not in {"jsonl", "csv"}:
        raise ConfigError(f"--format {form}: neither jsonl nor csv")
    first = audit.moment(since, "--from")
    last = audit.moment(until, "--to") if until else SystemClock().now() + 1
    vault = Keys().vault(load(os.environ).listed_secrets())
    found = look_or_refuse(os.environ)
    records = audit.records(found.database, first, last, lambda text: mask_patterns(vault.mask(text)))
    lines = audit.as_csv(records) if form == "csv" else audit.as_jsonl(records)
    if out is None:
        sys.stdout.writelines(lines)
        return 0
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", path=out) from error
    return 0
