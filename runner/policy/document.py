"""One policy file as values that know their places: strict, every fault with file, line and column.

Format and semantics: docs/reference/policy.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from runner.errors import ConfigError
from runner.policy import reading
from runner.policy.book import Expectation, Rule, Source
from runner.policy.settings import SETTINGS, TREE, Level, Value
from runner.policy.trees import unpacked
from runner.spec import fields
from runner.spec.frontmatter import Map, Node, Place, Scalar, Seq, document
from runner.values import Gate, Ruling

MAX_BYTES = 4 * 1024 * 1024
API = "runner/v1"
_OURS = "runner/v"
SCOPES = ("org", "user", "project")
_OWN = ("apiVersion", "kind", "metadata", "scope", "delegate", "locked", "rules", "tests")
_IN_APPROVALS = ("groups", "gates")
_METADATA = ("name", "owner", "revision", "extends", "description")


@dataclass(frozen=True, slots=True)
class Stated:
    """A setting as one file states it."""

    value: Value
    at: Place


@dataclass(frozen=True, slots=True)
class Asking:
    """A gate as one file states it; `groups` are names, whose members the top layer knows."""

    gate: Gate
    groups: tuple[tuple[str, Place], ...]
    at: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One policy file. `delegated` None: it says nothing of delegation; `gates_named` are the gates of its rules."""

    source: Source
    scope: str
    settings: Mapping[str, Stated]
    rules: tuple[Rule, ...] = ()
    rule_places: tuple[Place, ...] = ()
    gates_named: tuple[tuple[str, Place], ...] = ()
    gates: Mapping[str, Asking] = field(default_factory=dict[str, Asking])
    groups: Mapping[str, tuple[tuple[str, ...], Place]] = field(
        default_factory=dict[str, tuple[tuple[str, ...], Place]]
    )
    delegated: tuple[str, ...] | None = None
    delegated_at: Place | None = None
    may_audit: bool = False
    locked: tuple[tuple[str, Place], ...] = ()
    tests: tuple[Expectation, ...] = ()
    plain: object = None


_NONE_DELEGATED: tuple[tuple[str, ...] | None, bool] = (None, False)
_NO_GATES: Mapping[str, Asking] = {}
_NO_GROUPS: Mapping[str, tuple[tuple[str, ...], Place]] = {}


# a run looks at its files before and after its first checkpoint
@lru_cache(maxsize=16)
def parse(text: str, path: str, layer: str, *, signed_by: str = "", tree: bytes = b"") -> Document:
    """Read a policy file. Raises ConfigError for all that is wrong with it, each fault with line and column.

    `tree` is what somebody read of the same text before, see `trees`.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_BYTES:
        raise ConfigError(f"this policy is larger than {MAX_BYTES // 1024 // 1024} MiB", path=path, line=1, column=1)
    top = (unpacked(tree, text, path) if tree else None) or document(text, path, noun="policy")
    faults = fields.Faults()
    with faults:
        fields.known(top, (*_OWN, *TREE.here, *TREE.below), "a policy")
    with faults:
        _header(top)
    settings: dict[str, Stated] = {}
    _settings(top, TREE, "", settings, faults)
    scope, delegate = top.get("scope"), top.get("delegate")
    rules = faults.of(lambda: reading.rules(top.get("rules"), layer), reading.Rules())
    delegated = faults.of(lambda: _delegate(delegate), _NONE_DELEGATED)
    found = Document(
        source=Source(
            path=path,
            layer=layer,
            digest=hashlib.sha256(data).hexdigest(),
            name=faults.of(lambda: _metadata(top), ""),
            signed_by=signed_by,
        ),
        scope=layer if scope is None else faults.of(lambda: fields.one_of(scope, "scope", SCOPES), layer),
        settings=settings,
        rules=rules.rules,
        rule_places=rules.places,
        gates_named=rules.gates,
        gates=faults.of(lambda: _gates(_part(top, "approvals", "gates")), _NO_GATES),
        groups=faults.of(lambda: _groups(_part(top, "approvals", "groups")), _NO_GROUPS),
        delegated=delegated[0],
        delegated_at=None if delegate is None else delegate.at,
        may_audit=delegated[1],
        locked=faults.of(lambda: _locked(top.get("locked")), ()),
        tests=faults.of(lambda: _tests(top.get("tests")), ()),
        plain=_plain(top),
    )
    faults.end()
    return found


def is_policy(text: str, path: str) -> bool:
    """Whether a file says it is one of runner's policies, of whatever version."""
    if _OURS not in text:
        return False
    try:
        top = document(text, path, noun="policy")
    except ConfigError:
        # what names runner's version and cannot be read is somebody's policy with a slip in it
        return True
    # whatever the key: a misspelt apiVersion is a slip, too
    return any(isinstance(value, Scalar) and value.text.startswith(_OURS) for _, value in top.entries)


