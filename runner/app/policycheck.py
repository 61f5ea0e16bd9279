"""Policies looked over: what keeps one from loading, what can never decide, and what its own examples say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.app import rules
from runner.app.policytest import tried
from runner.app.sarif import Finding
from runner.config.policies import shipped
from runner.errors import ConfigError
from runner.policy.book import Rule, Rulebook
from runner.policy.document import parse
from runner.policy.shadowed import shadowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked at: these `files`, or what a run in `root` would go by."""

    files: Sequence[Path]
    policy: str | None
    org: Path | None
    environ: Mapping[str, str]
    root: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found; `books` are those that load."""

    findings: tuple[Finding, ...]
    books: tuple[Rulebook, ...]

    @property
    def wrong(self) -> int:
        """How many findings are errors."""
        return sum(one.error for one in self.findings)


def checked(wanted: Wanted) -> Checked:
    """Look over all that is wanted. Nothing is executed."""
    findings: list[Finding] = []
    loaded: list[Rulebook] = []
    for name in _names(wanted):
        try:
            book = _book(name, wanted)
        except ConfigError as error:
            findings += _faults(error)
            continue
        loaded.append(book)
        findings += _looked_over(book, _own(book, name))
    return Checked(findings=tuple(dict.fromkeys(findings)), books=tuple(loaded))


def books(wanted: Wanted) -> Iterator[tuple[str, Rulebook, tuple[Rule, ...]]]:
    """Each policy with its name and the rules to try. Raises ConfigError for one that does not load."""
    for name in _names(wanted):
        book = _book(name, wanted)
        yield str(name or _chosen(book)), book, _own(book, name)


def _names(wanted: Wanted) -> tuple[Path | None, ...]:
    return tuple(wanted.files) or (None,)


def _chosen(book: Rulebook) -> str:
    return ", ".join(source.path for source in book.sources)


def _book(file: Path | None, wanted: Wanted) -> Rulebook:
    if file is None:
        return rules.here(wanted.environ, wanted.root, policy=wanted.policy, org=wanted.org)
    try:
        data = file.read_bytes()
    except OSError as error:
        hint = f"the one that comes with runner: --policy {file}" if str(file) in shipped() else "check its path"
        raise ConfigError(f"this policy cannot be read: {error.strerror}", path=file, hint=hint) from None
    text = data.decode("utf-8", "replace")
    scope, name = parse(text, str(file), "user").scope, str(file.absolute())
    if scope == "project":
        return rules.load(wanted.environ, wanted.policy, org=wanted.org, below=(parse(text, str(file), "project"),))
    if scope == "org":
        # one of those that hold here is looked at among them, another one as the top that it is to be
        here = rules.load(wanted.environ, wanted.policy, org=wanted.org)
        return here if any(source.path == name for source in here.sources) else rules.alone(name)
    return rules.load(wanted.environ, name, org=wanted.org)


def _own(book: Rulebook, file: Path | None) -> tuple[Rule, ...]:
    """The rules of one file, or all but the floor's."""
    if file is None:
        return tuple(rule for rule in book.rules if rule.layer != "floor")
    names = {str(file), str(file.absolute())}
    return tuple(rule for rule in book.rules if rule.place.rpartition(":")[0] in names)


def _faults(error: ConfigError) -> Iterator[Finding]:
    for one in (error, *error.more):
        kind = "loosens" if " loosens " in one.message else "load"
        hint = f" ({one.hint})" if one.hint else ""
        path = str(one.path) if one.path is not None else ""
        yield Finding(kind=kind, message=one.message + hint, path=path, line=one.line or 0, column=one.column or 0)


def _looked_over(book: Rulebook, own: Sequence[Rule]) -> Iterator[Finding]:
    places = {rule.id: rule for rule in own}
    for rule, other in shadowed(book.rules):
        if rule.id in places:
            line, column = rule.position
            message = f"rule {rule.id} never decides: {other.id} ({other.place or 'built in'}) speaks of all it does"
            path = rule.place.rpartition(":")[0]
            yield Finding(kind="shadowed", message=message, path=path, line=line, column=column, error=False)
    for one in tried(book, own):
        if one.why:
            path, _, number = one.place.rpartition(":")
            yield Finding(kind="example", message=f"{one.name}: {one.why}", path=path, line=int(number or 0))
    for note in book.notes:
        yield Finding(kind="note", message=note, error=False)
