"""What a rule matches, as closures over the facts of a call.

A test is made for one of two readings. The *certain* one leads to an allow (an allow rule, an exception of a deny):
everything it needs is known, nothing that is excluded may be there. The other leads to a deny or an ask: whatever may
be meant counts, abbreviated flags and programs deep inside unreadable text included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from runner.policy import expressions, patterns
from runner.policy.book import Command, Conditions
from runner.policy.facts import Facts, Program
from runner.policy.reading import RISKS

Matcher: TypeAlias = Callable[[Facts, Program | None], bool]
OfCall: TypeAlias = Callable[[Facts], bool]
OfProgram: TypeAlias = Callable[[Program], bool]


def matcher(found: Conditions, *, certain: bool, home: str) -> Matcher:
    """Whether a call, or one program of it, is what `found` says. The program is None for rules about whole calls."""
    calls = _of_call(found, certain=certain, home=home)
    blind = certain and _reads_text(found)
    programs = None if found.command is None else command(found.command, certain=certain)

    def test(facts: Facts, program: Program | None) -> bool:
        if blind and facts.opaque:
            return False
        for part in calls:
            if not part(facts):
                return False
        if programs is None:
            return True
        if program is not None:
            return programs(program)
        if certain:
            return bool(facts.programs) and all(map(programs, facts.programs))
        return any(map(programs, facts.programs)) or any(map(programs, facts.suspects))

    return test


def _reads_text(found: Conditions) -> bool:
    """Whether something is asked that text which is not understood does not tell for certain."""
    asked = (found.command, found.paths, found.reads, found.writes, found.hosts, found.when)
    return any(asked) or found.outside is False or found.redirects is False or found.background is False


def _of_call(found: Conditions, *, certain: bool, home: str) -> tuple[OfCall, ...]:
    tests: list[OfCall] = []

    def switch(wanted: bool | None, fact: OfCall) -> None:  # noqa: FBT001  a condition as stated, or none
        if wanted is not None:
            tests.append(lambda facts: fact(facts) is wanted)

    switch(found.sandboxed, lambda facts: facts.sandboxed)
    switch(found.opaque, lambda facts: bool(facts.opaque))
    switch(found.background, lambda facts: facts.background)
    switch(found.secrets, lambda facts: bool(facts.secrets))
    switch(found.redirects, lambda facts: bool(facts.redirects))
    switch(found.outside, lambda facts: bool(facts.outside))
    if found.min_risk:
        least = RISKS.index(found.min_risk)
        # a risk that nobody declared is a high one
        tests.append(lambda facts: (RISKS.index(facts.risk) if facts.risk in RISKS else len(RISKS)) >= least)
    if (price := found.min_cost) is not None:
        tests.append(lambda facts: facts.cost >= price)
    if found.paths:
        tests.append(_any_path(found.paths, certain=certain, home=home, of=_both))
    if found.reads:
        tests.append(_any_path(found.reads, certain=certain, home=home, of=_read))
    if found.writes:
        tests.append(_any_path(found.writes, certain=certain, home=home, of=_written))
    if found.hosts:
        tests.append(_hosts(found.hosts, certain=certain))
    if found.when:
        tests.append(expressions.compiled(found.when, certain=certain))
    return tuple(tests)


Touched: TypeAlias = Callable[[Facts], tuple[Sequence[str], Sequence[str]]]


def _both(facts: Facts) -> tuple[Sequence[str], Sequence[str]]:
    return (*facts.reads, *facts.writes), (*facts.read_globs, *facts.write_globs)


def _read(facts: Facts) -> tuple[Sequence[str], Sequence[str]]:
    return facts.reads, facts.read_globs


def _written(facts: Facts) -> tuple[Sequence[str], Sequence[str]]:
    return facts.writes, facts.write_globs


def _any_path(globs: tuple[str, ...], *, certain: bool, home: str, of: Touched) -> OfCall:
    tests = [patterns.path(glob, home) for glob in globs]

    def test(facts: Facts) -> bool:
        touched, open_ended = of(facts)
        if certain:
            return bool(touched) and not open_ended and all(any(each(one) for each in tests) for one in touched)
        if any(each(one) for one in touched for each in tests):
            return True
        return any(patterns.may_meet(glob, one, home) for one in open_ended for glob in globs)

    return test


def touched(globs: Sequence[str], home: str, *, write: bool) -> Callable[[Facts], str | None]:
    """The first of `globs` that a call reads, or writes. Patterns in a command that may name it count outside walls.

    Behind walls what is not to be written is mounted read-only, and what is not to be read is not there.
    """
    first = patterns.first_of(globs, home)
    of = _written if write else _read

    def glob_of(facts: Facts) -> str | None:
        found, open_ended = of(facts)
        for one in found:
            if (glob := first(one)) is not None:
                return glob
        if facts.sandboxed or not open_ended:
            return None
        return next((glob for glob in globs for one in open_ended if patterns.may_meet(glob, one, home)), None)

    return glob_of


def _hosts(globs: tuple[str, ...], *, certain: bool) -> OfCall:
    tests = [patterns.word(glob.lower()) for glob in globs]
    quantity = all if certain else any

    def test(facts: Facts) -> bool:
        return bool(facts.hosts) and quantity(any(each(host.lower()) for each in tests) for host in facts.hosts)

    return test


# ---- programs --------------------------------------------------------------------------------------------


def command(found: Command, *, certain: bool) -> OfProgram:
    """Whether one program is what a rule's `command` says."""
    tests: list[OfProgram] = [named(found.programs, certain=certain)]
    if found.subcommands:
        tests.append(_subcommand(found.subcommands, certain=certain))
    there = has_flag if certain else may_have_flag
    barred = may_have_flag if certain else has_flag
    if found.any_flag:
        tests.append(lambda program: any(there(program, flag) for flag in found.any_flag))
    if found.all_flags:
        tests.append(lambda program: all(there(program, flag) for flag in found.all_flags))
    if found.no_flag:
        tests.append(lambda program: not any(barred(program, flag) for flag in found.no_flag))
    if found.args:
        tests.append(_args(found, certain=certain))
    if found.words:
        tests.append(lambda program: _side_by_side(program.argv[1:], found.words))
    if certain and len(tests) > 1:
        # a word that a glob may still become is no word to rely on
        tests.insert(1, lambda program: program.literal)
    rest = tuple(tests)

    return lambda program: all(part(program) for part in rest)


