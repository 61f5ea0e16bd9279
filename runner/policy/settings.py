"""Every setting of a policy file: how it is read, what its schema is, and which of two values is the tighter.

One table serves the reader, the merging of layers, the JSON Schema, `locked` and the reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from runner.policy.book import Egress
from runner.spec import fields
from runner.spec.frontmatter import Map, Node, Scalar

Value: TypeAlias = object
Schema: TypeAlias = Mapping[str, object]

REGISTRIES = "package-registries"
_SIZE = re.compile(r"([0-9]{1,12})([kmgt])?\Z", re.ASCII | re.IGNORECASE)
_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one sort of setting is read, compared and joined.

    `loosens(lower, upper)`: the lower layer's value allows what the upper's does not. `joined(lower, upper)` is the
    value of both; it is asked only where nothing loosens. `alone`: no two files may state it differently.
    """

    words: str
    read: Callable[[Node, str], Value]
    schema: Schema
    loosens: Callable[[Value, Value], bool]
    joined: Callable[[Value, Value], Value] = lambda lower, _upper: lower
    alone: bool = False


def _number(value: Value) -> float:
    return value if isinstance(value, int | float) else 0


def listed(value: Value) -> tuple[object, ...]:
    """A setting that is a list, as one; anything else is an empty one."""
    # what an isinstance finds out about a tuple is not what is in it
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()


def _items(value: Value) -> frozenset[object]:
    return frozenset(listed(value))


def _least(words: str, read: Callable[[Node, str], Value], schema: Schema) -> Kind:
    return Kind(words=words, read=read, schema=schema, loosens=lambda lower, upper: _number(lower) > _number(upper))


def _most(words: str, read: Callable[[Node, str], Value], schema: Schema) -> Kind:
    return Kind(words=words, read=read, schema=schema, loosens=lambda lower, upper: _number(lower) < _number(upper))


def _ordered(*words: str) -> Kind:
    """Words from the loosest to the tightest."""

    def read(node: Node, name: str) -> Value:
        return fields.one_of(node, name, words)

    return Kind(
        words=" or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}",
        read=read,
        schema={"enum": list(words)},
        loosens=lambda lower, upper: words.index(str(lower)) < words.index(str(upper)),
    )


def _switch(*, tight: bool) -> Kind:
    return Kind(
        words="true or false",
        read=fields.flag,
        schema={"type": "boolean"},
        loosens=lambda lower, upper: lower is not tight and upper is tight,
    )


def _same(words: str, read: Callable[[Node, str], Value], schema: Schema) -> Kind:
    return Kind(words=words, read=read, schema=schema, loosens=lambda lower, upper: lower != upper, alone=True)


def _texts(node: Node, name: str) -> tuple[str, ...]:
    example = f"{name.rpartition('.')[2]}: [a, b]"
    return tuple(fields.text(entry, name, example=example) for entry in fields.entries(node, name, example=example))


_LIST: Schema = {"type": "array", "items": {"type": "string"}}


def _subset(words: str, choices: tuple[str, ...] = ()) -> Kind:
    """A list of what is allowed: a lower layer may only shorten it."""

    def read(node: Node, name: str) -> Value:
        return _chosen(node, name, choices)

    return Kind(words=words, read=read, schema=_LIST, loosens=lambda lower, upper: not _items(lower) <= _items(upper))


def _union(words: str, choices: tuple[str, ...] = ()) -> Kind:
    """A list of what is refused: a lower layer may only lengthen it."""

    def read(node: Node, name: str) -> Value:
        return _chosen(node, name, choices)

    def joined(lower: Value, upper: Value) -> Value:
        return tuple(dict.fromkeys((*listed(upper), *listed(lower))))

    return Kind(words=words, read=read, schema=_LIST, loosens=lambda _lower, _upper: False, joined=joined)