def canonical(documents: Sequence[Document]) -> str:
    """All that the files say, as JSON that is the same for the same content; comments and spacing do not count."""
    layers = [
        {"layer": each.source.layer, "file": each.source.path.rpartition("/")[2], "policy": each.plain}
        for each in documents
    ]
    return json.dumps({"layers": layers}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _header(top: Map) -> None:
    for key, wanted in (("apiVersion", API), ("kind", "Policy")):
        node = top.get(key)
        if node is None:
            raise top.at.error(f"a policy without {key}", hint=f"write '{key}: {wanted}' at its top")
        fields.one_of(node, key, (wanted,))


def _metadata(top: Map) -> str:
    node = top.get("metadata")
    if node is None:
        return ""
    table = fields.mapping(node, "metadata", _METADATA, example="metadata: {name: mine}")
    told = {key.text: fields.text(value, f"metadata.{key.text}", example="name: mine") for key, value in table.entries}
    return told.get("name", "")


def _settings(table: Map, level: Level, prefix: str, found: dict[str, Stated], faults: fields.Faults) -> None:
    for key, value in table.entries:
        name = f"{prefix}{key.text}"
        if (kind := level.here.get(key.text)) is not None:
            with faults:
                found[name] = Stated(kind.read(value, name), key.at)
        elif (below := level.below.get(key.text)) is not None:
            keys = (*below.here, *below.below, *(_IN_APPROVALS if name == "approvals" else ()))
            with faults:
                fields.mapping(value, name, keys, example=f"{key.text}: {{{keys[0]}: …}}")
            # what is known of a mapping with an unknown key is read all the same
            if isinstance(value, Map):
                _settings(value, below, f"{name}.", found, faults)


def _part(top: Map, folder: str, key: str) -> Node | None:
    table = top.get(folder)
    return table.get(key) if isinstance(table, Map) else None


def _words(node: Node | None, name: str, example: str) -> tuple[tuple[str, Place], ...]:
    entries = () if node is None else fields.entries(node, name, example=example)
    return tuple((fields.text(entry, name, example=example), entry.at) for entry in entries)


def _groups(node: Node | None) -> dict[str, tuple[tuple[str, ...], Place]]:
    found: dict[str, tuple[tuple[str, ...], Place]] = {}
    for name, value in _named(node, "approvals.groups", "groups: {secops: {members: [alice]}}"):
        where = f"approvals.groups.{name.text}"
        example = "members: [alice, bob]"
        members = fields.known(value, ("members",), where).get("members") if isinstance(value, Map) else value
        texts = tuple(text for text, _ in _words(members, where, example))
        if not texts:
            raise name.at.error(f"{where} has no members", hint=f"write '{example}'")
        found[name.text] = (texts, name.at)
    return found


def _named(node: Node | None, name: str, example: str) -> tuple[tuple[Scalar, Node], ...]:
    if node is None:
        return ()
    if not isinstance(node, Map):
        raise fields.wrong(node, f"{name} is not a mapping", f"write '{example}'")
    return node.entries


_GATE = ("id", "approvers", "allow_self", "timeout", "on_timeout", "remember", "bind")


def _gates(node: Node | None) -> dict[str, Asking]:
    found: dict[str, Asking] = {}
    if node is None:
        return found
    if not isinstance(node, Seq):
        raise fields.wrong(node, "approvals.gates is not a list", "write 'gates: [{id: two-person, …}]'")
    for entry in node.items:
        asking = _gate(fields.mapping(entry, "a gate", _GATE, example="{id: two-person, approvers: {min: 2}}"))
        if (first := found.get(asking.gate.id)) is not None:
            raise asking.at.error(
                f"the gate '{asking.gate.id}' is there twice (first on line {first.at.line})", hint="keep one of them"
            )
        found[asking.gate.id] = asking
    return found


def _gate(table: Map) -> Asking:
    name = table.get("id")
    if name is None:
        raise table.at.error("a gate without an id", hint="write 'id: two-person'")
    default = Gate(id=fields.text(name, "id", example="id: two-person"))
    approvers = table.get("approvers")
    who = Map(table.at)
    if approvers is not None:
        who = fields.mapping(
            approvers,
            "approvers",
            ("groups", "min", "from_each_group"),
            example="approvers: {groups: [secops], min: 1}",
        )
    groups = _words(who.get("groups"), "approvers.groups", "groups: [secops]")
    own, time, ended, kept, bind = (
        table.get(key) for key in ("allow_self", "timeout", "on_timeout", "remember", "bind")
    )
    least, each = who.get("min"), who.get("from_each_group")
    gate = Gate(
        id=default.id,
        least=default.least if least is None else fields.whole(least, "approvers.min", least=1, most=50),
        each=default.each if each is None else fields.whole(each, "approvers.from_each_group", most=50),
        allow_self=default.allow_self if own is None else fields.flag(own, "allow_self"),
        timeout_s=default.timeout_s if time is None else fields.seconds(time, "timeout", least=1),
        on_timeout=default.on_timeout if ended is None else fields.one_of(ended, "on_timeout", ("deny", "stop")),
        remember=default.remember
        if kept is None
        else tuple(
            fields.one_of(entry, "remember", ("once", "run", "pattern"))
            for entry in fields.entries(kept, "remember", example="remember: [once]")
        ),
        bind=default.bind if bind is None else fields.one_of(bind, "bind", ("files", "tree")),
    )
    return Asking(gate, groups, name.at)


def _delegate(node: Node | None) -> tuple[tuple[str, ...] | None, bool]:
    if node is None:
        return None, False
    names = ("project_may_allow", "project_may_audit")
    table = fields.mapping(node, "delegate", names, example="delegate: {project_may_allow: [shell]}")
    allow, audit = table.get("project_may_allow"), table.get("project_may_audit")
    tools = None if allow is None else reading.tools(allow, "delegate.project_may_allow")
    return tools, audit is not None and fields.flag(audit, "delegate.project_may_audit")


def _locked(node: Node | None) -> tuple[tuple[str, Place], ...]:
    found: list[tuple[str, Place]] = []
    names = {".".join(name.split(".")[:depth]) for name in SETTINGS for depth in (1, 2, 3)} | {
        "rules",
        "approvals.gates",
    }
    for text, at in _words(node, "locked", "locked: [sandbox.mode]"):
        if text not in names:
            raise at.error(f"locked names no key of a policy: {text!r}", hint=fields.meant(text, sorted(names)))
        found.append((text, at))
    return tuple(found)


def _tests(node: Node | None) -> tuple[Expectation, ...]:
    found: list[Expectation] = []
    for entry in () if node is None else fields.entries(node, "tests", example="tests: [{call: …, expect: deny}]"):
        table = fields.mapping(entry, "a test", ("call", "expect", "by"), example="{call: {tool: shell}, expect: deny}")
        call, expect, by = (table.get(key) for key in ("call", "expect", "by"))
        if call is None or expect is None:
            raise entry.at.error("a test without call or expect", hint="write {call: …, expect: allow, ask or deny}")
        found.append(
            Expectation(
                call=reading.example(call, "call", "shell"),
                ruling=Ruling(fields.one_of(expect, "expect", tuple(Ruling))),
                by="" if by is None else fields.text(by, "by", example="by: no-recursive-rm"),
            )
        )
    return tuple(found)


def _plain(node: Node) -> object:
    match node:
        case Scalar():
            return node.text
        case Seq():
            return [_plain(item) for item in node.items]
        case Map():
            return {key.text: _plain(value) for key, value in node.entries}
