"""Which program a check starts, as far as its text tells for certain."""

from __future__ import annotations

import re

from runner.spec.fields import SHELL

# commands of the shell itself that put no program anywhere: the check's own program comes after them
_BEFORE = re.compile(r"(?::|\[|cd|echo|export|printf|readonly|set|test|true|umask|unset|ulimit)\Z")
_SHELL_WORD = re.compile(
    r"""(?: ! | \. | [{}] | \[\[ | alias | bg | break | case | command | continue | do | done | elif | else | esac
    | eval | exec | exit | false | fg | fi | for | function | getopts | hash | if | in | jobs | kill | local | pwd
    | read | return | select | shift | source | then | time | times | trap | type | unalias | until | wait | while
    )\Z""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[A-Za-z0-9_./+@%:,-]+\Z")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_TOKEN = re.compile(
    r"""
      (?P<blank> [ \t\r]+ | \\\n | \#[^\n]* )
    | (?P<joint> && | ;(?!;) | \n )
    | (?P<redirect> [0-9]* (?: >> | >& | >\| | <& | > | <(?!<) ) [ \t]* (?: [^\s;&|()<>'"\\`$]+ ) )
    | (?P<word> (?: [^\s;&|()<>'"\\`$\#] | '[^']*' | "(?:[^"\\`$]|\\.|\$(?=\w)|\$\{\w+\})*" | \\[^\n] | \$\w+
                  | \$\{\w+\} | (?<=[^\s;&|()])\# )+ )
    """,
    re.VERBOSE,
)


def program(argv: tuple[str, ...]) -> str | None:
    """The program `argv` starts first, or None when that is a matter of the shell.

    Only what is certain counts: assignments and harmless built-ins before it are skipped, and anything a
    reader of the text cannot decide (substitutions, `a || b`, compound commands) gives None.
    """
    if argv[:2] != SHELL or len(argv) != 3:
        return argv[0]
    moved = False
    for words in _commands(argv[2]):
        if words is None:
            return None
        while words and _ASSIGNMENT.match(words[0]):
            if words[0].startswith("PATH="):
                return None
            words.pop(0)
        if not words:
            continue
        name = words[0]
        if _BEFORE.match(name):
            moved = moved or name == "cd"
            if name == "export" and any(word.startswith("PATH=") for word in words):
                return None
            continue
        if _SHELL_WORD.match(name) or not _PLAIN.match(name) or (moved and "/" in name):
            return None
        return name
    return None


def _commands(text: str) -> list[list[str] | None]:
    """The simple commands in order, as written; a None ends them where the text gets beyond this reader."""
    found: list[list[str] | None] = []
    words: list[str] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            # a pipe starts both sides, so what stands before it is certain; any other sign may not be
            piped = text[at] == "|" and not text.startswith("||", at)
            return [*found, words if piped else None, None]
        at = token.end()
        if token.lastgroup == "word":
            words.append(token[0])
        elif token.lastgroup == "joint":
            found.append(words)
            words = []
    return [*found, words]
