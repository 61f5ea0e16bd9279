"""A strict recogniser of plain shell text. Only what it understands wholly may be allowed.

Plain: words, quotes without `$` or backtick, backslash escapes, `&& || ; |`, newlines, comments, simple redirects.
Everything else is opaque, in bash and in POSIX sh alike. The text is lexed as it stands: nothing is normalised first,
because whoever deletes characters before lexing reads another command than the shell does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from runner.policy import characters
from runner.policy.characters import names

MOST = 10_000
"""Characters of shell text that are read for an allow; longer text is opaque."""
RESERVED = names("if then else elif fi do done case esac while until for in function select time coproc { } ! [[ ]]")
"""Words that are grammar where a command may begin, in bash or sh."""
_RUN = re.compile(r"[^\x00-\x20\x7f'\"\\$`|&;<>(){}*?\[~#]+")
_BLANK = re.compile(r"[ \t]+")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r"[^\"\\$`]+")
_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\[[^\]]*\])?\+?=")


@dataclass(frozen=True, slots=True)
class Opaque:
    """Text that is not understood; `why` completes "it has …"."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word as the program gets it: quotes removed, `~` still in it when `tilde`.

    `glob` is the word as a pattern ("" when nothing expands), `bare` whether none of it was quoted.
    """

    text: str
    glob: str = ""
    bare: bool = True
    tilde: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """`operator` is `<`, `>`, `>>`, `<&` or `>&`; for the last two `target` is a number or `-`."""

    operator: str
    target: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One simple command. `before` is the operator it follows: "", `;`, `&&`, `||` or `|`."""

    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...] = ()
    before: str = ""


@dataclass(frozen=True, slots=True)
class Plain:
    """Text that is understood wholly."""

    commands: tuple[Command, ...]


@lru_cache(maxsize=4)  # one decision reads the same text for what it runs and for what it may run
def read_shell(text: str) -> Plain | Opaque:
    """Read shell text. Never raises; linear in the length of the text."""
    if len(text) > MOST:
        return Opaque(f"more than {MOST:,} characters")
    if why := characters.refused(text) or characters.unseen(text):
        return Opaque(why)
    try:
        return Plain(_Reader(text).commands())
    except _NotPlainError as error:
        return Opaque(error.why)


def opaque_start(word: Word) -> str:
    """Why a word cannot begin a plain command; "" when it can."""
    if not word.text:
        return "an empty command name"
    if word.glob and word.text != "[":
        return "a pattern in place of a program"
    if word.bare and word.text in RESERVED:
        return f"the reserved word {word.text}"
    if "=" in word.text:
        return "an assignment" if _ASSIGNED.match(word.text) else "an equals sign in a command's name"
    return ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


