"""A lenient splitter of shell text, for what a parser may misread: it sees too many commands rather than too few."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.policy import values
from runner.policy.shell import RESERVED
from runner.policy.values import HOLE

_HEREDOC = re.compile(r"<<-?[ \t]*(?:'([^'\n]+)'|\"([^\"\n]+)\"|\\?([^\s;&|<>()'\"]+))")
_PATTERNS = re.compile(r"(\bcase\b[^\n;]{0,100}\bin\b|;;&?|;&)\s{0,20}\(?[^()\n;&`$]{0,100}\)")
"""What `case` compares with, `|` and all."""
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|[@*#?$!0-9-]|\{[^{}`(]*\})")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*(\[[^\]]*\])?\+?=")
_DESCRIPTOR = re.compile(r"[0-9]+|\{\w+\}", re.ASCII)
_ANSI = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r"\$?\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'?")


def commands(text: str, written: list[str]) -> Iterator[tuple[str, ...]]:
    """Word lists that may be commands, bodies of here-documents left out; `written` gets what output goes to."""
    for words in _Splitter(_PATTERNS.sub(r"\1\n", _without_bodies(text)), written).split():
        kept = list(words)
        if "{" in kept[1:]:
            # of `coproc NAME {` and `function NAME {`
            kept = kept[kept.index("{") + 1 :]
        while kept and (kept[0] in RESERVED or _ASSIGNED.match(kept[0])):
            kept.pop(0)
        if argv := values.split(one for word in kept for one in values.braces(word)):
            yield argv


def _without_bodies(text: str) -> str:
    """The text without what stands in here-documents, also in those inside quotes; their last lines stay."""
    if "<<" not in text:
        return text
    kept: list[str] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        kept.append(lines[at])
        for found in _HEREDOC.finditer(lines[at]):
            ending = next(group for group in found.groups() if group)
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == ending), at + 1)
            at = end - 1
        at += 1
    return "\n".join(kept)


class _Splitter:
    """One pass from left to right. `_word` is None between words."""

    def __init__(self, text: str, written: list[str]) -> None:
        self._text = text
        self._written = written
        self._at = 0
        self._writes = False
        self._words: list[str] = []
        self._word: list[str] | None = None
        self._endings: list[str] = []
        self._is_target = False
        self._open = 0

    def split(self) -> Iterator[list[str]]:
        text = self._text
        while self._at < len(text):
            char = text[self._at]
            if char in " \t":
                self._end_word()
                self._at += 1
            elif char == "\n":
                yield from self._end_command()
                self._at += 1
                self._skip_heredocs()
            elif char == ")" and not self._open:
                # what stood before it is a pattern of case
                self._end_word()
                self._words = []
                self._at += 1
            elif char in ";&|()`" or text.startswith("$(", self._at):
                if char == "$":
                    self._add(HOLE)
                self._open += (char in "$(") - (char == ")")
                yield from self._end_command()
                self._at += 2 if char == "$" else 1
            elif char in "<>":
                self._redirect()
            elif char == "#" and self._word is None:
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                self._piece(char)
        yield from self._end_command()

    def _add(self, text: str) -> None:
        self._word = [] if self._word is None else self._word
        self._word.append(text)

    def _end_word(self) -> None:
        if self._word is None:
            return
        if not self._is_target:
            self._words.append("".join(self._word))
        elif self._writes:
            self._written.append("".join(self._word))
        self._is_target = False
        self._word = None

    def _end_command(self) -> Iterator[list[str]]:
        self._end_word()
        self._is_target = False
        if self._words:
            yield self._words
        self._words = []

    def _skip_heredocs(self) -> None:
        for ending in self._endings:
            while self._at < len(self._text):
                end = self._text.find("\n", self._at)
                end = len(self._text) if end < 0 else end
                line = self._text[self._at : end]
                self._at = min(end + 1, len(self._text))
                if line.lstrip("\t") == ending:
                    break
        self._endings = []

    def _redirect(self) -> None:
        found = None if self._text.startswith("<<<", self._at) else _HEREDOC.match(self._text, self._at)
        if self._word is not None and _DESCRIPTOR.fullmatch("".join(self._word)):
            self._word = None
        self._end_word()
        if found is not None:
            self._endings.append(next(group for group in found.groups() if group))
            self._at = found.end()
            return
        begins = self._at
        while self._text[self._at : self._at + 1] in ("<", ">", "&"):
            self._at += 1
        self._writes = ">" in self._text[begins : self._at]
        self._is_target = self._text[self._at : self._at + 1] != "("

    def _piece(self, char: str) -> None:
        text, at = self._text, self._at
        if found := _ANSI.match(text, at):
            self._add(values.ansi(found.group(1)))
        elif found := _DOUBLE.match(text, at):
            self._add(_VARIABLE.sub(HOLE, values.in_quotes(found.group(1))))
        elif found := _SINGLE.match(text, at):
            self._add(found.group(1))
        elif found := _VARIABLE.match(text, at):
            self._add("" if found.group() in ("$@", "$*") else HOLE)
        elif char == "\\":
            if text[at + 1 : at + 2] != "\n":
                self._add(text[at + 1 : at + 2])
            self._at += 2
            return
        else:
            self._add(char)
            self._at += 1
            return
        self._at = found.end()
