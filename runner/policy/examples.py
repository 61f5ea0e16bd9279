"""The examples in rules, tried when a policy is loaded: a rule that does not do what it says does not load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.errors import ConfigError
from runner.policy.book import Example, Rule
from runner.policy.facts import facts_of
from runner.policy.index import Compiled, compile_rule
from runner.policy.reading import TOOLS
from runner.policy.trial import AnyMachine

_MACHINES = (AnyMachine(sandboxed=False), AnyMachine(sandboxed=True))


def check(rules: Sequence[Rule]) -> None:
    """Raise ConfigError for every example that its rule does not match, or matches although it should not."""
    faults = [fault for rule in rules if rule.match or rule.no_match for fault in _wrong(rule)]
    if faults:
        raise ConfigError.joined(faults)


def _wrong(rule: Rule) -> Iterator[ConfigError]:
    compiled = compile_rule(rule, _MACHINES[0].home)
    for examples, speaks in ((rule.match, True), (rule.no_match, False)):
        for example in examples:
            if matched(compiled, example) is not speaks:
                says = "does not match its example" if speaks else "matches what it should not"
                yield ConfigError(
                    f"the rule '{rule.id}' {says}: {shown(example)}",
                    path=example.place.rpartition(":")[0],
                    line=int(example.place.rpartition(":")[2]),
                    column=example.column,
                    hint="runner policy explain shows what a command comes to; correct the rule, or the example",
                )


def matched(compiled: Compiled, example: Example) -> bool:
    """Whether a rule speaks of an example, behind walls or without them."""
    effect = TOOLS.get(example.tool, "commands")
    return any(compiled.speaks_of(facts_of(example.tool, example.args, effect, around)) for around in _MACHINES)


def shown(example: Example) -> str:
    """An example as an error quotes it."""
    command = example.args.get("command")
    text = command if isinstance(command, str) else f"{example.tool} {dict(example.args)}"
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
