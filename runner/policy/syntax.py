"""Shell text walked with tree-sitter: commands at any depth, words worked out as far as text alone tells.

Only ever used to tighten, because tree-sitter reads some texts otherwise than a shell does, without a sign of it.
What a lenient splitter sees is added for that reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from runner.policy import outputs, splitting, values
from runner.policy.shell import Plain, read_shell
from runner.policy.values import FIELD, HOLE

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_DEEPEST = 24
_COMBINATIONS = 16
_MOST_VALUES = 8
_MOST = 4_000
_LONGEST = 10_000
_LOOPS = frozenset(("for_statement", "select_statement"))
_FLOWS = frozenset(("pipeline", "redirected_statement"))


@dataclass(slots=True)
class Found:
    """What a text holds: programs' words with what they are piped, redirects, and further texts that are run.

    A word may hold HOLE for what the text does not tell.
    """

    commands: list[tuple[tuple[str, ...], str]] = field(default_factory=list[tuple[tuple[str, ...], str]])
    redirects: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    texts: list[str] = field(default_factory=list[str])
    codes: list[str] = field(default_factory=list[str])


def read(text: str, home: str) -> Found:
    """Look through shell text. Never raises; what cannot be told is left out or a HOLE."""
    plain = read_shell(text)
    if isinstance(plain, Plain) and len(plain.commands) == 1:
        command = plain.commands[0]
        return Found(
            commands=[(tuple(word.text for word in command.words), "")],
            redirects=[(redirect.operator, redirect.target.text) for redirect in command.redirects],
        )
    walk = _Walk(text, home)
    walk.run()
    if "\\`" in text:
        # backticks in backticks
        walk.found.texts.append(text.replace("\\`", "`"))
    written: list[str] = []
    walk.found.commands.extend((argv, "") for argv in splitting.commands(text, written))
    known = {target for operator, target in walk.found.redirects if operator != "<"}
    for target in (part for word in written for part in values.braces(word)[0].split(FIELD)):
        if target not in known and not target.isdigit():
            walk.found.redirects.append((">", target))
    return walk.found


@lru_cache(maxsize=1)
def _parser() -> Parser:
    # 10 ms, and only text that is more than one plain command needs it
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


class _Walk:
    """One text. Variables have every value they ever get: the order of a text is not the order of its running."""

    def __init__(self, text: str, home: str) -> None:
        self._source = text.encode("utf-8", "replace")
        self._root = _parser().parse(self._source).root_node
        self._home = home
        self._variables = values.known(home)
        self._files: dict[str, str] = {}
        self._functions: set[str] = set()
        self._made = 0
        self.found = Found()

    def run(self) -> None:
        """Fill `found`."""
        nodes = list(_nodes(self._root))
        # twice: a value may be made of variables that are set further down
        for _ in range(2):
            for node in nodes:
                self._learn(node)
        known = -1
        # again where a `read` told a variable's value
        while known != (known := sum(map(len, self._variables.values()))) and len(self.found.commands) < _MOST:
            self._look(nodes)
        self._run_files()

    def _look(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.type == "command":
                self._emit(self._argvs(node, 0), "")
            elif node.type == "file_redirect":
                self._redirect(node)
            elif node.type == "heredoc_redirect" and not values.is_quoted(self._text(_child(node, "heredoc_start"))):
                self.found.texts.extend(values.in_backticks(self._text(_child(node, "heredoc_body"))))
        for node in nodes:
            parent = node.parent
            here = node.type == "command" and _child(node, "herestring_redirect") is not None
            if here or (node.type in _FLOWS and (parent is None or parent.type not in _FLOWS)):
                self._flow(node, "", 0)

    # ---- variables ---------------------------------------------------------------------------------------

    def _learn(self, node: Node) -> None:
        if node.type == "variable_assignment":
            self._assigned(node)
        elif node.type in _LOOPS:
            variable = node.child_by_field_name("variable")
            for value in node.children_by_field_name("value") if variable is not None else ():
                for one in self._value(value, 0):
                    for part in one.split(FIELD):
                        self._know(self._text(variable), part)
        elif node.type == "function_definition":
            name = node.child_by_field_name("name")
            self._functions.add(self._text(name))
        elif node.type == "command":
            self._positional(node)
        elif node.type == "expansion" and (default := values.default_of(self._text(node))):
            self._know(*default)

    def _assigned(self, node: Node) -> None:
        name = self._text(node.child_by_field_name("name")).partition("[")[0]
        value = node.child_by_field_name("value")
        for one in self._value(value, 0) if value is not None else [""]:
            self._know(name, one)
            if any(child.type == "+=" for child in node.children):
                for before in list(self._variables.get(name, ())):
                    self._know(name, before + one)
            if values.runs_value(name) and one.strip(HOLE) and one.replace(FIELD, " ") not in self.found.texts:
                self.found.texts.append(one.replace(FIELD, " "))

    def _know(self, name: str, value: str) -> None:
        known = self._variables.setdefault(name, [])
        # values made of values double, line by line
        value = HOLE if len(value) > _LONGEST else value
        if value not in known and len(known) < _MOST_VALUES:
            known.append(value)

    def _positional(self, node: Node) -> None:
        """Words that come to be `$1` and `$@`: of `set --` and of calls of the text's own functions."""
        first = self._text(node.children[0]) if node.children else ""
        if first != "set" and first not in self._functions:
            return
        for argv in self._argvs(node, 0)[:2]:
            words = [word for word in argv[1:] if word != "--"]
            self._know("@", FIELD.join(words))
            self._know("*", FIELD.join(words))
            for at, word in enumerate(words[:9], 1):
                self._know(str(at), word)

    # ---- values of words ---------------------------------------------------------------------------------

    def _text(self, node: Node | None) -> str:
        return "" if node is None else self._source[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def _value(self, node: Node, depth: int, *, quoted: bool = False) -> list[str]:
        """What a word may come to, FIELD between the words it may fall into."""
        if depth > _DEEPEST:
            return [HOLE]
        text = self._text(node)
        match node.type:
            case "word" | "number" | "variable_name" | "special_variable_name" | "brace_expression":
                return values.braces(values.unquoted(text))
            case "raw_string":
                return [text[1:-1]]
            case "ansi_c_string":
                return [values.ansi(text[2:-1])]
            case "string" | "translated_string":
                return self._joined(node, depth, quoted=True)
            case "string_content":
                return [values.in_quotes(text)]
            case "concatenation" | "command_name":
                if "{" in text and not any(char in text for char in "$`'\"\\"):
                    return values.braces(text)
                return self._joined(node, depth, quoted=quoted)
            case "array":
                parts = [self._value(child, depth + 1)[0] for child in node.children if child.is_named]
                return [FIELD.join(parts)]
            case "simple_expansion" | "expansion":
                return values.expanded(text, self._variables, quoted=quoted)[:_MOST_VALUES]
            case "command_substitution":
                output = self._output_of(node, depth).rstrip("\n")
                return [output if quoted else values.fields(output)]
            case "process_substitution":
                self._made += 1
                name = f"/dev/fd/@{self._made}"
                self._files[name] = self._output_of(node, depth)
                return [name]
            case "arithmetic_expansion":
                return [HOLE]
            case _:
                return [text]

    def _joined(self, node: Node, depth: int, *, quoted: bool) -> list[str]:
        """The parts of a word one after the other, in every combination; text between them as it stands."""
        results = [""]
        at = node.start_byte
        for child in node.children:
            gap = self._source[at : child.start_byte].decode("utf-8", "replace")
            at = child.end_byte
            mark = child.type in ('"', '$"', "$")
            parts = [""] if mark else self._value(child, depth + 1, quoted=quoted)
            results = [one + gap + part for one in results for part in parts][:_MOST_VALUES]
        return results

    def _output_of(self, node: Node, depth: int) -> str:
        """What the commands of a substitution print, as far as that can be told."""
        redirect = _child(node, "file_redirect")
        if redirect is not None and _child(node, "command") is None:
            return self._files.get(_plain(self._target(redirect)[1]), HOLE)
        return "".join(self._flow(child, "", depth + 1) for child in node.children if child.is_named)

    def _argvs(self, node: Node, depth: int) -> list[tuple[str, ...]]:
        """The words of a command, in as many combinations as matter."""
        words: list[list[str]] = []
        for at, child in enumerate(node.children):
            if child.type == "command_name" or node.field_name_for_child(at) == "argument":
                words.append(self._value(child, depth + 1))
            elif child.type == "ERROR":
                words.append([self._text(child)])
        combined: dict[tuple[str, ...], None] = {}
        longest = max((len(alternatives) for alternatives in words), default=0)
        for n in range(longest):
            combined[tuple(alternatives[min(n, len(alternatives) - 1)] for alternatives in words)] = None
        for one in itertools.islice(itertools.product(*words), _COMBINATIONS):
            combined[one] = None
        return [argv for one in combined if (argv := values.split(one))]

    # ---- what flows where --------------------------------------------------------------------------------

    def _flow(self, node: Node, stdin: str, depth: int) -> str:
        """Follow what is piped through a statement, and give what it prints."""
        if depth > _DEEPEST:
            return HOLE
        match node.type:
            case "command":
                here = _child(node, "herestring_redirect")
                given = self._here_string(here, depth) if here is not None else stdin
                argvs = self._argvs(node, depth)
                self._emit(argvs, given)
                if argvs and given and values.runs_piped(argvs[0]):
                    inner = _Walk(given, self._home)
                    return inner._flow(inner._root, "", depth + 4)
                return outputs.output(argvs[0], given, self._files) if argvs else ""
            case "pipeline":
                for child in node.children:
                    if child.is_named:
                        stdin = self._flow(child, stdin, depth + 1)
                return stdin
            case "redirected_statement":
                return self._redirected(node, stdin, depth)
            case "heredoc_body" | "heredoc_start" | "heredoc_end" | "file_redirect" | "comment":
                return ""
            case _:
                return "".join(self._flow(child, stdin, depth + 1) for child in node.children if child.is_named)

    def _here_string(self, node: Node, depth: int) -> str:
        return self._value(node.children[-1], depth + 1, quoted=True)[0] + "\n"

    def _redirected(self, node: Node, stdin: str, depth: int) -> str:
        body = node.child_by_field_name("body")
        rest: list[Node] = []
        into: list[str] = []
        for redirect in node.children_by_field_name("redirect"):
            if redirect.type == "heredoc_redirect":
                stdin = self._text(_child(redirect, "heredoc_body"))
                named = [child for child in redirect.children if child.is_named]
                rest += [child for child in named if not child.type.startswith("heredoc")]
            elif redirect.type == "herestring_redirect":
                stdin = self._here_string(redirect, depth)
            elif redirect.type == "file_redirect":
                operator, target = self._target(redirect)
                if operator == "<":
                    stdin = self._files.get(_plain(target), stdin)
                elif operator.startswith((">", "&>")):
                    into.append(target)
        output = self._flow(body, stdin, depth + 1) if body is not None else ""
        into += [self._target(child)[1] for child in rest if child.type == "file_redirect"]
        for target in into:
            self._files[_plain(target)] = self._files.get(_plain(target), "") + output
        for child in rest:
            output = self._flow(child, output, depth + 1)
        return "" if into else output

    def _target(self, node: Node) -> tuple[str, str]:
        operator = next((child.type for child in node.children if child.type[:1] in "<>&"), ">")
        destination = node.child_by_field_name("destination")
        return operator, self._value(destination, 1)[0] if destination is not None else ""

    def _redirect(self, node: Node) -> None:
        operator, target = self._target(node)
        if target and not (operator.endswith("&") and target.isdigit()):
            self.found.redirects.append((operator, target))

    def _emit(self, argvs: Sequence[tuple[str, ...]], stdin: str) -> None:
        for argv in argvs:
            self.found.commands.append((argv, stdin))
            for name, value in values.told_to(argv, stdin):
                self._know(name, value)
            if argv[0] == "tee":
                self._files.update((_plain(word), stdin) for word in argv[1:] if not word.startswith("-"))

    def _run_files(self) -> None:
        """What the text itself writes into a file, or pipes, and then runs."""
        for argv, stdin in list(self.found.commands):
            into = self.found.codes if values.is_code(argv[0]) else self.found.texts
            if stdin and values.is_code(argv[0]):
                into.append(stdin)
            for at, word in enumerate(argv):
                text = self._files.get(_plain(word), "")
                if text.strip(HOLE + "\n") and (at == 0 or values.runs_files(argv[0])):
                    into.append(text)


def _nodes(root: Node) -> Iterator[Node]:
    """Every node, parents first, without recursion."""
    todo = [root]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(node.children))


def _child(node: Node, kind: str) -> Node | None:
    return next((child for child in node.children if child.type == kind), None)


def _plain(path: str) -> str:
    return path.removeprefix("./")
