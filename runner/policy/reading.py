"""Rules out of a policy file: tools, what they match, exceptions and examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from runner.policy import expressions, patterns
from runner.policy.book import Command, Conditions, Example, Pattern, Rule
from runner.policy.grammar import WrongError
from runner.spec import fields
from runner.spec.frontmatter import Map, Node, Place, Scalar, Seq
from runner.values import Ruling

T = TypeVar("T")

TOOLS: Mapping[str, str] = {
    "read_file": "reads",
    "list_files": "reads",
    "search_text": "reads",
    "output": "reads",
    "stop": "commands",
    "write_file": "writes",
    "edit_file": "writes",
    "tick": "writes",
    "run": "commands",
    "shell": "commands",
}
"""Runner's own tools by name, and what each can do; `mcp:server/tool` are others'."""

RISKS = ("low", "medium", "high")
MODES = ("enforce", "warn", "audit")
CONDITIONS = (
    *("command", "paths", "reads", "writes", "hosts", "outside", "redirects", "secrets", "opaque", "sandboxed"),
    *("background", "risk", "cost", "when"),
)
RULE = ("id", "tool", *CONDITIONS, "effect", "gate", "reason", "mode", "unless", "examples")
COMMAND = ("program", "subcommand", "any_flag", "all_flags", "no_flag", "arg", "words")
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,79}\Z", re.ASCII)
_MCP = re.compile(r"mcp:[\w.*?\[\]-]+(?:/[\w.*?\[\]-]+)?\Z", re.ASCII)
_NONE: tuple[str, ...] = ()
_EXAMPLE = "{id: no-push, tool: shell, command: {program: git, subcommand: push}, effect: deny}"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a file, the place of each, and the gates they name."""

    rules: tuple[Rule, ...] = ()
    places: tuple[Place, ...] = ()
    gates: tuple[tuple[str, Place], ...] = ()


def rules(node: Node | None, layer: str) -> Rules:
    """Read `rules:`; raise ConfigError for all that is wrong."""
    if node is None:
        return Rules()
    if not isinstance(node, Seq):
        raise fields.wrong(node, "rules is not a list", f"write 'rules: [{_EXAMPLE}]'")
    faults = fields.Faults()
    seen: dict[str, Place] = {}
    found: list[Rule] = []
    gates: list[tuple[str, Place]] = []
    for entry in node.items:
        with faults:
            rule = _rule(entry, layer, seen)
            found.append(rule)
            gate = entry.get("gate") if isinstance(entry, Map) else None
            if gate is not None:
                gates.append((rule.gate, gate.at))
    faults.end()
    return Rules(tuple(found), tuple(seen[rule.id] for rule in found), tuple(gates))


def tools(node: Node, name: str) -> tuple[str, ...]:
    """Names of tools, or globs of them; a name that no tool can have is an error."""
    return tuple(_tool(entry, name) for entry in fields.entries(node, name, example=f"{name}: [shell]"))


def _tool(node: Node, name: str) -> str:
    text = fields.text(node, name, example="tool: shell")
    known = (
        text in TOOLS or _MCP.match(text) or (not patterns.is_literal(text) and any(map(patterns.word(text), TOOLS)))
    )
    if not known and text != "mcp:*":
        raise node.at.error(f"unknown tool {text!r}", hint=fields.meant(text, tuple(TOOLS)))
    return text


def _rule(node: Node, layer: str, seen: dict[str, Place]) -> Rule:
    table = fields.mapping(node, "a rule", RULE, example=_EXAMPLE)
    name, tool, effect = (_needed(table, key) for key in ("id", "tool", "effect"))
    text = fields.text(name, "id", example="id: no-push")
    if not _ID.match(text):
        raise name.at.error(f"id is not a word: {text!r}", hint="write letters, digits, '-', '_' and '.'")
    if (first := seen.get(text)) is not None:
        raise name.at.error(f"the rule '{text}' is there twice (first on line {first.line})", hint="keep one of them")
    seen[text] = name.at
    faults = fields.Faults()
    ruling = faults.of(lambda: Ruling(fields.one_of(effect, "effect", tuple(Ruling))), Ruling.DENY)
    certain = ruling is Ruling.ALLOW
    gate, mode, reason, examples = (table.get(key) for key in ("gate", "mode", "reason", "examples"))
    if gate is not None and ruling is not Ruling.ASK:
        with faults:
            _no_gate(gate)
    names = faults.of(lambda: tools(tool, "tool"), _NONE)
    rule = Rule(
        id=text,
        ruling=ruling,
        tools=names,
        place=f"{name.at.path}:{name.at.line}",
        layer=layer,
        position=(name.at.line, name.at.column),
        mode="enforce" if mode is None else faults.of(lambda: fields.one_of(mode, "mode", MODES), "enforce"),
        reason="" if reason is None else faults.of(lambda: fields.text(reason, "reason", example="reason: …"), ""),
        gate="" if gate is None else faults.of(lambda: fields.text(gate, "gate", example="gate: two-person"), ""),
        conditions=faults.of(lambda: conditions(table, certain=certain), Conditions()),
        unless=faults.of(lambda: _unless(table.get("unless"), certain=not certain), ()),
        match=faults.of(lambda: _examples(examples, "match", names), ()),
        no_match=faults.of(lambda: _examples(examples, "no_match", names), ()),
    )
    faults.end()
    return rule


