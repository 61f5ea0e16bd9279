"""What an approval is bound to: the digest of exactly what would be done, part by part. Pure.

Every part has a digest of its own, so that whoever is refused is told which of them is another one now. What a call
may cost is shown to approvers and not bound: prices move between the question and the answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence


def bound(
    *,
    tool: str,
    schema: Mapping[str, object],
    arguments: Mapping[str, object],
    programs: Sequence[str],
    cwd: str,
    environment: Iterable[str],
    sandbox: str,
    policy: str,
    files: Mapping[str, str],
    tree: str = "",
) -> dict[str, str]:
    """Name each part of an action with its digest.

    `programs` are absolute paths, `environment` names alone, `files` path -> SHA-256 of every file of the workspace
    that the call names ("" = it is not there), `sandbox` and `policy` digests, `tree` the whole workspace's where a
    gate binds that.
    """
    parts: dict[str, object] = {
        "tool": tool,
        "tool schema": schema,
        "arguments": arguments,
        "programs": list(programs),
        "cwd": cwd,
        "environment": sorted(set(environment)),
        "sandbox": sandbox,
        "policy": policy,
        **{f"file {path}": content for path, content in files.items()},
    }
    if tree:
        parts["tree"] = tree
    return {name: _digest(value) for name, value in sorted(parts.items())}


def digest(bound: Mapping[str, str]) -> str:
    """The digest of the whole action: `Decision.action`."""
    return _digest(dict(bound))


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """The parts that are not what they were, by name."""
    return tuple(name for name in sorted({*then, *now}) if then.get(name) != now.get(name))


def _digest(value: object) -> str:
    """SHA-256 over canonical JSON: keys sorted, no white space, every character as ASCII."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
