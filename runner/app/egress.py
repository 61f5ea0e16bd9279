"""Whom the policy lets be reached, as hosts and ports: the word `package-registries` becomes this machine's own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.policy.book import Egress
from runner.sandbox import registries
from runner.sandbox.proxy import Destination
from runner.sandbox.registries import Registries


def reach(rules: Sequence[Egress], env: Mapping[str, str], *, workspace: Path, kept: Path) -> Registries:
    """The hosts of `rules`; `env` is the environment of tools, in which the package managers are asked.

    They are asked once a run, before its agent could do anything about the answer, which is `kept` in a file.
    """
    known = Registries()
    if any(rule.host == registries.WORD for rule in rules):
        if not kept.is_file():
            _keep(registries.ask(env, outside=workspace), kept)
        hosts, paths, variables = json.loads(kept.read_text("utf-8"))
        found = frozenset(Destination(host, port) for host, port in hosts)
        known = Registries(found, frozenset(Path(path) for path in paths), variables)
    named = [rule for rule in rules if rule.host != registries.WORD]
    stated = {Destination(rule.host.lower(), port) for rule in named for port in rule.ports}
    return replace(known, hosts=known.hosts | stated)


def _keep(known: Registries, kept: Path) -> None:
    hosts = sorted((one.host, one.port) for one in known.hosts)
    written = kept.with_suffix(".new")
    with written.open("w", encoding="utf-8") as file:
        json.dump([hosts, sorted(map(str, known.paths)), dict(known.variables)], file)
        file.flush()
        os.fsync(file.fileno())
    written.replace(kept)
