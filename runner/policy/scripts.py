"""Little languages inside words: sed scripts, awk programs, string literals of code."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence

_ADDRESS = r"(?:\d+(?:~\d+)?|\$|/(?:[^/\\\n]|\\.)*/I?)"
_RANGE = rf"(?:{_ADDRESS}(?:,\s*(?:\+?{_ADDRESS}|\+\d+))?\s*!?\s*)?"
_PLAIN_SED = re.compile(rf"{_RANGE}(?:[pdqQ=gGhHxNnDP]|[aic]\\?\s*[^\n]*|\{{|\}}|)", re.DOTALL)
_SUBSTITUTE = re.compile(rf"{_RANGE}([sy])(.)")
_RUNS_AWK = re.compile(r"system|getline|\||>|@|close|ENVIRON|/inet|\bfflush|SYMTAB|PROCINFO")
_STRING = re.compile(r"\"\"\"(.*?)\"\"\"|'''(.*?)'''|\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|`([^`]*)`", re.DOTALL)
_CALLS = re.compile(
    r"system|popen|exec|spawn|subprocess|\bcall\b|\brun\b|check_|\bqx\b|`|shell|getoutput|\bcmd\b|pty|invoke|\bsh\b"
    r"|Process|Command|%x|getline|\||import|require|\bopen\b|!",
    re.IGNORECASE,
)
_OWN = re.compile(r"(?:import|from)\s+runner\b")
_PERL_QX = re.compile(r"(?:\bqx|\bqq?|\bqw|%x)\s*[{(\[/|!](.*?)[})\]/|!]", re.DOTALL)
_BANG = re.compile(r"(?:^|[:+\\])!(?!=)\s*([^\n]+)|^\s*\.?(?:shell|system|exec|spawn)[ \t]+([^\n]+)", re.MULTILINE)
"""How editors, debuggers and clients of databases are told to run something."""
_HANDED = re.compile(
    r"(?:system|popen\d?|exec\w*|spawn\w*|\brun|\bcall|check_\w+|getoutput|Command|shell|script|\|)\s*[\[({]*\s*[a-zA-Z]{0,2}$",
    re.IGNORECASE,
)
"""What stands before a literal that is a command."""
_FLAG = re.compile(r"\s--?[A-Za-z]")


def operands(argv: Sequence[str]) -> list[str]:
    """Words after the program that are no options, values of `-v` and `-F` left out."""
    found: list[str] = []
    words = iter(argv[1:])
    for word in words:
        if word in ("-v", "-F"):
            next(words, "")
        elif not word.startswith("-"):
            found.append(word)
    return found


def sed_is_plain(argv: Sequence[str]) -> bool:
    """Whether every script among the words of sed is understood, and neither runs anything nor writes by itself."""
    scripts: list[str] = []
    rest: list[str] = []
    words = iter(argv[1:])
    for word in words:
        if word in ("-e", "--expression"):
            scripts.append(next(words, ""))
        elif word.startswith("--expression="):
            scripts.append(word.partition("=")[2])
        elif word in (
            "-n",
            "-E",
            "-r",
            "-i",
            "-s",
            "-u",
            "-z",
            "--quiet",
            "--silent",
            "--in-place",
            "-ne",
            "-nE",
            "-nr",
            "-Ei",
            "-i.bak",
        ):
            if word == "-ne":
                scripts.append(next(words, ""))
        elif word.startswith("-") and len(word) > 1:
            return False
        else:
            rest.append(word)
    return all(map(_sed_script, scripts or rest[:1]))


def run_by_sed(script: str) -> Iterator[str]:
    """Commands that a sed script may run: of `e`, and of `s` with that flag."""
    for found in re.finditer(r"(?:^|[;{}\d$/!\n])\s*e\s+([^\n]+)", script):
        yield found.group(1)
    for found in re.finditer(r"s(.)(.*?)\1(.*?)\1[gpiIMm0-9]*e", script, re.DOTALL):
        yield found.group(3)


def _sed_script(script: str) -> bool:
    """One script, command by command; anything not understood is not plain."""
    at = 0
    while at < len(script):
        if script[at] in " \t;\n{}":
            at += 1
            continue
        if substitute := _SUBSTITUTE.match(script, at):
            end = _delimited(script, substitute.end(), substitute.group(2))
            flags = re.compile(r"[gpiIM0-9]*").match(script, end) if end > 0 else None
            if flags is None or substitute.group(2) in "\n\\":
                return False
            at = flags.end()
        elif (plain := _PLAIN_SED.match(script, at)) and plain.end() > at:
            at = plain.end()
        else:
            return False
        rest = script[at:].lstrip(" \t")
        if rest and rest[0] not in ";\n}":
            return script[:at].rstrip().endswith("{") and _sed_script(script[at:])
    return True


def _delimited(script: str, at: int, mark: str) -> int:
    """The end of `…mark…mark` from `at`; 0 when a mark is missing."""
    for _ in range(2):
        while at < len(script) and script[at] != mark:
            at += 2 if script[at] == "\\" else 1
        if at >= len(script):
            return 0
        at += 1
    return at


def awk_is_plain(argv: Sequence[str]) -> bool:
    """Whether an awk program neither runs, reads nor writes anything but its operands."""
    if any(re.match(r"-[fiElLe]|--(file|include|exec|load|source)", word) for word in argv[1:]):
        return False
    return not any(_RUNS_AWK.search(re.sub(r"\|\|", "", word)) for word in operands(argv)[:1])


def commands_in(code: str) -> Iterator[tuple[str, ...]]:
    """Word lists and texts that code of any language may run: `(text,)` is shell text, more is an argv.

    Only string literals are looked at: those that are handed to a call which runs something, and those with a flag.
    """
    if not _CALLS.search(code):
        return
    found = [(one.start(), _literal(one)) for one in _STRING.finditer(code)]
    texts = [text for _, text in found]
    for at, (start, text) in enumerate(found):
        handed = _HANDED.search(code[max(start - 60, 0) : start]) is not None
        if handed or _FLAG.search(text):
            yield (text,)
        if at + 1 < len(found) and (handed or texts[at + 1].startswith("-")):
            yield tuple(texts[at : at + 20])
        if decoded := _decoded(text):
            yield (decoded,)
    for one in (*_PERL_QX.finditer(code), *_BANG.finditer(code)):
        yield (next(group for group in one.groups() if group is not None),)
    if len(texts) > 1 and _FLAG.search("".join(texts)):
        # pieces that the code puts together
        yield ("".join(texts),)
    if _OWN.search(code):
        yield ("runner", *texts)


def _decoded(literal: str) -> str:
    """What a literal is in base64; "" when it is none."""
    if len(literal) < 8 or not re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", literal):
        return ""
    try:
        plain = literal.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("ascii")
    except ValueError:
        return ""


def literals_in(code: str) -> Iterator[str]:
    """String literals of code, common escapes resolved."""
    yield from map(_literal, _STRING.finditer(code))


def _literal(found: re.Match[str]) -> str:
    return unescaped(next((group for group in found.groups() if group is not None), ""))


def unescaped(text: str) -> str:
    """C-like escapes resolved: hexadecimal, octal and Unicode numbers, and letters."""
    if "\\" not in text:
        return text
    named = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "E": "\x1b"}

    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "xuU" and len(code) > 1:
            return _char(int(code[1:].strip("{}"), 16))
        if code[0] in "01234567":
            return _char(int(code, 8))
        return named.get(code, code)

    pattern = r"\\(x[0-9A-Fa-f]{1,2}|x\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,4}|.)"
    return re.sub(pattern, one, text, flags=re.DOTALL)


def _char(code: int) -> str:
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
