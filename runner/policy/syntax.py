"""Shell text walked with tree-sitter: commands at any depth, words worked out as far as text alone tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.policy.shell import Plain, read_shell


@dataclass(slots=True)
class Found:
    """What a text holds: programs' words with what they are piped, redirects, and further texts that are run."""

    commands: list[tuple[tuple[str, ...], str]] = field(default_factory=list[tuple[tuple[str, ...], str]])
    redirects: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    texts: list[str] = field(default_factory=list[str])
    codes: list[str] = field(default_factory=list[str])


def read(text: str, home: str) -> Found:
    found = Found()
    plain = read_shell(text)
    if isinstance(plain, Plain):
        for command in plain.commands:
            found.commands.append((tuple(word.text for word in command.words), ""))
    return found
