"""What completes a value of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runner.cli.pages import Page, Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Fixed `words`, names `asked` of runner (a kind of `runner.cli.shells.asked`), `files` that match; any of them.

    `lead` is a word that a file's name follows at once.
    """

    words: tuple[str, ...] = ()
    asked: str = ""
    files: str = ""
    lead: str = ""


_NOTHING = Values()
_RUNS = Values(asked="runs")
_ANY_FILE = Values(files="*")
_SPEC = Values(files="*.md")

# By the name of a parameter, as the code calls it. The name of its command goes before where one name is not enough.
_KNOWN = {
    "run": _RUNS,
    "runs": _RUNS,
    "model": Values(asked="models", lead="replay:"),
    "spec": _SPEC,
    "spec file": _SPEC,
    "init file": _SPEC,
    "checkpoint": Values(words=("best", "last"), asked="checkpoints"),
    "rollback to": Values(words=("best", "last"), asked="checkpoints"),
    "diff words": Values(words=("best",), asked="runs"),
    "log what": Values(words=("verify", "repair"), asked="runs"),
    "scope": Values(asked="scopes"),
    "period": Values(words=("total", "day", "week", "month")),
    "shell": Values(words=("bash", "zsh", "fish")),
    "accept": _ANY_FILE,
    "models name": Values(asked="models"),
}


def values(root: Page, page: Page, one: Parameter) -> Values:
    """What completes a parameter of a command; nothing where nobody knows (a number, a text)."""
    if page.words == ("help",):
        return Values(words=tuple(inner.words[0] for inner in root.pages))
    if page.words == ("config",) and one.name == "words":
        from runner.app.effective import NAMES

        return Values(words=NAMES, files="*.md")
    if page.words == ("doctor",) and one.name == "checks":
        from runner.app.health import CHECKS

        return Values(words=tuple(CHECKS))
    for name in (f"{' '.join(page.words[:1])} {one.name}", one.name):
        if name in _KNOWN:
            return _KNOWN[name]
    return _ANY_FILE if one.is_file else _NOTHING


def walked(page: Page) -> Iterator[Page]:
    """A page and all pages within it."""
    yield page
    for one in page.pages:
        yield from walked(one)


def arguments(page: Page) -> Iterator[tuple[int | None, Parameter]]:
    """The arguments of a command by place; None for one that takes all the rest.

    One that is shown as several words, `[RUN] [A B]`, takes the rest too.
    """
    for place, one in enumerate(page.arguments):
        yield (None if one.many or " " in one.value else place), one
        if one.many or " " in one.value:
            return
