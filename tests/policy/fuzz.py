"""Random shell texts, what is claimed of them, and weakened deciders that must be found out. Runs nothing itself."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Parser

from runner.values import Ruling
from tests.policy.judge import Judge
from tests.policy.truth import Truth

ALLOWED = ("git", "ls", "cat", "grep")
"""Programs of the fuzz's policy, beside the shell's own echo, printf, true, false, cd and test."""
_PROGRAMS = ("git", "git", "ls", "cat", "grep", "rm", "rm", "curl", "evil", "echo", "true", "printf", "cd")
_WORDS = (
    *(
        "a",
        "b",
        "x",
        "-r",
        "-rf",
        "--",
        "-",
        "status",
        "a.py",
        "2",
        "1",
        "A=1",
        "x=rm",
        "PATH=.",
        "if",
        "then",
        "fi",
        "do",
    ),
    *(
        "done",
        "for",
        "in",
        "while",
        "case",
        "esac",
        "time",
        "function",
        "{",
        "}",
        "!",
        "[[",
        "]]",
        "[",
        "]",
        "eval",
        "exec",
    ),
    *(
        "command",
        "env",
        "timeout",
        "5",
        "nice",
        "nohup",
        "xargs",
        "sh",
        "bash",
        "-c",
        "sudo",
        "alias",
        "set",
        "trap",
        ".",
    ),
    *("coproc", "select", "until", "builtin", "source", "test", "-v", "é", "日本", "~", "~/a", "EOF", "E"),
)
_PIECES = (
    *(" ", " ", " ", " ", " ", "\t", "  ", "\n", "\n", ";", ";", "&&", "||", "|", "&", "|&", ";;", "\\\n", "\\", "\\ "),
    *(
        "'",
        '"',
        "''",
        '""',
        "$",
        "`",
        "$(",
        ")",
        "(",
        "((",
        "))",
        "${",
        "}",
        "{",
        "{a,b}",
        "{rm,-r}",
        "#",
        " #",
        " # x",
    ),
    *(
        "<",
        ">",
        ">>",
        "<<",
        "<<E\n",
        "\nE\n",
        "<<<",
        ">&",
        "<&",
        "2>",
        ">&2",
        "2>&1",
        "&>",
        ">|",
        "<>",
        "<(",
        ">(",
        "{x}>",
    ),
    *(
        "*",
        "?",
        "[a]",
        "=",
        "~",
        "!",
        "!!",
        "^",
        "$x",
        "$@",
        "$1",
        "$'rm'",
        "$IFS",
        "`rm -r x`",
        "$(rm -r x)",
        ",",
        "..",
        "%",
    ),
    *(
        "-r",
        "\\r",
        "\\m",
        "r\\m",
        '"rm"',
        "'rm'",
        "r''m",
        '"$(rm -r x)"',
        "'a b'",
        '"a b"',
        '"a\\"b"',
        "\\'",
        '\\"',
        "\u00a0",
    ),
)
_PLAIN_WORDS = (
    *(
        "a",
        "b",
        "src/app.py",
        "-la",
        "--short",
        "-n",
        "20",
        "HEAD~1",
        "a.txt",
        "x=1",
        "key:value",
        "user@host",
        "50%",
        "a+b",
    ),
    *(
        "if",
        "done",
        "time",
        "a,b",
        "tests/",
        "./a",
        "..",
        "app.py",
        "^a",
        "main..dev",
        "@",
        "--format=%h",
        "a#b",
        "é",
        "_x_",
    ),
)
_QUOTED = (
    "'a b'",
    '"a b"',
    "'a;b|c&&d'",
    '"it\'s"',
    "'say \"hi\"'",
    "''",
    '""',
    "'$x `y` $(z)'",
    '"#a"',
    "'a\\b'",
    '"a\\"b"',
    "a'b'c",
)


def texts(seed: int, count: int) -> Iterator[str]:
    """Shell texts of every kind, the same ones for the same seed."""
    chance = random.Random(seed)
    for at in range(count):
        yield _plain(chance) if at % 4 == 3 else _wild(chance, newlines=at % 4 == 2)


def _wild(chance: random.Random, *, newlines: bool) -> str:
    """Pieces, words and programs in any order; round a program, mostly."""
    parts = [chance.choice(_PROGRAMS)] if chance.random() < 0.7 else []
    for _ in range(chance.randint(1, 12)):
        dice = chance.random()
        if newlines and dice < 0.3:
            parts.append(chance.choice(("\n", "\\\n", "\\", ">", ">>", "<", "\n\\", "2>", "#", " # x \\\n")))
        elif dice < 0.45:
            parts.append(chance.choice(_PIECES))
        elif dice < 0.7:
            parts.append(" " + chance.choice(_PROGRAMS))
        else:
            parts.append(" " + chance.choice(_WORDS))
    if chance.random() < 0.4:
        parts.insert(chance.randint(0, len(parts)), chance.choice((";", "\n", "&&", "|", " ")) + "rm -r x")
    return "".join(parts).rstrip("\n")


def plain(seed: int, count: int) -> Iterator[str]:
    """Texts that use allowed programs alone, in plain words, quotes, `&&`, `||`, `|`, `;`: people's ordinary ones."""
    chance = random.Random(seed)
    for _ in range(count):
        yield _plain(chance)


