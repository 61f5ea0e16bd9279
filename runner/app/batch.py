"""Calls that other systems ask about, as JSON: read, decided, answered. Nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from runner.app.judge import decided
from runner.policy.book import Rulebook
from runner.policy.facts import Surroundings
from runner.values import Decision, Ruling, ToolCall

_SHAPE = '{"id": …, "tool": "shell", "args": {"command": "…"}}'


def answer(rulebook: Rulebook, line: str | bytes, around: Surroundings) -> dict[str, object]:
    """Decide one call that is given as JSON. Never raises: what cannot be read is denied, and says why."""
    asked: Mapping[str, object] = {}
    try:
        asked = _object(line)
        call = read_call(asked)
    except ValueError as error:
        denied = Decision(ruling=Ruling.DENY, rule="builtin:arguments", reason=str(error))
        return _answer(asked.get("id"), denied)
    return _answer(asked.get("id"), decided(rulebook, call, around)[0])


def _answer(name: object, decision: Decision) -> dict[str, object]:
    reason = decision.reason or ("" if decision.rule else "no rule speaks of this call")
    return {"id": name, "decision": decision.ruling.value, "rule": decision.rule or "default", "reason": reason}


def call_of(text: str | bytes) -> ToolCall:
    """The call in a JSON document. Raises ValueError with what is wrong with it."""
    return read_call(_object(text))


def read_call(asked: Mapping[str, object]) -> ToolCall:
    """The call in an object `{"tool", "args"}`; `args` may be the model's own JSON text. Raises ValueError."""
    tool, args = asked.get("tool"), asked.get("args", {})
    if isinstance(tool, str) and isinstance(args, dict | str):
        return ToolCall("asked", tool, args if isinstance(args, str) else json.dumps(args))
    raise ValueError(f"this is no call; write {_SHAPE}")


def _object(text: str | bytes) -> Mapping[str, object]:
    try:
        loaded = cast("object", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON ({error})") from None
    if isinstance(loaded, dict):
        # JSON's names are strings
        return cast("dict[str, object]", loaded)
    raise ValueError(f"this is no call; write {_SHAPE}")
