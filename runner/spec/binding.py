"""Whether every limit of a run can bind: a limit that cannot is an error before the first call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runner.errors import ConfigError
from runner.spec.model import Spec
from runner.values import Limits, Ms, NanoUsd, PicoUsd, format_usd, written_usd

_PICO_PER_NANO = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The dearest prices of a request of some size: pico-USD per token, and nano-USD `more` a request."""

    input: PicoUsd
    output: PicoUsd
    more: NanoUsd = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model's calls cost at worst: pico-USD per token, and bounds in tokens.

    `input` and `output` are the dearest that any request reaches, `first` what the first one does where that is less
    (a small request may be cheaper by the token). `context` bounds a call's input and `max_output` its reply;
    `overhead` is what the first request is longer than the spec (instructions and tools); a reply below `min_output`
    is not asked for. `hold_percent` is what is held of a price: more than 100 of an old one.
    """

    model: str
    input: PicoUsd
    output: PicoUsd
    context: int
    max_output: int
    min_output: int = 1024
    overhead: int = 0
    hold_percent: int = 100
    first: Rates | None = None

    def call(self, input_tokens: int, output_tokens: int) -> NanoUsd:
        """The cost of a call, rounded up once per token class."""
        parts = (input_tokens * self.input, output_tokens * self.output)
        return sum(-(-part // _PICO_PER_NANO) for part in parts)

    def least_tokens(self, spec: Spec) -> int:
        """The bound of the smallest first call: a token is at least a byte, so bytes bound the input."""
        return len(spec.text.encode()) + self.overhead + self.min_output

    def least_call(self, spec: Spec) -> NanoUsd:
        """What must be held for the smallest first call."""
        rates = self.first or Rates(input=self.input, output=self.output)
        tokens = (len(spec.text.encode()) + self.overhead) * rates.input, self.min_output * rates.output
        least = sum(-(-part // _PICO_PER_NANO) for part in tokens) + rates.more
        return -(-least * self.hold_percent // 100)

    @property
    def worst_call(self) -> NanoUsd:
        """What is held at most for one call."""
        return self.call(self.context, self.max_output)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The limits a run will have, and where each comes from.

    `sources` maps a field of Limits (and `stall`) to words for people; one that begins with `-` is a flag.
    """

    limits: Limits
    now: Ms
    price: Price | None = None
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    require_verified: bool = False

    def by_flag(self, *names: str) -> bool:
        """Whether one of these limits was given by a flag."""
        return any(self.sources.get(name, "").startswith("-") for name in names)


_FLAGS = {"duration_s": "duration", "idle_s": "idle"}
_UNITS = {
    "usd": "no money",
    "tokens": "no tokens",
    "calls": "no calls",
    "iterations": "no iterations",
    "steps": "no steps",
    "duration_s": "no time",
    "idle_s": "no time",
}


def problems(spec: Spec, world: InForce) -> tuple[ConfigError, ...]:
    """What makes this spec unusable under these limits (exit 2), each with its place and the fix."""
    return (
        *_nothing_allowed(spec, world),
        *_too_small(spec, world),
        *_hidden(spec, world),
        *_unverifiable(spec, world),
    )


def notes(spec: Spec, world: InForce) -> tuple[str, ...]:
    """What is allowed and still worth a line."""
    found: list[str] = []
    if world.limits.usd is None:
        found.append("nothing limits the money of this run but budgets of its project, user or organisation")
    if not spec.checks:
        found.append("no checks: done will be the agent's word, 'verified: false'")
    elif spec.target == 0:
        found.append("target 0: any result of the checks reaches it")
    if world.by_flag("iterations", "steps", "duration_s"):
        found += [f"under the flags given, {message}" for _, message, _ in _shadowed(spec, world.limits)]
    return tuple(found)


def _at(spec: Spec, world: InForce, key: str, message: str, hint: str) -> ConfigError:
    if world.by_flag(key):
        return ConfigError(f"{world.sources[key]}: {message}", hint=hint)
    line, column = spec.place(f"budget.{_FLAGS.get(key, key)}")
    if line is None:
        line, column = spec.place(key)
    return ConfigError(message, path=spec.path, line=line, column=column, hint=hint)


def _nothing_allowed(spec: Spec, world: InForce) -> Iterator[ConfigError]:
    for name, nothing in _UNITS.items():
        if getattr(world.limits, name) == 0:
            key = world.sources[name] if world.by_flag(name) else f"'{_FLAGS.get(name, name)}'"
            yield _at(
                spec,
                world,
                name,
                f"{_FLAGS.get(name, name)} 0 allows {nothing}, so the run cannot begin",
                f"give {key} a number above 0, or 'none' for no limit",
            )
    deadline = world.limits.deadline
    if deadline is not None and deadline <= world.now:
        yield _at(spec, world, "deadline", "the deadline has passed", "write a later one")


def _too_small(spec: Spec, world: InForce) -> Iterator[ConfigError]:
    price, limits = world.price, world.limits
    if price is None:
        return
    if limits.usd and limits.usd < (least := price.least_call(spec)):
        yield _at(
            spec,
            world,
            "usd",
            f"usd {written_usd(limits.usd)} is less than one call to {price.model} may cost ({format_usd(least)})",
            f"raise it to {format_usd(least)} at least, or take a cheaper model",
        )
    if limits.tokens and limits.tokens < (tokens := price.least_tokens(spec)):
        yield _at(
            spec,
            world,
            "tokens",
            f"tokens {limits.tokens:,} is less than one call may use ({tokens:,})",
            f"raise it to {tokens} at least",
        )


def _shadowed(spec: Spec, limits: Limits) -> Iterator[tuple[str, str, str]]:
    """Limits the spec states that another one always reaches first: field, message, fix."""
    if "calls" in spec.stated and limits.calls is not None and limits.iterations and limits.steps:
        most = limits.iterations * limits.steps
        if limits.calls > most:
            yield (
                "calls",
                f"calls {limits.calls:,} cannot bind: iterations × steps allows {most:,} calls",
                f"lower it below {most}, or raise 'iterations' or 'steps'",
            )
    stall = spec.stall.iterations
    if spec.place("stall")[0] is not None and stall is not None and limits.iterations and stall >= limits.iterations:
        yield (
            "stall",
            f"stall {stall} cannot bind: the run ends after {limits.iterations:,} iterations",
            f"lower it below {limits.iterations}, or write 'stall: none'",
        )
    idle, duration = limits.idle_s, limits.duration_s
    if "idle_s" in spec.stated and idle is not None and duration and idle >= duration:
        yield (
            "idle_s",
            f"idle {idle}s cannot bind: the run ends after {duration}s",
            "lower 'idle', or raise 'duration'",
        )


def _hidden(spec: Spec, world: InForce) -> Iterator[ConfigError]:
    # a flag that tightens one run must not turn a sound spec into a broken one: notes() tells it instead
    if not world.by_flag("iterations", "steps", "duration_s"):
        for name, message, hint in _shadowed(spec, world.limits):
            yield _at(spec, world, name, message, hint)


def _unverifiable(spec: Spec, world: InForce) -> Iterator[ConfigError]:
    if spec.checks:
        return
    hint = "add 'checks:' with a command whose exit code tells, e.g. 'checks: [pytest -q]'"
    if spec.place("target")[0] is not None:
        yield _at(spec, world, "target", "a target without checks: nothing gives a score", hint)
    if world.require_verified:
        yield ConfigError("--require-verified, and the spec has no checks", path=spec.path, line=1, hint=hint)
