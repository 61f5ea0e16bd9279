"""What people are asked of a call, and what their answer is bound to: what would run, with the files it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from runner.app import rendering
from runner.policy import action
from runner.policy.facts import Facts, Surroundings
from runner.ports import Judged
from runner.values import Decision, Gate

_WORD = re.compile(r"""[^\s'"`;|&<>(){}$=,]+""")
_MOST_WORDS = 2_000
_LONGEST_DIFF = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Makes questions of calls that a policy asks about.

    `schemas` are the parameters of each tool by name, `environment` the names of the variables that commands get,
    `sandbox` names what holds them, `tree` gives the id of the whole workspace as it is, for gates that bind that.
    """

    gates: Mapping[str, Gate]
    around: Surroundings
    root: Path
    schemas: Mapping[str, Mapping[str, object]]
    environment: Iterable[str]
    sandbox: str
    tree: Callable[[], str]
    mask: Callable[[str], str]

    def judged(self, decision: Decision, facts: Facts) -> Judged:
        """The question, with `decision.action` bound to everything it depends on. May raise: that is a deny."""
        gates = tuple(self.gates[name] for name in decision.gates)
        programs = (*facts.programs, *facts.suspects)
        bound = action.bound(
            tool=facts.tool,
            schema=self.schemas.get(facts.tool, {}),
            arguments=facts.args,
            programs=[one.path or one.name for one in programs],
            cwd=facts.cwd,
            environment=self.environment,
            sandbox=self.sandbox,
            policy=decision.policy,
            files=self._files(facts),
            tree=self.tree() if any(gate.bind == "tree" for gate in gates) else "",
        )
        return Judged(
            decision=replace(decision, action=action.digest(bound)),
            shown=self.mask(rendering.shown(facts.tool, facts.args)),
            diff=self.mask(self._diff(facts)),
            bound=bound,
            gates=gates,
            cost=facts.cost,
        )

    def _files(self, facts: Facts) -> dict[str, str]:
        """Every file of the workspace that the call names, with its content's digest; "" = it is not there."""
        named = {path for path in (*facts.reads, *facts.writes) if path not in facts.outside}
        for word in _words(facts):
            path, inside = self.around.path(word, facts.cwd)
            if inside:
                named.add(path)
        found = {path: self.around.file_digest(path) for path in sorted(named)}
        # a word that names no file is bound as a word; what a call means to make is bound as absent
        return {path: digest for path, digest in found.items() if digest or path in facts.writes}

    def _diff(self, facts: Facts) -> str:
        if facts.tool not in {"write_file", "edit_file"} or len(facts.writes) != 1:
            return ""
        path, old = facts.writes[0], ""
        file = self.root / path
        if file.is_file():
            if file.stat().st_size > _LONGEST_DIFF:
                return ""
            old = file.read_text("utf-8", "replace")
        new = str(facts.args.get("content"))
        if facts.tool == "edit_file":
            new = old.replace(str(facts.args.get("old", "")), str(facts.args.get("new", "")))
        return rendering.diff(old, new, path)


def _words(facts: Facts) -> set[str]:
    """Every word of a command that might name a file. Raises ValueError where there are too many to look at."""
    if facts.effect != "commands":
        return set()
    texts = [word for one in (*facts.programs, *facts.suspects) for word in one.argv]
    for value in facts.args.values():
        # what is in a list of arguments is looked at one by one
        texts += [str(one) for one in cast("list[object]", value)] if isinstance(value, list) else [str(value)]
    words = {word for text in texts for word in (text, *_WORD.findall(text))}
    if len(words) > _MOST_WORDS:
        msg = "too many words to look at"
        raise ValueError(msg)
    return words