def _chosen(node: Node, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    if not choices:
        return _texts(node, name)
    example = f"{name.rpartition('.')[2]}: [{choices[0]}]"
    return tuple(fields.one_of(entry, name, choices) for entry in fields.entries(node, name, example=example))


def _size(node: Node, name: str) -> Value:
    found = _SIZE.match(node.text) if isinstance(node, Scalar) else None
    if found is None:
        raise fields.wrong(node, f"{name} is not a size", "write bytes, or e.g. 512m, 4g")
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[(found[2] or "").lower()]


def _share(node: Node, name: str) -> Value:
    value = fields.number(node, name, hint="write a number from 0 to 1, e.g. 0.01")
    if value > 1:
        raise fields.wrong(node, f"{name} is not between 0 and 1", "write e.g. 0.01")
    return value


def _whole(least: int) -> Callable[[Node, str], Value]:
    return lambda node, name: fields.whole(node, name, least=least)


def _text(node: Node, name: str) -> Value:
    return fields.text(node, name, example=f"{name.rpartition('.')[2]}: text")


def egress(node: Node, name: str) -> tuple[Egress, ...]:
    """A list of hosts: `example.com`, `example.com:8443`, `{host, ports}`, or the word `package-registries`."""
    example = f"{name.rpartition('.')[2]}: [{{host: example.com, ports: [443]}}]"
    return tuple(_egress(entry, name) for entry in fields.entries(node, name, example=example))


def _egress(node: Node, name: str) -> Egress:
    hint = "write a host's name, e.g. example.com or '*.example.com'; addresses are never reached"
    if isinstance(node, Map):
        fields.known(node, ("host", "ports"), name)
        host, ports = node.get("host"), node.get("ports")
        if host is None:
            raise node.at.error(f"{name} names no host", hint=hint)
        many = () if ports is None else fields.entries(ports, f"{name}.ports", example="ports: [443]")
        numbers = tuple(fields.whole(port, f"{name}.ports", least=1, most=65_535) for port in many) or (443,)
        return Egress(_host(host, _words(host), name, hint), numbers)
    host_text, _, port = _words(node).partition(":")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_536):
        raise fields.wrong(node, f"{name} has a port that is none", "write e.g. example.com:8443")
    return Egress(_host(node, host_text, name, hint), (int(port),) if port else (443,))


def _words(node: Node) -> str:
    return node.text.strip() if isinstance(node, Scalar) else ""


def _host(node: Node, host: str, name: str, hint: str) -> str:
    if not _HOST.match(host) or host.replace(".", "").isdecimal():
        raise fields.wrong(node, f"{name} is not a host's name", hint)
    return host.lower()


def _anchor(node: Node, name: str) -> Value:
    table = fields.mapping(node, name, ("every", "to"), example="anchor: {every: 100, to: [syslog]}")
    every, to = table.get("every"), table.get("to")
    often = 100 if every is None else fields.whole(every, f"{name}.every", least=1)
    return often, () if to is None else _texts(to, f"{name}.to")


_INTEGER: Schema = {"type": "integer", "minimum": 0}
_ONE: Schema = {"type": "integer", "minimum": 1}
_MONEY: Schema = {"type": ["number", "string"]}
_SPAN: Schema = {"type": ["string", "integer"], "examples": ["90s", "1h30m"]}
_BYTES: Schema = {"type": ["string", "integer"], "examples": ["512m", "4g"]}
_EGRESS: Schema = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"host": {"type": "string"}, "ports": {"type": "array", "items": _ONE}},
                "required": ["host"],
                "additionalProperties": False,
            },
        ]
    },
}

_USD = _least("US dollars", fields.usd, _MONEY)
_COUNT = _least("a whole number", _whole(0), _INTEGER)
_MANY = _least("a whole number above 0", _whole(1), _ONE)
_TIME = _least("a duration", fields.seconds, _SPAN)
_MEMORY = _least("a size", _size, _BYTES)
_REACH = Kind(
    words="a list of hosts",
    read=egress,
    schema=_EGRESS,
    loosens=lambda lower, upper: not _items(lower) <= _items(upper),
)

