"""The JSON Schema of a policy file, for editors: made of the reader's own tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from runner.policy.document import API, SCOPES
from runner.policy.reading import MODES, RISKS
from runner.policy.settings import TREE, Level, Schema
from runner.values import Ruling

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_SWITCH: Schema = {"type": "boolean"}
_EFFECT: Schema = {"enum": [each.value for each in Ruling]}
_MINIMUM: Schema = {"anyOf": [{"type": "number"}, _TEXT]}


def schema() -> str:
    """The schema as JSON text (draft 2020-12), with a final newline."""
    properties = {
        "apiVersion": {"const": API},
        "kind": {"const": "Policy"},
        "metadata": _object(dict.fromkeys(("name", "owner", "revision", "extends", "description"), _TEXT)),
        "scope": {"enum": list(SCOPES)},
        "delegate": _object({"project_may_allow": _TEXTS, "project_may_audit": _SWITCH}),
        "locked": _TEXTS,
        "rules": _list(_rule()),
        "tests": _list(_object({"call": _call(), "expect": _EFFECT, "by": _TEXT}, ("call", "expect"))),
        **_level(TREE),
    }
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy of runner",
        **_object(properties, ("apiVersion", "kind")),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _object(properties: Mapping[str, object], required: Sequence[str] = ()) -> dict[str, object]:
    found: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _list(items: Mapping[str, object]) -> Schema:
    return {"type": "array", "items": items}


def _level(level: Level) -> dict[str, object]:
    found: dict[str, object] = {name: kind.schema for name, kind in level.here.items()}
    for name, below in level.below.items():
        more = _approvals() if name == "approvals" else {}
        found[name] = _object({**_level(below), **more})
    return found


def _approvals() -> dict[str, object]:
    gate = _object(
        {
            "id": _TEXT,
            "approvers": _object(
                {"groups": _TEXTS, "min": {"type": "integer", "minimum": 1}, "from_each_group": {"type": "integer"}}
            ),
            "allow_self": _SWITCH,
            "timeout": {"type": ["string", "integer"]},
            "on_timeout": {"enum": ["deny", "stop"]},
            "remember": {"type": "array", "items": {"enum": ["once", "run", "pattern"]}},
            "bind": {"enum": ["files", "tree"]},
        },
        ("id",),
    )
    members = {"anyOf": [_TEXTS, _object({"members": _TEXTS}, ("members",))]}
    return {"groups": {"type": "object", "additionalProperties": members}, "gates": _list(gate)}


def _conditions() -> dict[str, object]:
    pattern = {"anyOf": [_TEXT, _object({"re": _TEXT}, ("re",))]}
    command = _object(
        {
            **dict.fromkeys(("program", "subcommand", "any_flag", "all_flags", "no_flag", "words"), _TEXTS),
            "arg": {"anyOf": [pattern, {"type": "array", "items": pattern}]},
        },
        ("program",),
    )
    return {
        "command": command,
        **dict.fromkeys(("paths", "reads", "writes", "hosts"), _TEXTS),
        **dict.fromkeys(("outside", "redirects", "secrets", "opaque", "sandboxed", "background"), _SWITCH),
        "risk": _object({"min": {"enum": list(RISKS)}}, ("min",)),
        "cost": _object({"min": _MINIMUM}, ("min",)),
        "when": _TEXT,
    }


def _call() -> Schema:
    given = {
        "tool": _TEXT,
        "args": {"type": "object"},
        "command": _TEXT,
        "argv": _TEXTS,
        "path": _TEXT,
        "pattern": _TEXT,
    }
    return {"anyOf": [_TEXT, _object(given)]}


def _rule() -> dict[str, object]:
    exception = _object(_conditions())
    return _object(
        {
            "id": _TEXT,
            "tool": _TEXTS,
            **_conditions(),
            "effect": _EFFECT,
            "gate": _TEXT,
            "reason": _TEXT,
            "mode": {"enum": list(MODES)},
            "unless": {"anyOf": [exception, _list(exception)]},
            "examples": _object(
                {key: {"anyOf": [_call(), _list(_call())]} for key in ("match", "no_match")},
            ),
        },
        ("id", "tool", "effect"),
    )
