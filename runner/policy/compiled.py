"""Deciding: every rule of every layer over the facts of one call; deny before ask before allow.

Rules are indexed by tool and by program, so that a call pays for the rules that can speak of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.policy import matchers
from runner.policy.book import Conditions, PathRules, Rule
from runner.policy.facts import Facts, Program
from runner.policy.index import Compiled, Index, about
from runner.policy.reading import TOOLS
from runner.values import Decision, Match, Ruling

LAYERS = ("floor", "org", "extra", "user", "project")
"""From the top down: what holds everywhere, the organisation's directory, the one a variable adds, the user's choice,
the repository's own."""

MOST_S = 0.05
"""CPU time one decision may take: a policy that needs more denies."""

_EVERY = 64
_MOST_TOOLS = 1_000
_HARMLESS = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin"})


class _TooSlowError(Exception):
    """A decision took more than it may."""


@dataclass(frozen=True, slots=True)
class Place:
    """What of a policy decides and is no rule: its name, where it stands, whose it is."""

    name: str
    at: str
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What is decided where no rule speaks, and by which line."""

    default: Ruling
    default_at: Place
    opaque: str
    opaque_at: Place
    in_args: Ruling
    in_args_at: Place
    gate: str
    paths: PathRules
    path_places: Mapping[str, Place]


class Decider:
    """Decides by compiled rules. A call of it never raises."""

    def __init__(self, rules: Sequence[Compiled], defaults: Defaults, digest: str, home: str) -> None:
        self._rules = rules
        self._defaults = defaults
        self._digest = digest
        self._tools: dict[str, Index] = {}
        self._barred = tuple(
            (key, done, matchers.touched(globs, home, write=done == "written"))
            for key, globs, done in (
                ("paths.deny_write", defaults.paths.deny_write, "written"),
                ("paths.deny_read", defaults.paths.deny_read, "read"),
            )
        )

    def __call__(self, facts: Facts) -> Decision:
        asked: list[Compiled] = []
        try:
            try:
                return self._decide(facts, asked)
            except _TooSlowError:
                # a pause of the interpreter's own, to collect garbage, is none of the policy's
                return self._decide(facts, asked)
        except _TooSlowError:
            return self._failed("builtin:timeout", f"the policy took more than {MOST_S * 1000:.0f} ms", asked)
        # whatever a rule trips over, a call that could not be judged does not run
        except Exception as error:  # noqa: BLE001  fails closed, and says by what
            return self._failed(
                "builtin:error", f"the policy could not judge this call ({type(error).__name__})", asked
            )

    def _failed(self, rule: str, reason: str, asked: Sequence[Compiled]) -> Decision:
        at = asked[-1].rule if asked else None
        told = f"{reason}, at rule {at.id}" if at is not None else reason
        return Decision(
            ruling=Ruling.DENY, rule=rule, place="" if at is None else at.place, reason=told, policy=self._digest
        )

    def _decide(self, facts: Facts, asked: list[Compiled]) -> Decision:
        spoken: dict[int, _Found] = {}
        covered = _Covered(facts)
        ends = time.thread_time() + MOST_S
        for count, (compiled, program) in enumerate(self._speaking(facts)):
            asked[:] = (compiled,)
            if count % _EVERY == 0 and time.thread_time() > ends:
                raise _TooSlowError
            if not compiled.matches(facts, program):
                continue
            rule = compiled.rule
            if rule.ruling is Ruling.ALLOW and not covered.by(rule, program):
                continue
            spoken[compiled.order] = (_match(rule), rule.reason, self._gate(rule))
        asked.clear()
        # a rule's own words tell more than a list of paths does
        found = [spoken[order] for order in sorted(spoken)]
        found += self._built_in(facts)
        if time.thread_time() > ends:
            raise _TooSlowError
        return self._answer(facts, found, covered)

    def _gate(self, rule: Rule) -> str:
        return (rule.gate or self._defaults.gate) if rule.ruling is Ruling.ASK else ""

    def _answer(self, facts: Facts, found: list[_Found], covered: _Covered) -> Decision:
        binding = [each for each in found if each[0].mode == "enforce" and each[0].ruling is not Ruling.ALLOW]
        allows = [each for each in found if each[0].mode == "enforce" and each[0].ruling is Ruling.ALLOW]
        ruling = max((each[0].ruling for each in binding), key=lambda one: one.rank, default=Ruling.ALLOW)
        allowed = bool(allows) and (covered.whole or bool(facts.opaque))
        if not allowed and (ruling is Ruling.ALLOW or (ruling is Ruling.ASK and not self._lifted(binding))):
            return self._unspoken(found, covered)
        mine = [each for each in (binding or allows) if each[0].ruling is ruling]
        first, reason, _ = mine[0]
        gates = tuple(dict.fromkeys(gate for _, _, gate in mine if gate)) if ruling is Ruling.ASK else ()
        return Decision(
            ruling=ruling,
            rule=first.rule,
            place=first.place,
            reason=reason,
            policy=self._digest,
            gates=gates,
            others=tuple(match for match, _, _ in found if match is not first),
        )

    def _lifted(self, asks: list[_Found]) -> bool:
        """Whether an ask stands where the default is deny: one of that layer, or of one above it, says so."""
        said = self._defaults
        if said.default is Ruling.ASK:
            return True
        return any(LAYERS.index(match.layer) <= LAYERS.index(said.default_at.layer) for match, _, _ in asks)

    def _unspoken(self, found: list[_Found], covered: _Covered) -> Decision:
        said = self._defaults
        return Decision(
            ruling=said.default,
            place=said.default_at.at,
            reason=covered.lacking(),
            policy=self._digest,
            gates=(said.gate,) if said.default is Ruling.ASK else (),
            others=tuple(match for match, _, _ in found),
        )

    # ---- what is no rule ---------------------------------------------------------------------------------

    def _built_in(self, facts: Facts) -> Iterator[_Found]:
        said = self._defaults
        if facts.refused:
            yield _builtin("builtin:refused", Ruling.DENY, f"{facts.refused} in a command")
        if facts.tool not in TOOLS and not facts.tool.startswith("mcp:"):
            yield _builtin("builtin:unknown-tool", Ruling.DENY, "there is no such tool")
        if not 0 <= facts.cost < 1 << 63:
            yield _builtin("builtin:cost", Ruling.DENY, "its cost is not known")
        if facts.secrets:
            reason = "the call holds a secret: leave it out, the environment of tools has what they may know"
            yield _placed(said.in_args_at, said.in_args, reason, said.gate)
        for key, done, glob_of in self._barred:
            if (glob := glob_of(facts)) is not None:
                yield _placed(said.path_places[f"{key} {glob}"], Ruling.DENY, f"{glob} is not {done} by tools", "")
        if facts.opaque:
            trusted = said.opaque == "allow_in_sandbox" and facts.sandboxed and not facts.egress
            ruling = Ruling.ALLOW if trusted else Ruling.DENY if said.opaque == "deny" else Ruling.ASK
            reason = f"{facts.opaque}: write it as plain commands, or use run with argv"
            yield _placed(said.opaque_at, ruling, reason, said.gate)

    # ---- rules -------------------------------------------------------------------------------------------

    def _speaking(self, facts: Facts) -> Iterator[tuple[Compiled, Program | None]]:
        index = self._tools.get(facts.tool)
        if index is None:
            index = Index(each for each in self._rules if about(each.rule, facts.tool))
            # a tool's name comes from a model: what nobody wrote a rule for is not kept for ever
            if len(self._tools) < _MOST_TOOLS:
                self._tools[facts.tool] = index
        return index.speaking(facts)


class _Covered:
    """What of a call is allowed so far: all of it, or some of its programs."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._programs: set[int] = set()
        self._call = False
        self._outside = frozenset(facts.outside) - _HARMLESS
        self._strays = tuple(path for path in facts.writes if path in self._outside)

    def by(self, rule: Rule, program: Program | None) -> bool:
        """Whether an allow rule that matched counts; what it allows is taken down where the rule binds."""
        if self._facts.opaque:
            return False
        if self._outside and not _says_where(rule.conditions):
            command = rule.conditions.command
            # what has subcommands works on a repository: allowed is this one
            if self._strays or (command is not None and command.subcommands):
                return False
        if rule.mode != "enforce":
            return True
        if program is None:
            self._call = True
        else:
            self._programs.add(id(program))
        return True

    @property
    def whole(self) -> bool:
        programs = self._facts.programs
        return self._call or (bool(programs) and all(id(program) in self._programs for program in programs))

    def lacking(self) -> str:
        """Why a call is not allowed, in words for the agent."""
        if self._strays:
            return f"no rule allows writing to {self._strays[0][:80]}"
        open_ones = [program.name for program in self._facts.programs if id(program) not in self._programs]
        return (
            f"no rule allows {open_ones[0][:80]}"
            if open_ones
            else f"no rule allows this call of {self._facts.tool[:80]}"
        )


def _says_where(found: Conditions) -> bool:
    """Whether an allow rule means writing outside the workspace: by its paths, or because walls stop what matters."""
    return bool(found.sandboxed or found.outside or found.paths or found.writes)


_Found = tuple[Match, str, str]


def _match(rule: Rule) -> Match:
    return Match(rule=rule.id, place=rule.place, ruling=rule.ruling, layer=rule.layer, mode=rule.mode)


def _builtin(name: str, ruling: Ruling, reason: str) -> _Found:
    return Match(rule=name, place="", ruling=ruling, layer="floor"), reason, ""


def _placed(place: Place, ruling: Ruling, reason: str, gate: str) -> _Found:
    match = Match(rule=place.name, place=place.at, ruling=ruling, layer=place.layer)
    return match, reason, gate if ruling is Ruling.ASK else ""