def _plain(chance: random.Random) -> str:
    commands: list[str] = []
    for _ in range(chance.randint(1, 4)):
        words = [chance.choice((*ALLOWED, "echo", "printf", "true"))]
        words += [
            chance.choice(_PLAIN_WORDS if chance.random() < 0.7 else _QUOTED) for _ in range(chance.randint(0, 4))
        ]
        commands.append((" " if chance.random() < 0.9 else "  ").join(words))
    joined = commands[0]
    for command in commands[1:]:
        joined += chance.choice((" && ", " | ", "; ", ";", "&&", "|", " || ", "\n")) + command
    return joined


Decide = Callable[[str], bool]
"""Whether a text is allowed."""


@dataclass(frozen=True, slots=True)
class Bypass:
    """A text that was allowed, and what it ran that nobody allowed."""

    text: str
    shell: str
    ran: tuple[str, ...]


def bypasses(decide: Decide, told: Mapping[str, Sequence[tuple[str, Truth]]]) -> list[Bypass]:
    """Allowed texts in which something ran that is not allowed. `told` are truths of each text by shell."""
    found: list[Bypass] = []
    for text, seen in told.items():
        strays = [(shell, argv) for shell, truth in seen for argv in truth.ran if argv[0] not in ALLOWED]
        if strays and decide(text):
            found.extend(Bypass(text, shell, argv) for shell, argv in strays[:1])
    return found


def misread(judge: Judge, told: Mapping[str, Sequence[tuple[str, Truth]]]) -> list[str]:
    """Allowed texts whose facts were not what happened: other words, or a file written that the facts do not name."""
    found: list[str] = []
    for text, seen in told.items():
        if judge.shell(text) is not Ruling.ALLOW:
            continue
        facts = judge.facts("shell", {"command": text})
        known = {program.argv for program in facts.programs}
        fuzzy = {program.argv[0] for program in facts.programs if program.globs or not program.literal}
        wanted = {path.partition("/")[0] for path in facts.writes}
        for shell, truth in seen:
            odd = [argv for argv in truth.ran if argv not in known and argv[0] not in fuzzy]
            stray = [name for name in truth.wrote if name not in wanted]
            if odd or stray:
                found.append(f"{shell}: {text!r} ran {odd}, wrote {stray}")
    return found


# ---- weakened deciders: each must be found out -----------------------------------------------------------------


def by_prefix(text: str) -> bool:
    """Allows whatever begins with an allowed program."""
    return text.startswith(tuple(f"{name} " for name in ALLOWED))


def by_split(text: str) -> bool:
    """Allows where every piece between operators begins with an allowed word."""
    pieces = [piece.split() for piece in re.split(r"&&|\|\||[;|\n]", text)]
    return all(piece[0] in (*ALLOWED, "echo", "true", "printf", "cd") for piece in pieces if piece)


def by_tree(text: str) -> bool:
    """Allows where tree-sitter sees allowed programs alone, and no fault in the text."""
    root = _parser().parse(text.encode()).root_node
    names: list[str] = []
    todo = [root]
    while todo:
        node = todo.pop()
        todo.extend(node.children)
        if node.type == "command_name":
            names.append((node.text or b"").decode())
    return bool(names) and not root.has_error and {*names} <= {*ALLOWED, "echo", "true", "printf", "cd"}


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


WEAKENED: Mapping[str, Decide] = {"prefix": by_prefix, "split": by_split, "tree-sitter": by_tree}
