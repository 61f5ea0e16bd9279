"""Which rules can speak of a call: found by its tool, its programs, its paths and its hosts, and not by asking all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from runner.policy import matchers, patterns
from runner.policy.book import Rule
from runner.policy.facts import Facts, Program
from runner.values import Ruling

K = TypeVar("K")

_MOST_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule with its closures; `order` is its number in the policy, `home` the directory that `~` stands for."""

    rule: Rule
    order: int
    home: str
    speaks: matchers.Matcher
    excepted: tuple[matchers.Matcher, ...]

    def matches(self, facts: Facts, program: Program | None) -> bool:
        return self.speaks(facts, program) and not any(each(facts, program) for each in self.excepted)

    def speaks_of(self, facts: Facts) -> bool:
        """Whether it matches a call, or a program that the call runs or may run."""
        if not about(self.rule, facts.tool):
            return False
        whole = self.rule.conditions.command is None
        asked = (None,) if whole else (*facts.programs, *facts.suspects)
        return any(self.matches(facts, program) for program in asked)


def compile_rule(rule: Rule, home: str, order: int = 0) -> Compiled:
    """Make a rule ready to be asked."""
    certain = rule.ruling is Ruling.ALLOW
    return Compiled(
        rule,
        order,
        home,
        matchers.matcher(rule.conditions, certain=certain, home=home),
        tuple(matchers.matcher(each, certain=not certain, home=home) for each in rule.unless),
    )


def about(rule: Rule, tool: str) -> bool:
    """Whether a rule is about a tool. What holds for `shell` holds for `run`: the same programs, without a shell."""
    return any(patterns.word(name)(tool) or (name == "shell" and tool == "run") for name in rule.tools)


class _Keyed(Generic[K]):
    """Rules that need one of their patterns to match a key. The same keys come again: answers are kept."""

    def __init__(self) -> None:
        self._entries: list[tuple[Callable[[K], bool], Compiled]] = []
        self._kept: dict[K, tuple[Compiled, ...]] = {}

    def add(self, test: Callable[[K], bool], compiled: Compiled) -> None:
        self._entries.append((test, compiled))

    def of(self, key: K) -> tuple[Compiled, ...]:
        found = self._kept.get(key)
        if found is None:
            found = tuple(compiled for test, compiled in self._entries if test(key))
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = found
        return found

    def every(self) -> Iterator[Compiled]:
        return (compiled for _, compiled in self._entries)


class Index:
    """The rules that can speak of one tool's calls. What it leaves out cannot match; what it gives may not match."""

    def __init__(self, rules: Iterable[Compiled]) -> None:
        self._calls: list[Compiled] = []
        self._names: dict[str, list[Compiled]] = {}
        self._programs: _Keyed[tuple[str, str]] = _Keyed()
        self._paths: _Keyed[str] = _Keyed()
        self._hosts: _Keyed[str] = _Keyed()
        for compiled in rules:
            self._add(compiled)

    def _add(self, compiled: Compiled) -> None:
        found = compiled.rule.conditions
        globs = (*found.paths, *found.reads, *found.writes)
        if found.command is not None:
            names = found.command.programs
            if all(patterns.is_literal(name) and "/" not in name for name in names):
                for name in dict.fromkeys(names):
                    self._names.setdefault(name, []).append(compiled)
            else:
                test = matchers.named(names, certain=False)
                self._programs.add(lambda key: test(Program(name=key[0], path=key[1])), compiled)
        elif globs:
            first = patterns.first_of(globs, compiled.home)
            self._paths.add(lambda path: first(path) is not None, compiled)
        elif found.hosts:
            tests = [patterns.word(glob.lower()) for glob in found.hosts]
            self._hosts.add(lambda host: any(test(host) for test in tests), compiled)
        else:
            self._calls.append(compiled)

    def speaking(self, facts: Facts) -> Iterator[tuple[Compiled, Program | None]]:
        """The rules to ask of a call, each with the program to ask it of (None: the whole call)."""
        for compiled in (*self._calls, *self._of_paths(facts), *self._of_hosts(facts)):
            yield compiled, None
        for program in facts.programs:
            for compiled in self._of_program(program):
                yield compiled, program
        for program in facts.suspects:
            for compiled in self._of_program(program):
                # what was only seen allows nothing
                if compiled.rule.ruling is not Ruling.ALLOW:
                    yield compiled, program

    def _of_program(self, program: Program) -> Iterator[Compiled]:
        yield from self._names.get(matchers.basename(program), ())
        yield from self._programs.of((program.name, program.path))

    def _of_paths(self, facts: Facts) -> Iterable[Compiled]:
        if facts.read_globs or facts.write_globs:
            return self._paths.every()
        found = {each.order: each for path in (*facts.reads, *facts.writes) for each in self._paths.of(path)}
        return found.values()

    def _of_hosts(self, facts: Facts) -> Iterable[Compiled]:
        return {each.order: each for host in facts.hosts for each in self._hosts.of(host.lower())}.values()