def _no_gate(node: Node) -> None:
    raise node.at.error("only a rule with 'effect: ask' has a gate", hint="leave the gate out, or write 'effect: ask'")


def _needed(table: Map, key: str) -> Node:
    node = table.get(key)
    if node is None:
        raise table.at.error(f"a rule without {key}", hint=f"write e.g. '{_EXAMPLE}'")
    return node


def _unless(node: Node | None, *, certain: bool) -> tuple[Conditions, ...]:
    if node is None:
        return ()
    parts = node.items if isinstance(node, Seq) else (node,)
    example = "unless: [{paths: ['build/**']}]"
    found = [conditions(fields.mapping(part, "unless", CONDITIONS, example=example), certain=certain) for part in parts]
    if not found or Conditions() in found:
        raise node.at.error("unless says nothing", hint=f"write e.g. '{example}', or leave it out")
    return tuple(found)


def conditions(table: Map, *, certain: bool) -> Conditions:
    """What a rule, or an exception of one, matches. `certain`: it leads to an allow, so nothing may be guessed."""
    faults = fields.Faults()

    def read(key: str, reader: Callable[[Node, str], T], otherwise: T) -> T:
        node = table.get(key)
        return otherwise if node is None else faults.of(lambda: reader(node, key), otherwise)

    found = Conditions(
        command=read("command", lambda node, name: _command(node, name, certain=certain), None),
        paths=read("paths", _globs, ()),
        reads=read("reads", _globs, ()),
        writes=read("writes", _globs, ()),
        hosts=read("hosts", _texts, ()),
        outside=read("outside", fields.flag, None),
        redirects=read("redirects", fields.flag, None),
        secrets=read("secrets", fields.flag, None),
        opaque=read("opaque", fields.flag, None),
        sandboxed=read("sandboxed", fields.flag, None),
        background=read("background", fields.flag, None),
        min_risk=read("risk", lambda node, name: _least(node, name, lambda n, m: fields.one_of(n, m, RISKS)), ""),
        min_cost=read("cost", lambda node, name: _least(node, name, fields.usd), None),
        when=read("when", lambda node, _name: _when(node), ""),
    )
    faults.end()
    return found


def _least(node: Node, name: str, reader: Callable[[Node, str], T]) -> T:
    table = fields.mapping(node, name, ("min",), example=f"{name}: {{min: …}}")
    least = table.get("min")
    if least is None:
        raise node.at.error(f"{name} says nothing", hint=f"write '{name}: {{min: …}}'")
    return reader(least, f"{name}.min")


def _texts(node: Node, name: str) -> tuple[str, ...]:
    example = f"{name}: [a, b]"
    found = tuple(fields.text(entry, name, example=example) for entry in fields.entries(node, name, example=example))
    if not found:
        raise node.at.error(f"{name} is an empty list", hint="nothing would ever match it: leave it out")
    return found


def _globs(node: Node, name: str) -> tuple[str, ...]:
    found = _texts(node, name)
    for glob in found:
        if ".." in glob.split("/") or (glob.endswith("/") and glob != "/"):
            raise node.at.error(
                f"{name} has a glob that no path matches: {glob!r}", hint="write e.g. 'build/**'; no '..' in it"
            )
    return found


def _when(node: Node) -> str:
    if not isinstance(node, Scalar) or node.is_empty:
        raise fields.wrong(node, "when is not an expression", 'write e.g. when: "call.args.amount > 500.0"')
    try:
        expressions.check(node.text)
    except WrongError as error:
        # inside plain text, and text in quotes without escapes, the column can be told
        at = node.at
        quote = 0 if node.plain else 1
        exact = node.at.length == len(node.text) + 2 * quote
        raise Place(
            at.path, at.line, at.column + (quote + error.offset if exact else 0), error.length if exact else 0
        ).error(f"when: {error.problem}", hint=error.hint) from None
    return node.text