class _NotPlainError(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Reader:
    """One pass from left to right; `_at` only grows."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _here(self, length: int = 1) -> str:
        return self._text[self._at : self._at + length]

    def commands(self) -> tuple[Command, ...]:
        found: list[Command] = []
        before = ""
        while True:
            self._skip_lines()
            if not self._here():
                break
            found.append(self._command(before))
            before = self._operator()
        if before in ("&&", "||", "|"):
            raise _NotPlainError(f"nothing after {before}")
        if not found:
            raise _NotPlainError("no command")
        return tuple(found)

    def _skip_blanks(self) -> None:
        while True:
            if blank := _BLANK.match(self._text, self._at):
                self._at = blank.end()
            elif self._here(2) == "\\\n":
                self._at += 2
                if self._here() == "#":
                    raise _NotPlainError("a comment after a line that goes on")
            elif self._here() == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                return

    def _skip_lines(self) -> None:
        self._skip_blanks()
        while self._here() == "\n":
            self._at += 1
            self._skip_blanks()

    def _operator(self) -> str:
        """The operator after a command: "" at the end of the text."""
        here = self._here()
        if not here:
            return ""
        if here == "\n":
            self._at += 1
            return ";"
        if here == ";":
            self._at += 1
            return ";"
        if (two := self._here(2)) in ("&&", "||"):
            self._at += 2
            return two
        if here == "|" and two != "|&":
            self._at += 1
            return "|"
        raise _NotPlainError("a command in the background" if here == "&" else f"the character {here}")

    def _command(self, before: str) -> Command:
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self._skip_blanks()
            here = self._here()
            if not here or here in "\n;&|":
                break
            if here in "<>":
                redirects.append(self._redirect())
                continue
            start = self._at
            word = self._word()
            adjacent = self._here() in ("<", ">") and self._here() != ""
            if adjacent and word.bare and _is_number(word.text):
                if self._text[start : self._at] != word.text:
                    raise _NotPlainError("a descriptor's number over two lines")
                if len(word.text) > 1:
                    # bash's descriptor, sh's argument
                    raise _NotPlainError("a descriptor's number of several digits")
                redirects.append(self._redirect())
                continue
            if adjacent and word.text.endswith("}"):
                raise _NotPlainError("a redirect into a variable")
            words.append(word)
        if not words:
            raise _NotPlainError("an empty command")
        if why := opaque_start(words[0]):
            raise _NotPlainError(why)
        return Command(words=tuple(words), redirects=tuple(redirects), before=before)

    def _redirect(self) -> Redirect:
        operator = self._here()
        self._at += 1
        following = self._here()
        if following == "&" or (following == ">" and operator == ">"):
            operator += following
            self._at += 1
            following = self._here()
        if following in ("<", ">", "|", "&", "("):
            raise _NotPlainError(f"the redirect {operator}{following}")
        self._skip_blanks()
        if self._here() in ("", "\n", ";", "&", "|", "<", ">"):
            raise _NotPlainError("a redirect without a target")
        target = self._word()
        if target.glob or not target.text:
            raise _NotPlainError("a redirect to a pattern")
        if operator.endswith("&") and not (
            target.bare and (target.text == "-" or (_is_number(target.text) and len(target.text) == 1))
        ):
            raise _NotPlainError(f"the redirect {operator} to a name")
        if target.text.startswith(("/dev/tcp/", "/dev/udp/")):
            raise _NotPlainError("a redirect to the network")
        return Redirect(operator=operator, target=target)

    def _word(self) -> Word:
        return _WordReader(self._text, self._at).read(self)

    def moved(self, at: int) -> None:
        self._at = at


class _WordReader:
    """One word; `_pattern` is it as a glob, in which what was quoted is escaped."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._start = self._at = at
        self._parts: list[str] = []
        self._pattern: list[str] = []
        self._bare = True
        self._tilde = False
        self._globs = False
        self._braced = False

    def read(self, reader: _Reader) -> Word:
        while self._at < len(self._text) and self._text[self._at] not in " \t\n;&|<>":
            if run := _RUN.match(self._text, self._at):
                self._literal(run.group(), quoted=False)
                self._at = run.end()
            else:
                self._special(self._text[self._at])
        reader.moved(self._at)
        text = "".join(self._parts)
        if self._braced and ("," in text or ".." in text):
            raise _NotPlainError("a brace expansion")
        glob = "".join(self._pattern) if self._globs and text != "[" else ""
        return Word(text=text, glob=glob, bare=self._bare, tilde=self._tilde)

    def _literal(self, text: str, *, quoted: bool) -> None:
        self._parts.append(text)
        self._pattern.append(characters.escaped_glob(text) if quoted else text)

    def _special(self, char: str) -> None:
        match char:
            case "'":
                closed = _SINGLE.match(self._text, self._at)
                if closed is None:
                    raise _NotPlainError("a quote that is not closed")
                self._bare = False
                self._literal(closed.group(1), quoted=True)
                self._at = closed.end()
            case '"':
                self._double()
            case "\\":
                self._escape()
            case "*" | "?" | "[":
                self._globs = True
                self._literal(char, quoted=False)
                self._at += 1
            case "~":
                self._home()
            case "{" | "}":
                self._braced |= char == "{"
                self._literal(char, quoted=False)
                self._at += 1
            case "#":
                self._literal(char, quoted=False)
                self._at += 1
            case "$":
                raise _NotPlainError("an expansion ($)")
            case "`":
                raise _NotPlainError("a command substitution (`)")
            case "(" | ")":
                raise _NotPlainError("parentheses")
            case _:
                raise _NotPlainError(f"the character {char!r}")

    def _escape(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if not following:
            raise _NotPlainError("a backslash at its end")
        self._at += 2
        if following == "\n":
            if self._text[self._at : self._at + 1] == "#":
                raise _NotPlainError("a comment after a line that goes on")
            return
        self._bare = False
        self._literal(following, quoted=True)

    def _home(self) -> None:
        before = self._parts[-1][-1:] if self._parts else ""
        if self._at == self._start:
            if self._text[self._at + 1 : self._at + 2] not in ("", "/", " ", "\t", "\n", ";", "&", "|", "<", ">"):
                raise _NotPlainError("somebody's home directory (~)")
            self._tilde = True
        elif before in ("=", ":"):
            raise _NotPlainError("a home directory (~) inside a word")
        self._literal("~", quoted=False)
        self._at += 1

    def _double(self) -> None:
        self._bare = False
        self._at += 1
        self._literal("", quoted=True)
        while True:
            if run := _DOUBLE.match(self._text, self._at):
                self._literal(run.group(), quoted=True)
                self._at = run.end()
            char = self._text[self._at : self._at + 1]
            if char == '"':
                self._at += 1
                return
            if char != "\\":
                why = {"$": "an expansion ($)", "`": "a command substitution (`)"}
                raise _NotPlainError(why.get(char, "a quote that is not closed"))
            following = self._text[self._at + 1 : self._at + 2]
            if not following:
                raise _NotPlainError("a quote that is not closed")
            self._at += 2
            if following == "\n":
                continue
            kept = following if following in '$`"\\' else "\\" + following
            self._literal(kept, quoted=True)
