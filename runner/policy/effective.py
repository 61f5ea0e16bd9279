"""The merged settings of all layers as a rulebook: what the loop, the sandbox and the decider go by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from runner.policy import compiled, floor
from runner.policy.book import (
    Effective,
    Egress,
    NetworkRules,
    PathRules,
    Rulebook,
    SandboxRules,
    SecretRules,
)
from runner.policy.document import Document, Stated, canonical
from runner.policy.index import compile_rule
from runner.policy.settings import BUILT_IN, SETTINGS, Value, listed
from runner.spec.frontmatter import Place
from runner.values import Gate, Limits, Ruling

OWN_GATE = "builtin:yes"
"""The gate of a question whose policy names none."""

_LIMITS = {
    "usd": "usd",
    "tokens": "tokens",
    "calls": "calls",
    "iterations": "iterations",
    "steps": "steps",
    "wall": "duration_s",
}
_SANDBOX = {
    "backends": "backends",
    "run_as": "run_as",
    "caches": "caches",
    "memory": "memory",
    "processes": "processes",
    "file_size": "file_size",
    "cpu": "cpu_s",
    "max_disk": "max_disk",
    "required": "required",
    "accept_unsandboxed": "accept_unsandboxed",
    "caches_writable": "caches_writable",
}
_NOT_DONE = {
    "audit.sign": "the journal is not signed here: sign what `runner audit export` writes",
    "secrets.redact": "only secrets that are known are masked: provider keys, and what the configuration lists",
    "audit.anchor": "heads of the chain are not sent anywhere by itself: send what `runner audit verify` prints",
}


@dataclass(frozen=True, slots=True)
class _Merged:
    """The merged settings, each as the type it is of."""

    stated: Mapping[str, Stated]

    def value(self, name: str) -> Value:
        found = self.stated.get(name)
        return BUILT_IN.get(name) if found is None else found.value

    def place(self, name: str) -> str:
        found = self.stated.get(name)
        return "" if found is None else line(found.at)

    def word(self, name: str) -> str:
        return str(self.value(name) or "")

    def whole(self, name: str) -> int | None:
        return msgspec.convert(self.value(name), int | None)

    def texts(self, name: str) -> tuple[str, ...]:
        return msgspec.convert(self.value(name) or (), tuple[str, ...])

    def reach(self, name: str) -> tuple[Egress, ...]:
        return tuple(each for each in listed(self.value(name)) if isinstance(each, Egress))

    def paths(self, own: PathRules) -> PathRules:
        return PathRules(
            deny_write=tuple(dict.fromkeys((*own.deny_write, *self.texts("paths.deny_write")))),
            deny_read=tuple(dict.fromkeys((*own.deny_read, *self.texts("paths.deny_read")))),
        )

    def sandbox(self) -> SandboxRules:
        named = {field: self.value(f"sandbox.{key}") for key, field in _SANDBOX.items()}
        given = {field: value for field, value in named.items() if value is not None}
        return msgspec.convert({**given, "read_only": self.value("sandbox.mode") == "read-only"}, SandboxRules)

    def secrets(self) -> SecretRules:
        return SecretRules(
            env_pass=None if self.value("secrets.env_pass") is None else self.texts("secrets.env_pass"),
            redact=self.texts("secrets.redact"),
            in_args=Ruling(self.word("secrets.on_secret_in_args")),
        )


def line(at: Place | None) -> str:
    """A place as decisions name it: `file:line`."""
    return "" if at is None else f"{at.path}:{at.line}"


def rulebook(
    documents: Sequence[Document], stated: Mapping[str, Stated], gates: Mapping[str, Gate], *, home: str, state: str
) -> Rulebook:
    """The rulebook of these files, from the top down, whose settings were merged to `stated`."""
    merged = _Merged(stated)
    text = canonical(documents)
    digest = hashlib.sha256(text.encode()).hexdigest()
    rules = (*floor.RULES, *(rule for document in documents for rule in document.rules))
    own = floor.paths(state)
    paths = merged.paths(own)
    effective = {
        name: Effective(merged.value(name), merged.place(name))
        for name in SETTINGS
        if name in stated or name in BUILT_IN
    }
    ready = [compile_rule(rule, home, order) for order, rule in enumerate(rules)]
    return Rulebook(
        digest=digest,
        canonical=text,
        sources=tuple(document.source for document in documents),
        rules=rules,
        gates=gates,
        default=Ruling(merged.word("default")),
        opaque=merged.word("shell.opaque"),
        on_ask=merged.word("unattended.on_ask"),
        asks_per_hour=merged.whole("approvals.asks_per_hour"),
        limits=Limits(**{field: merged.whole(f"budgets.per_run.{key}") for key, field in _LIMITS.items()}),
        per_step_usd=merged.whole("budgets.per_step.usd"),
        per_step_s=merged.whole("budgets.per_step.wall"),
        stall_iterations=merged.whole("stall.window"),
        stall_min_gain=msgspec.convert(merged.value("stall.min_gain"), float | None),
        repeat_limit=merged.whole("stall.repeat_action_limit"),
        sandbox=merged.sandbox(),
        network=NetworkRules(egress=merged.reach("network.egress"), setup=merged.reach("network.setup")),
        paths=paths,
        secrets=merged.secrets(),
        settings=effective,
        decider=compiled.Decider(ready, _defaults(documents, merged, paths, own), digest, home),
        tests=tuple(test for document in documents for test in document.tests),
        notes=_notes(effective),
    )


def _defaults(documents: Sequence[Document], merged: _Merged, paths: PathRules, own: PathRules) -> compiled.Defaults:
    def place(name: str) -> compiled.Place:
        at = merged.place(name)
        layer = next((each.source.layer for each in documents if at.startswith(f"{each.source.path}:")), "floor")
        return compiled.Place(name, at, layer)

    return compiled.Defaults(
        default=Ruling(merged.word("default")),
        default_at=place("default"),
        opaque=merged.word("shell.opaque"),
        opaque_at=place("shell.opaque"),
        in_args=Ruling(merged.word("secrets.on_secret_in_args")),
        in_args_at=place("secrets.on_secret_in_args"),
        gate=merged.word("approvals.default") or OWN_GATE,
        paths=paths,
        path_places=_path_places(documents, own),
    )


def _path_places(documents: Sequence[Document], own: PathRules) -> dict[str, compiled.Place]:
    """Where each barred path is stated first, from the top down."""
    places = {f"paths.deny_write {glob}": compiled.Place("builtin:deny-write", "", "floor") for glob in own.deny_write}
    for glob in own.deny_read:
        places[f"paths.deny_read {glob}"] = compiled.Place("builtin:deny-read", "", "floor")
    for document in documents:
        for key in ("paths.deny_write", "paths.deny_read"):
            found = document.settings.get(key)
            for each in () if found is None else listed(found.value):
                at = "" if found is None else line(found.at)
                places.setdefault(f"{key} {each}", compiled.Place(key, at, document.source.layer))
    return places


def _notes(effective: Mapping[str, Effective]) -> tuple[str, ...]:
    return tuple(
        f"{effective[name].place}: {name}: {text}"
        for name, text in _NOT_DONE.items()
        if name in effective and effective[name].value not in {"none", (), ("provider-keys",)}
    )
