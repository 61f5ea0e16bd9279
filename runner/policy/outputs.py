"""What a few harmless programs print, worked out from their words: how text reaches a shell through a pipe."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from runner.policy import scripts
from runner.policy.characters import names
from runner.policy.wrappers import HOLE, base

_LONGEST = 100_000
_PASSING = names("cat head tail tac sort uniq tee cut grep sed fold nl less more paste")
_Maker: TypeAlias = Callable[[Sequence[str], str], str]


def output(argv: Sequence[str], stdin: str, files: Mapping[str, str]) -> str:
    """What a command prints, given what it reads; HOLE where only running it would tell."""
    name = base(argv[0])
    if name in _PASSING:
        return _passed(name, argv[1:], stdin, files)
    maker = _MAKERS.get(name)
    return maker(argv[1:], stdin)[:_LONGEST] if maker is not None else HOLE


def _passed(name: str, words: Sequence[str], stdin: str, files: Mapping[str, str]) -> str:
    """Programs that pass on what they read, more or less as it is."""
    named = [files[word.removeprefix("./")] for word in words if word.removeprefix("./") in files]
    text = "".join(named) or stdin
    if name == "sed":
        for word in words:
            if found := re.fullmatch(r"s(.)(.*?)\1(.*?)\1g?", word, re.DOTALL):
                text = text.replace(found.group(2), found.group(3))
    return text or HOLE


def _echo(words: Sequence[str], _: str) -> str:
    at = 0
    while at < len(words) and re.fullmatch(r"-[neE]+", words[at]):
        at += 1
    text = " ".join(words[at:])
    resolved = scripts.unescaped(text)
    # sh's echo resolves escapes, bash's does not
    return f"{text}\n" if resolved == text else f"{text}\n{resolved}\n"


def _printf(words: Sequence[str], _: str) -> str:
    words = words[1:] if words[:1] == ["--"] or words[:1] == ("--",) else words
    if not words:
        return ""
    shape, arguments, parts = scripts.unescaped(words[0]), list(words[1:]), [""]

    def one(found: re.Match[str]) -> str:
        if found.group() == "%%":
            return "%"
        value = arguments.pop(0) if arguments else ""
        return scripts.unescaped(value) if found.group().endswith("b") else value

    while True:
        before = len(arguments)
        parts.append(re.sub(r"%%|%[-0-9.]*[sbdqcxiou]", one, shape))
        if not arguments or len(arguments) == before:
            return "".join(parts)


def _decoder(decode: Callable[[str], bytes]) -> _Maker:
    def run(words: Sequence[str], stdin: str) -> str:
        if not any(re.fullmatch(r"-[A-Za-z]*[dDr][A-Za-z]*|--decode", word) for word in words):
            return HOLE
        try:
            return decode("".join(stdin.split())).decode("utf-8", "replace").replace("\0", "")
        except ValueError:
            return HOLE

    return run


def _base64(text: str) -> bytes:
    kept = re.sub(r"[^A-Za-z0-9+/]", "", text.replace("-", "+").replace("_", "/"))
    return base64.b64decode(kept + "=" * (-len(kept) % 4))


def _base32(text: str) -> bytes:
    kept = re.sub(r"[^A-Z2-7]", "", text)
    return base64.b32decode(kept + "=" * (-len(kept) % 8))


def _hex(text: str) -> bytes:
    kept = re.sub(r"[^0-9A-Fa-f]", "", text)
    return bytes.fromhex(kept[: len(kept) // 2 * 2])


def _rev(_: Sequence[str], stdin: str) -> str:
    return "\n".join(line[::-1] for line in stdin.split("\n"))


def _tr(words: Sequence[str], stdin: str) -> str:
    sets = [_characters(word) for word in words if not word.startswith("-")]
    if any(word in ("-d", "--delete") for word in words):
        return "".join(char for char in stdin if not sets or char not in sets[0])
    if len(sets) < 2 or not sets[1]:
        return stdin
    table = {ord(old): sets[1][min(at, len(sets[1]) - 1)] for at, old in enumerate(sets[0])}
    return stdin.translate(table)


def _characters(text: str) -> str:
    """A set of `tr`, spelt out."""
    for name, meant in {"[:lower:]": "a-z", "[:upper:]": "A-Z", "[:space:]": " \t\n", "[:digit:]": "0-9"}.items():
        text = text.replace(name, meant)

    def span(found: re.Match[str]) -> str:
        first, last = ord(found.group(1)), ord(found.group(2))
        return "".join(map(chr, range(first, last + 1))) if first <= last < first + 256 else found.group()

    return re.sub(r"(.)-(.)", span, scripts.unescaped(text), flags=re.DOTALL)


def _where(words: Sequence[str], _: str) -> str:
    named = [word for word in words if not word.startswith("-")]
    return f"/usr/bin/{named[-1]}\n" if named else HOLE


def _last_part(words: Sequence[str], _: str) -> str:
    return words[0].rstrip("/").rpartition("/")[2] + "\n" if words else HOLE


def _here(_words: Sequence[str], _stdin: str) -> str:
    return ".\n"


def _git(words: Sequence[str], _: str) -> str:
    return ".\n" if "--show-toplevel" in words else HOLE


def _found(words: Sequence[str], _: str) -> str:
    """Places below what find starts from, named as it is told to look for."""
    starts = list(itertools.takewhile(lambda word: word[:1] not in ("-", "(", "!"), words)) or ["."]
    named = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-name", "-iname")]
    return "".join(f"{start}/{name}\n" for start in starts for name in named) or HOLE


def _silent(_words: Sequence[str], _stdin: str) -> str:
    return ""


_MAKERS: Mapping[str, _Maker] = {
    "echo": _echo,
    "printf": _printf,
    "base64": _decoder(_base64),
    "openssl": _decoder(_base64),
    "base32": _decoder(_base32),
    "xxd": _decoder(_hex),
    "rev": _rev,
    "tr": _tr,
    "which": _where,
    "command": _where,
    "type": _where,
    "whereis": _where,
    "basename": _last_part,
    "yes": _echo,
    "pwd": _here,
    "git": _git,
    "find": _found,
    "true": _silent,
    "false": _silent,
    ":": _silent,
    "cd": _silent,
    "sleep": _silent,
}