def _command(node: Node, name: str, *, certain: bool) -> Command:
    table = fields.mapping(node, name, COMMAND, example="command: {program: git, subcommand: [push]}")
    faults = fields.Faults()

    def texts(key: str) -> tuple[str, ...]:
        value = table.get(key)
        return () if value is None else faults.of(lambda: _texts(value, f"command.{key}"), ())

    def flags(key: str) -> tuple[str, ...]:
        found = texts(key)
        if wrong := next((flag for flag in found if not flag.startswith("-") or flag in {"-", "--"}), None):
            with faults:
                _no_flag(table.get(key) or table, key, wrong)
        return found

    arg = table.get("arg")
    found = Command(
        programs=texts("program"),
        subcommands=texts("subcommand"),
        any_flag=flags("any_flag"),
        all_flags=flags("all_flags"),
        no_flag=flags("no_flag"),
        args=() if arg is None else faults.of(lambda: _args(arg, certain=certain), ()),
        words=texts("words"),
    )
    faults.end()
    if not found.programs:
        raise table.at.error("command names no program", hint="write 'program: git'; any program is program: '*'")
    return found


def _no_flag(node: Node, key: str, flag: str) -> None:
    raise node.at.error(f"command.{key} has a word that is no flag: {flag!r}", hint="flags begin with '-'")


def _args(node: Node, *, certain: bool) -> tuple[Pattern, ...]:
    found: list[Pattern] = []
    for entry in node.items if isinstance(node, Seq) else (node,):
        if not isinstance(entry, Map):
            found.append(Pattern(fields.text(entry, "command.arg", example="arg: 'prod-*'")))
            continue
        expression = fields.known(entry, ("re",), "command.arg").get("re")
        if not isinstance(expression, Scalar) or expression.is_empty:
            raise entry.at.error("command.arg says nothing", hint="write arg: 'prod-*' or arg: {re: 'prod-[0-9]+'}")
        try:
            patterns.regex(expression.text, whole=certain)
        except ValueError as error:
            raise expression.at.error(
                f"command.arg.re is not a regular expression: {error}", hint="RE2: no look-around, no back-references"
            ) from None
        found.append(Pattern(expression.text, regex=True))
    return tuple(found)


def _examples(node: Node | None, key: str, names: tuple[str, ...]) -> tuple[Example, ...]:
    if node is None:
        return ()
    table = fields.mapping(node, "examples", ("match", "no_match"), example="examples: {match: [git push]}")
    listed = table.get(key)
    if listed is None:
        return ()
    tool = names[0] if names and patterns.is_literal(names[0]) else "shell"
    entries = fields.entries(listed, f"examples.{key}", example=f"{key}: [git push]")
    return tuple(example(entry, f"examples.{key}", tool) for entry in entries)


_SUBJECT: Mapping[str, str] = {
    "shell": "command",
    "run": "argv",
    "search_text": "pattern",
}


def example(node: Node, name: str, tool: str) -> Example:
    """A call: `{tool, args}`, `{tool, command}`, or a text: the shell's command, or the path another tool is given."""
    place, column = f"{node.at.path}:{node.at.line}", node.at.column
    if isinstance(node, Scalar):
        if node.is_empty:
            raise fields.wrong(node, f"{name} is not a call", "write the command's text")
        if tool == "run":
            return Example("shell", {"command": node.text}, place, column)
        return Example(tool, {_SUBJECT.get(tool, "path"): node.text}, place, column)
    table = fields.mapping(node, name, ("tool", "args", *_FLAT), example="{tool: shell, command: git push}")
    chosen, args = table.get("tool"), table.get("args")
    called = tool if chosen is None else _tool(chosen, f"{name}.tool")
    if args is not None and not isinstance(args, Map):
        raise fields.wrong(args, f"{name}.args is not a mapping", "write args: {path: notes.txt}")
    given = {} if args is None else {key.text: _argument(value) for key, value in args.entries}
    flat = {key.text: _argument(value) for key, value in table.entries if key.text in _FLAT}
    return Example(called, {**given, **flat}, place, column)


_FLAT = ("command", "argv", "path", "pattern")


def _argument(node: Node) -> object:
    match node:
        case Seq():
            return [_argument(item) for item in node.items]
        case Map():
            return {key.text: _argument(value) for key, value in node.entries}
        case Scalar() if not node.plain:
            return node.text
        case Scalar():
            return _plain_value(node)


def _plain_value(node: Scalar) -> object:
    if node.is_empty:
        return None
    if node.text in {"true", "false"}:
        return node.text == "true"
    for reader in (int, float):
        try:
            return reader(node.text) if node.text[-1:].isdigit() else node.text
        except ValueError:
            continue
    return node.text
