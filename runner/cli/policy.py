"""`runner policy`: check, try, explain and compare policies. Nothing in here executes a call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli import policy_ask
from runner.cli.policy_ask import AsJson, Chosen, Org

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.app.policycheck import Checked, Wanted
    from runner.app.policytest import Tried

Files = Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Policy files; default: what runs use.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Check, try and explain what a policy allows.",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("check")(check)
    group.command("test")(trial)
    group.command("explain")(policy_ask.explain)
    group.command("decide")(policy_ask.decide)
    group.command("replay")(policy_ask.replay)
    group.command("diff")(diff)
    group.command("schema")(schema)
    group.command("show")(show)
    group.command("sign")(sign)
    group.command("verify")(verify)
    app.add_typer(group, name="policy")


def check(
    files: Files = None,
    policy: Chosen = None,
    org: Org = None,
    output: Annotated[str, typer.Option("--format", metavar="KIND", help="text, json or sarif.")] = "text",
) -> int:
    """Load policies and say what is wrong with them.

    Misspelt keys, loosened bounds, rules that another one shadows, examples and tests that fail; each with its line.
    A file with `scope: project` is held against the layers above it, as a run does; one with `scope: org` among the
    organisation's, or by itself where it is none of them yet. Exit codes: 0 sound (there may be
    warnings), 1 something is wrong, 2 usage.

    Examples:
      runner policy check

      runner policy check policies/*.yaml --org ./org --format sarif
    """
    from runner.app.policycheck import checked
    from runner.cli.output import document, say
    from runner.errors import ConfigError

    if output not in {"text", "json", "sarif"}:
        raise ConfigError(f"--format: {output!r} is none", hint="text, json or sarif")
    found = checked(_wanted(files, policy, org))
    if output == "text":
        say(*_told(found))
    elif output == "json":
        document([one.document() for one in found.findings])
    else:
        from runner.app.sarif import sarif

        document(sarif(found.findings))
    return 1 if found.wrong else 0


def _told(found: Checked) -> Iterable[str]:
    yield from (str(one) for one in found.findings)
    if found.wrong:
        yield f"{found.wrong} wrong, {len(found.findings) - found.wrong} warned of"
    else:
        files = {source.path for book in found.books for source in book.sources}
        rules = {rule.id for book in found.books for rule in book.rules}
        warned = f", {len(found.findings)} warned of" if found.findings else ""
        yield f"sound: {len(rules)} rules, files {', '.join(sorted(files))}{warned}"


def trial(files: Files = None, policy: Chosen = None, org: Org = None) -> int:
    """Try policies on their own examples and tests.

    Every rule's `examples` and every line of `tests:`. Nothing is executed. Exit codes: 0 all passed, 1 some failed,
    2 a policy that cannot be loaded.

    Example:
      runner policy test --policy overnight
    """
    import time

    from runner.app.policycheck import books
    from runner.app.policytest import tried, without_example
    from runner.cli.output import say

    began, passed = time.monotonic(), 0
    failed: list[Tried] = []
    for name, book, rules in books(_wanted(files, policy, org)):
        marks: list[str] = []
        for one in tried(book, rules):
            marks.append("F" if one.why else ".")
            passed += not one.why
            failed += [one] if one.why else []
        bare = without_example(rules)
        coverage = f"{len(rules) - len(bare)} of {len(rules)} rules have examples"
        say(f"{name} {''.join(marks)} ({coverage})")
        say(*(f"  no example: {rule.id} ({rule.place})" for rule in bare))
    say(*_failures(failed), _sum(len(failed), passed, time.monotonic() - began))
    return 1 if failed else 0


def _failures(failed: list[Tried]) -> Iterable[str]:
    if failed:
        yield " FAILURES ".center(80, "=")
    for one in failed:
        yield f"FAILED {one.place} - {one.name}: {one.why}"


def _sum(failed: int, passed: int, seconds: float) -> str:
    parts = ([f"{failed} failed"] if failed else []) + [f"{passed} passed"]
    return f" {', '.join(parts)} in {seconds:.2f}s ".center(80, "=")


def diff(
    old: Annotated[str, typer.Argument(help="A policy by name, or a file.")],
    new: Annotated[str, typer.Argument(help="The one to hold against it.")],
    as_json: AsJson = False,
) -> int:
    """Show what one policy says otherwise than another.

    Rules, gates and settings; what only stands elsewhere is no difference.

    Example:
      runner policy diff default overnight
    """
    from dataclasses import asdict

    from runner.app.policydiff import differences
    from runner.app.rules import alone
    from runner.cli.output import document, say

    found = list(differences(alone(old), alone(new)))
    if as_json:
        document([asdict(one) for one in found])
    else:
        say(*(str(one) for one in found) if found else ("they say the same",))
    return 0


def schema() -> int:
    """Print the JSON Schema of policy files, for editors.

    Example:
      runner policy schema > policy.schema.json
    """
    import sys

    from runner.policy.schema import schema as made

    sys.stdout.write(made())
    return 0


def show(
    policy: Chosen = None,
    org: Org = None,
    effective: Annotated[bool, typer.Option("--effective", help="Every setting too, and who states it.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show the policy that a run here would go by.

    Its files, its rules in order and, with --effective, every setting with the line that states it.

    Example:
      runner policy show --effective
    """
    from runner.app.policydiff import rule_text
    from runner.app.rules import here as loaded
    from runner.cli.here import here
    from runner.cli.output import document, say
    from runner.policy.merge import shown

    book = loaded(os.environ, here(), policy=policy, org=org)
    if as_json:
        settings = {name: {"value": shown(name, one.value), "place": one.place} for name, one in book.settings.items()}
        rules = [{"id": one.id, "says": rule_text(one), "place": one.place, "layer": one.layer} for one in book.rules]
        layers = [str(one) for one in book.sources]
        document({"digest": book.digest, "layers": layers, "rules": rules, "settings": settings})
        return 0
    say(f"policy {book.digest}", *(f"layer  {one}" for one in book.sources))
    say(*(f"rule   {one.id}: {rule_text(one)}  ({one.place or 'built in'})" for one in book.rules))
    if effective:
        say(*(f"{name}: {shown(name, one.value)}  ({one.place or 'built in'})" for name, one in book.settings.items()))
    say(*(f"note   {text}" for text in book.notes))
    return 0


def sign(
    file: Annotated[Path, typer.Argument(help="The policy file.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The private key, PEM; made where there is none.")],
) -> int:
    """Sign a policy file with Ed25519.

    The signature goes beside it; the public key is printed, for those who are to trust it.

    Example:
      runner policy sign org.yaml --key ~/secops.pem
    """
    from runner.app.policysign import signed
    from runner.cli.output import say

    say(*signed(file, key))
    return 0


def verify(
    file: Annotated[Path, typer.Argument(help="The policy file.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The public key to trust.")],
) -> int:
    """Check the signature of a policy file.

    Exit codes: 0 signed by that key, 2 not.

    Example:
      runner policy verify org.yaml --key secops.pub
    """
    from runner.app.policysign import verified
    from runner.cli.output import say

    say(verified(file, key))
    return 0


def _wanted(files: list[Path] | None, policy: str | None, org: Path | None) -> Wanted:
    from runner.app.policycheck import Wanted
    from runner.cli.here import here

    return Wanted(files=tuple(files or ()), policy=policy, org=org, environ=os.environ, root=here())
