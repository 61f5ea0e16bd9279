"""Decides calls under a policy file as `runner policy decide` does, and reads the corpus. Runs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runner.config import policies
from runner.policy.book import Rulebook
from runner.policy.facts import Facts, facts_of
from runner.tools.builtin import effect_of
from runner.tools.surroundings import WorkspaceSurroundings
from runner.values import Decision, Ruling

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A call of the corpus and the least it must be decided."""

    place: str
    kind: str
    expected: Ruling
    tool: str
    arguments: Mapping[str, object]


def rulebook(path: Path) -> Rulebook:
    """A policy file alone, without what this machine's organisation says."""
    return policies.load(
        str(path), environ={"HOME": "/home/agent"}, project={}, workspace=None, org=HERE / "no-organisation"
    )


class Judge:
    """A policy over a workspace, nothing sandboxed unless said."""

    def __init__(self, book: Rulebook, workspace: Path, *, sandboxed: bool = False) -> None:
        self._book = book
        self._around = WorkspaceSurroundings(workspace, ENVIRONMENT, sandboxed=sandboxed, home="/home/agent")

    def facts(self, tool: str, arguments: Mapping[str, object]) -> Facts:
        """The facts of a call."""
        return facts_of(tool, arguments, effect_of(tool).value, self._around)

    def decide(self, tool: str, arguments: Mapping[str, object]) -> Decision:
        """What becomes of a call."""
        return self._book.decide(self.facts(tool, arguments))

    def shell(self, command: str) -> Ruling:
        """What becomes of shell text."""
        return self.decide("shell", {"command": command}).ruling


def rows() -> Iterator[Row]:
    """Every row of the corpus."""
    kind = ""
    text = (CORPUS / "rows.txt").read_text(encoding="utf-8")
    # not splitlines: that would break at characters which are meant as data
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("== "):
            kind = line[3:]
        elif line and not line.startswith("#"):
            expected, _, told = line.partition("\t")
            tool, arguments = _call(told)
            place = f"rows.txt:{number}"
            yield Row(place=place, kind=kind, expected=Ruling(expected), tool=tool, arguments=arguments)


def _call(told: str) -> tuple[str, Mapping[str, object]]:
    if told.startswith('{"tool"'):
        # JSON of this repository's own
        call = cast("dict[str, object]", json.loads(told))
        return str(call["tool"]), cast("dict[str, object]", call["args"])
    return "shell", {"command": _spelt(told)}


def _spelt(told: str) -> str:
    plain = told.replace("⏎", "\n").replace("⇥", "\t")
    as_character: Callable[[re.Match[str]], str] = lambda found: chr(int(found.group(1), 16))  # noqa: E731  one line
    return re.sub(r"<U\+([0-9A-F]{4,5})>", as_character, plain)
