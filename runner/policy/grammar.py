"""The grammar and the types of `when:` expressions: what CEL would find only while a call is decided, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.errors import closest
from runner.policy import patterns

MOST = 2_000
"""Characters of an expression."""

_DEEPEST = 40

ANY, BOOL, INT, DOUBLE, TEXT, LIST, MAP, NULL = (
    *("value", "truth value", "whole number", "decimal number"),
    *("text", "list", "mapping", "null"),
)
FACTS: Mapping[str, str] = {
    "args": MAP,
    "background": BOOL,
    "cost_usd": DOUBLE,
    "cwd": TEXT,
    "effect": TEXT,
    "egress": BOOL,
    "flags": LIST,
    "hosts": LIST,
    "opaque": BOOL,
    "outside": LIST,
    "programs": LIST,
    "reads": LIST,
    "redirects": LIST,
    "risk": TEXT,
    "sandboxed": BOOL,
    "secrets": LIST,
    "subcommands": LIST,
    "tool": TEXT,
    "words": LIST,
    "writes": LIST,
}
"""What `call` has, and of which type. Lists are lists of strings."""

_METHODS: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    TEXT: {
        "contains": ((TEXT,), BOOL),
        "startsWith": ((TEXT,), BOOL),
        "endsWith": ((TEXT,), BOOL),
        "matches": ((TEXT,), BOOL),
        "size": ((), INT),
    },
    LIST: {"size": ((), INT), "contains": ((TEXT,), BOOL)},
    MAP: {"size": ((), INT)},
}
_LOOPS: Mapping[str, str] = {"exists": BOOL, "all": BOOL, "exists_one": BOOL, "filter": LIST, "map": LIST}
_FUNCTIONS: Mapping[str, str] = {"size": INT, "int": INT, "double": DOUBLE, "string": TEXT}
_RELATIONS = ("==", "!=", "<=", ">=", "<", ">", "in")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|0x[0-9A-Fa-f]+|[0-9]+)u?)
      | (?P<text>r?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:.,()\[\]])""",
    re.VERBOSE,
)


