"""Whom the policy lets be reached, as hosts and ports: the word `package-registries` becomes this machine's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runner.policy.book import Egress
from runner.sandbox import registries
from runner.sandbox.proxy import Destination
from runner.sandbox.registries import Registries


def reach(rules: Sequence[Egress], env: Mapping[str, str]) -> Registries:
    """The hosts of `rules`; `env` is the environment of tools, in which the package managers are asked."""
    known = registries.ask(env) if any(rule.host == registries.WORD for rule in rules) else Registries()
    named = [rule for rule in rules if rule.host != registries.WORD]
    stated = {Destination(rule.host.lower(), port) for rule in named for port in rule.ports}
    return replace(known, hosts=known.hosts | stated)