SETTINGS: Mapping[str, Kind] = {
    "default": _ordered("ask", "deny"),
    "budgets.per_run.usd": _USD,
    "budgets.per_run.tokens": _COUNT,
    "budgets.per_run.calls": _COUNT,
    "budgets.per_run.iterations": _COUNT,
    "budgets.per_run.steps": _COUNT,
    "budgets.per_run.wall": _TIME,
    "budgets.per_step.usd": _USD,
    "budgets.per_step.wall": _TIME,
    "budgets.on_exhausted": _ordered("stop"),
    "budgets.on_unpriced_model": _ordered("deny"),
    "stall.metric": _ordered("quality"),
    "stall.window": _MANY,
    "stall.min_gain": _most("a number from 0 to 1", _share, {"type": "number", "minimum": 0, "maximum": 1}),
    "stall.repeat_action_limit": _MANY,
    "stall.on_stall": _ordered("stop"),
    "unattended.on_ask": _ordered("park", "deny", "stop"),
    "shell.opaque": _ordered("allow_in_sandbox", "ask", "deny"),
    "sandbox.mode": _ordered("workspace-write", "read-only"),
    "sandbox.required": _switch(tight=True),
    "sandbox.accept_unsandboxed": _switch(tight=False),
    "sandbox.backends": _subset("a list of bubblewrap, landlock and seatbelt", ("bubblewrap", "landlock", "seatbelt")),
    "sandbox.run_as": _same("a user's name", _text, {"type": "string"}),
    "sandbox.memory": _MEMORY,
    "sandbox.processes": _MANY,
    "sandbox.file_size": _MEMORY,
    "sandbox.cpu": _TIME,
    "sandbox.max_disk": _MEMORY,
    "sandbox.caches": _subset("a list of paths"),
    "sandbox.caches_writable": _switch(tight=False),
    "network.default": _ordered("deny"),
    "network.egress": _REACH,
    "network.setup": _REACH,
    "paths.deny_write": _union("a list of globs"),
    "paths.deny_read": _union("a list of globs"),
    "secrets.env_pass": _subset("a list of variables"),
    "secrets.redact": _union("a list of provider-keys, jwt and pem", ("provider-keys", "jwt", "pem")),
    "secrets.on_secret_in_args": _ordered("ask", "deny"),
    "approvals.default": _same("a gate's id", _text, {"type": "string"}),
    "approvals.min_approvers": _most("a whole number above 0", _whole(1), _ONE),
    "approvals.asks_per_hour": _MANY,
    "audit.chain": _ordered("sha256"),
    "audit.sign": _ordered("none", "ed25519"),
    "audit.fsync": _ordered("decision"),
    "audit.anchor": _same(
        "a mapping",
        _anchor,
        {"type": "object", "properties": {"every": _ONE, "to": _LIST}, "additionalProperties": False},
    ),
}
"""By dotted name."""

BUILT_IN: Mapping[str, Value] = {
    "default": "ask",
    "unattended.on_ask": "deny",
    "shell.opaque": "ask",
    "sandbox.mode": "workspace-write",
    "sandbox.required": False,
    "sandbox.accept_unsandboxed": False,
    "sandbox.caches_writable": False,
    "network.setup": (Egress(REGISTRIES),),
    "secrets.on_secret_in_args": "deny",
}
"""What holds where no file states anything; whoever is the top layer may state otherwise."""

EMPTY_UNLESS_STATED = frozenset({"network.egress", "sandbox.caches"})
"""Lists of what is allowed: where the layers above state none, stating one below them loosens."""

TOP_ONLY = frozenset({"sandbox.run_as", "approvals.default"})
"""What only the top layer may choose."""


@dataclass(slots=True)
class Level:
    """The keys of one mapping of a policy file: settings, and further mappings."""

    here: dict[str, Kind] = field(default_factory=dict[str, Kind])
    below: dict[str, Level] = field(default_factory=dict[str, "Level"])


def _tree() -> Level:
    top = Level()
    for name, kind in SETTINGS.items():
        *folders, key = name.split(".")
        level = top
        for folder in folders:
            level = level.below.setdefault(folder, Level())
        level.here[key] = kind
    return top


TREE = _tree()