def named(names: tuple[str, ...], *, certain: bool) -> OfProgram:
    """Whether a program is one of these: names, paths, or globs of either."""
    placed = frozenset(name for name in names if "/" in name and patterns.is_literal(name))
    plain = frozenset(name for name in names if "/" not in name and patterns.is_literal(name))
    globs = [("/" in name, patterns.word(name)) for name in names if not patterns.is_literal(name)]

    def test(program: Program) -> bool:
        if program.path in placed or program.name in placed:
            return True
        # what the agent can write is not what its name says
        own = certain and program.inside
        name = program.name if certain else basename(program)
        if name in plain and not own:
            return True
        for is_path, each in globs:
            if (each(program.path) or each(program.name)) if is_path else (not own and each(name)):
                return True
        return False

    return test


def basename(program: Program) -> str:
    """A program's name without the way to it."""
    return program.name.rpartition("/")[2]


def _subcommand(names: tuple[str, ...], *, certain: bool) -> OfProgram:
    tests = [patterns.word(name) for name in names]

    def test(program: Program) -> bool:
        if any(each(program.subcommand) for each in tests):
            # an option before the subcommand changes what it works on, or runs
            return not certain or all(word in _QUIET for word in _before(program))
        # after an option that nobody knows, any word may be the subcommand
        unknown = not certain and program.subcommand == ""
        return unknown and any(each(one) for one in program.argv[1:] for each in tests)

    return test


_QUIET = frozenset({"--no-pager", "--no-optional-locks", "--quiet", "-q", "--verbose", "-v"})


def _before(program: Program) -> Sequence[str]:
    """The words between a program's name and its subcommand."""
    words = program.argv[1:]
    return words[: words.index(program.subcommand)] if program.subcommand in words else words


def has_flag(program: Program, flag: str) -> bool:
    """Whether a program is certainly given a flag."""
    return flag in program.flags


def may_have_flag(program: Program, flag: str) -> bool:
    """The same, where an abbreviation of a long flag counts, and a word that a glob may still become."""
    if flag in program.flags or not program.literal:
        return True
    if not flag.startswith("--"):
        return False
    return any(len(given) > 2 and given.startswith("--") and flag.startswith(given) for given in program.flags)


def _args(found: Command, *, certain: bool) -> OfProgram:
    tests = [
        patterns.regex(each.text, whole=certain) if each.regex else patterns.word(each.text) for each in found.args
    ]

    def test(program: Program) -> bool:
        if not certain:
            return any(each(one) for one in program.argv[1:] for each in tests)
        operands = [one for one in program.argv[1:] if not one.startswith("-")]
        if found.subcommands and operands[:1] == [program.subcommand]:
            operands = operands[1:]
        return bool(operands) and all(any(each(one) for each in tests) for one in operands)

    return test


def _side_by_side(given: Sequence[str], words: Sequence[str]) -> bool:
    size = len(words)
    return any(tuple(given[at : at + size]) == tuple(words) for at in range(len(given) - size + 1))
