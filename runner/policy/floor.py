"""What holds under every policy and cannot be loosened: runner's own verbs, and what would change runner itself."""

from __future__ import annotations

from runner.policy.book import Command, Conditions, PathRules, Rule
from runner.values import Ruling

_OWN_VERBS = (
    "approvals",
    "allow-starts",
    "stop",
    "policy",
    "resume",
    "rollback",
    "apply",
    "reconcile",
    "protect",
    "budget",
)


def _rule(name: str, command: Command, reason: str, unless: tuple[Conditions, ...] = ()) -> Rule:
    return Rule(
        id=f"builtin:{name}",
        ruling=Ruling.DENY,
        tools=("shell",),
        place="",
        layer="floor",
        reason=reason,
        conditions=Conditions(command=command),
        unless=unless,
    )


_LOOKING = tuple(
    Conditions(command=Command(programs=("runner",), words=words))
    for words in (
        ("policy", "check"),
        ("policy", "test"),
        ("policy", "explain"),
        ("policy", "show"),
        ("policy", "diff"),
    )
)

RULES: tuple[Rule, ...] = (
    _rule(
        "own-verbs",
        Command(programs=("runner",), subcommands=_OWN_VERBS),
        "an agent does not steer the runner it runs under",
        _LOOKING,
    ),
    _rule(
        "own-module",
        Command(programs=("python*", "pypy*"), words=("-m", "runner")),
        "an agent does not steer the runner it runs under",
    ),
)


def paths(state: str) -> PathRules:
    """What no tool writes, or reads: what git runs, the organisation's policies, runner's own `state` ("" for none)."""
    kept = (f"{state}/**",) if state else ()
    return PathRules(deny_write=("**/.git/config", "**/.git/hooks/**", "/etc/runner/**", *kept), deny_read=kept)