class WrongError(Exception):
    """What is wrong with an expression, at which offset, and what to write."""

    def __init__(self, problem: str, offset: int = 0, length: int = 0, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.offset, self.length, self.hint = problem, offset, length, hint


def check(text: str) -> None:
    """Raise WrongError for an expression that is none, is not true or false, or speaks of facts that do not exist."""
    if len(text) > MOST:
        raise WrongError(f"longer than {MOST} characters", hint="write several rules")
    found = _Checker(list(_tokens(text)), len(text)).whole()
    if found not in {BOOL, ANY}:
        raise WrongError(f"it is a {found}, not true or false", 0, len(text), hint="compare it with something")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise WrongError(f"{text[at]!r} is not part of an expression", at, 1, hint="texts stand in quotes")
        if found.lastgroup != "space":
            yield _Token(found.lastgroup or "", found[0], at)
        at = found.end()


class _Checker:
    """Reads an expression by CEL's grammar, and tells its type."""

    def __init__(self, tokens: Sequence[_Token], length: int) -> None:
        self._tokens = [*tokens, _Token("end", "", length)]
        self._at = 0
        self._names: list[tuple[str, str]] = []
        self._depth = 0

    def whole(self) -> str:
        found = self._ternary()
        if self._next.kind != "end":
            raise self._unexpected()
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _unexpected(self) -> WrongError:
        token = self._next
        what = "it ends too early" if token.kind == "end" else f"{token.text!r} is not expected here"
        return WrongError(
            what, token.offset, len(token.text), hint='e.g. call.args.amount > 500.0 && call.risk == "high"'
        )

    def _take(self, *signs: str) -> str:
        token = self._next
        if token.kind in {"sign", "name"} and token.text in signs:
            self._at += 1
            return token.text
        return ""

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise self._unexpected()

    def _must_be(self, found: str, *wanted: str, at: int) -> None:
        if found not in wanted and found != ANY:
            token = self._tokens[at]
            raise WrongError(
                f"a {found} where a {' or '.join(wanted)} is needed", token.offset, len(token.text), hint="compare it"
            )

    def _ternary(self) -> str:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise WrongError("nested too deep", self._next.offset, hint="write several rules")
        start = self._at
        found = self._either()
        if self._take("?"):
            self._must_be(found, BOOL, at=start)
            first = self._ternary()
            self._need(":")
            second = self._ternary()
            found = first if first == second else ANY
        self._depth -= 1
        return found

    def _either(self) -> str:
        return self._logic("||", lambda: self._logic("&&", self._relation))

    def _logic(self, sign: str, part: Callable[[], str]) -> str:
        start = self._at
        found = part()
        while self._take(sign):
            self._must_be(found, BOOL, at=start)
            start = self._at
            self._must_be(part(), BOOL, at=start)
            found = BOOL
        return found

    def _relation(self) -> str:
        found = self._sum()
        while sign := self._take(*_RELATIONS):
            at = self._at
            other = self._sum()
            if sign == "in":
                self._must_be(other, LIST, MAP, at=at)
            elif not _comparable(found, other) or (sign not in {"==", "!="} and found in {BOOL, LIST, MAP, NULL}):
                token = self._tokens[at]
                raise WrongError(
                    f"a {found} is not compared with a {other}",
                    token.offset,
                    len(token.text),
                    hint="numbers with numbers, texts with texts; a word in a list is: 'rm' in call.programs",
                )
            found = BOOL
        return found

    def _sum(self) -> str:
        found = self._product()
        while sign := self._take("+", "-"):
            at = self._at
            other = self._product()
            kinds = (INT, DOUBLE, TEXT, LIST) if sign == "+" else (INT, DOUBLE)
            self._same(found, other, kinds, at)
            found = found if found != ANY else other
        return found

    def _product(self) -> str:
        found = self._unary()
        while self._take("*", "/", "%"):
            at = self._at
            other = self._unary()
            self._same(found, other, (INT, DOUBLE), at)
            found = found if found != ANY else other
        return found

    def _same(self, found: str, other: str, kinds: tuple[str, ...], at: int) -> None:
        self._must_be(found, *kinds, at=at - 1)
        self._must_be(other, *(kinds if found == ANY else (found,)), at=at)

    def _unary(self) -> str:
        at = self._at
        if self._take("!"):
            self._must_be(self._unary(), BOOL, at=at + 1)
            return BOOL
        if self._take("-"):
            found = self._unary()
            self._must_be(found, INT, DOUBLE, at=at + 1)
            return found
        return self._member()

    # ---- names, members, calls ---------------------------------------------------------------------------

    def _member(self) -> str:
        found, is_call = self._primary()
        while True:
            if self._take("."):
                token = self._next
                if token.kind != "name":
                    raise self._unexpected()
                self._at += 1
                found = self._method(found, token) if self._take("(") else self._field(found, token, is_call=is_call)
            elif self._take("["):
                at = self._at
                inner = self._ternary()
                self._need("]")
                self._must_be(found, LIST, MAP, at=at - 1)
                self._must_be(inner, *((INT,) if found == LIST else (TEXT,) if found == MAP else (INT, TEXT)), at=at)
                found = TEXT if found == LIST else ANY
            else:
                return found
            is_call = False

    def _field(self, found: str, token: _Token, *, is_call: bool) -> str:
        if is_call:
            if token.text not in FACTS:
                near = closest(token.text, FACTS)
                raise WrongError(
                    f"unknown fact 'call.{token.text}'",
                    token.offset,
                    len(token.text),
                    hint=f"did you mean 'call.{near}'?" if near else f"facts: {', '.join(FACTS)}",
                )
            return FACTS[token.text]
        if found not in {MAP, ANY}:
            raise WrongError(
                f"a {found} has no field {token.text!r}", token.offset, len(token.text), hint="see call.args"
            )
        return ANY

    def _method(self, found: str, token: _Token) -> str:
        if token.text in _LOOPS:
            return self._loop(found, token)
        known = _METHODS.get(found) or {name: each for kind in _METHODS.values() for name, each in kind.items()}
        if token.text not in known or found not in {*_METHODS, ANY}:
            near = closest(token.text, (*known, *_LOOPS))
            raise WrongError(
                f"a {found} has no function {token.text!r}",
                token.offset,
                len(token.text),
                hint=f"did you mean {near}()?" if near else f"known: {', '.join((*known, *_LOOPS))}",
            )
        wanted, result = known[token.text]
        for number, kind in enumerate(wanted):
            if number:
                self._need(",")
            at = self._at
            self._must_be(self._ternary(), kind, at=at)
            if token.text == "matches":
                self._regex(self._tokens[at])
        self._need(")")
        return result

    def _regex(self, token: _Token) -> None:
        if token.kind != "text":
            raise WrongError(
                "matches() needs its expression written out", token.offset, len(token.text), hint="in quotes"
            )
        raw = token.text.startswith("r")
        quoted = token.text[2:-1] if raw else token.text[1:-1].replace("\\\\", "\\")
        try:
            patterns.regex(quoted, whole=False)
        except ValueError as error:
            raise WrongError(
                f"not a regular expression: {error}",
                token.offset,
                len(token.text),
                hint="RE2; write r'…' for backslashes",
            ) from None

    def _loop(self, found: str, token: _Token) -> str:
        if self._names:
            raise WrongError("a loop in a loop", token.offset, len(token.text), hint="write it as several rules")
        self._must_be(found, LIST, MAP, at=self._at - 2)
        name = self._next
        if name.kind != "name":
            raise self._unexpected()
        self._at += 1
        self._need(",")
        self._names.append((name.text, TEXT if found == LIST else ANY))
        at = self._at
        inner = self._ternary()
        if token.text != "map":
            self._must_be(inner, BOOL, at=at)
        self._names.pop()
        self._need(")")
        return _LOOPS[token.text]

    def _primary(self) -> tuple[str, bool]:
        """The type of what stands first, and whether that is `call` itself."""
        token = self._next
        if self._take("("):
            found = self._ternary()
            self._need(")")
            return found, False
        if self._take("["):
            while not self._take("]"):
                self._ternary()
                if not self._take(",") and self._next.text != "]":
                    raise self._unexpected()
            return LIST, False
        if token.kind == "number":
            self._at += 1
            return DOUBLE if "." in token.text else INT, False
        if token.kind == "text":
            self._at += 1
            return TEXT, False
        if token.kind != "name":
            raise self._unexpected()
        self._at += 1
        return self._named(token)

    def _named(self, token: _Token) -> tuple[str, bool]:
        if token.text in {"true", "false"}:
            return BOOL, False
        if token.text == "null":
            return NULL, False
        if token.text == "call":
            return MAP, True
        for name, kind in self._names:
            if name == token.text:
                return kind, False
        if self._take("("):
            return self._function(token), False
        near = closest(token.text, ("call", "size", "has", *FACTS))
        said = f"did you mean 'call.{near}'?" if near in FACTS else "everything is under call: call.tool, call.args…"
        raise WrongError(f"unknown name {token.text!r}", token.offset, len(token.text), hint=said)

    def _function(self, token: _Token) -> str:
        at = self._at
        if token.text == "has":
            self._member()
            if self._tokens[self._at - 2].text != ".":
                raise WrongError("has() asks for a field", self._tokens[at].offset, hint="has(call.args.amount)")
            self._need(")")
            return BOOL
        if token.text not in _FUNCTIONS:
            near = closest(token.text, ("has", *_FUNCTIONS))
            hint = f"did you mean {near}()?" if near else f"known: has, {', '.join(_FUNCTIONS)}"
            raise WrongError(f"unknown function {token.text!r}", token.offset, len(token.text), hint=hint)
        found = self._ternary()
        if token.text == "size":
            self._must_be(found, TEXT, LIST, MAP, at=at)
        self._need(")")
        return _FUNCTIONS[token.text]


def _comparable(one: str, other: str) -> bool:
    numbers = {INT, DOUBLE}
    return ANY in {one, other} or NULL in {one, other} or one == other or {one, other} <= numbers
