"""The merged policy of a run as values: its rules, its gates, what it says of limits, sandbox, network and paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runner.policy.facts import Facts
from runner.values import Decision, Gate, Limits, NanoUsd, Ruling


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A policy file as it was read. `layer` is floor, org, extra, user or project; `digest` is of its bytes."""

    path: str
    layer: str
    digest: str = ""
    name: str = ""
    signed_by: str = ""

    def __str__(self) -> str:
        signed = f", signed by {self.signed_by}" if self.signed_by else ""
        return f"{self.layer} {self.path} sha256:{self.digest[:12]}{signed}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern for one word: a glob, or an RE2 expression."""

    text: str
    regex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a rule says of one program that runs. Empty says nothing.

    `words` is a sequence of words that stand side by side among the arguments.
    """

    programs: tuple[str, ...]
    subcommands: tuple[str, ...] = ()
    any_flag: tuple[str, ...] = ()
    all_flags: tuple[str, ...] = ()
    no_flag: tuple[str, ...] = ()
    args: tuple[Pattern, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """When a rule speaks: all that is stated must hold. None and () say nothing; `min_cost` is nano-dollars."""

    command: Command | None = None
    paths: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    outside: bool | None = None
    redirects: bool | None = None
    secrets: bool | None = None
    opaque: bool | None = None
    sandboxed: bool | None = None
    background: bool | None = None
    min_risk: str = ""
    min_cost: NanoUsd | None = None
    when: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A call that a rule, or a policy, is tried on: a tool's name and its arguments."""

    tool: str
    args: Mapping[str, object]
    place: str
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `tools` are names or globs; `gate` "" is the policy's default; `mode` warn and audit never bind.

    `position` is 1-based line and column in the file that `place` names.
    """

    id: str
    ruling: Ruling
    tools: tuple[str, ...]
    place: str
    layer: str
    position: tuple[int, int] = (1, 1)
    mode: str = "enforce"
    reason: str = ""
    gate: str = ""
    conditions: Conditions = Conditions()
    unless: tuple[Conditions, ...] = ()
    match: tuple[Example, ...] = ()
    no_match: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A line of a policy's `tests`: what a call is expected to be decided, and by which rule ("": by any)."""

    call: Example
    ruling: Ruling
    by: str = ""


@dataclass(frozen=True, slots=True)
class Egress:
    """A host that may be reached, and at which ports; the host `package-registries` stands for this machine's."""

    host: str
    ports: tuple[int, ...] = (443,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRules:
    """What the policy says of the sandbox. Sizes are bytes; None is no limit.

    `read_only` = not even the workspace is written. `accept_unsandboxed` = a person who said `--sandbox none` is
    believed; `required` = nobody may say it.
    """

    required: bool = False
    accept_unsandboxed: bool = False
    read_only: bool = False
    backends: tuple[str, ...] = ("bubblewrap", "landlock", "seatbelt")
    run_as: str = ""
    memory: int | None = None
    processes: int | None = None
    file_size: int | None = None
    cpu_s: int | None = None
    max_disk: int | None = None
    caches: tuple[str, ...] | None = None
    caches_writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRules:
    """Whom tools (`egress`) and `setup` may reach. Nobody else is reached."""

    egress: tuple[Egress, ...] = ()
    setup: tuple[Egress, ...] = (Egress("package-registries"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRules:
    """Globs of what no tool writes, and what none reads."""

    deny_write: tuple[str, ...] = ()
    deny_read: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRules:
    """Which variables tools are given (None: as configured), and what becomes of a call with a secret in it."""

    env_pass: tuple[str, ...] | None = None
    redact: tuple[str, ...] = ()
    in_args: Ruling = Ruling.DENY

    def passed(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What of the configured environment tools are given."""
        return {name: value for name, value in environ.items() if self.env_pass is None or name in self.env_pass}


@dataclass(frozen=True, slots=True)
class Effective:
    """A setting of the merged policy: its value, and the `file:line` that stated it ("" is built in)."""

    value: object
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """The merged policy of a run, compiled. Immutable; `digest` names it, and is of `canonical`, which is JSON.

    `default` is what becomes of a call that no rule speaks of: ask or deny. `opaque` is what becomes of shell text that
    is not plain: allow_in_sandbox, ask or deny. `limits`, `per_step_*`, `stall_*` and `repeat_limit` bind the loop
    where they are not None. `settings` are the effective ones by dotted name, for people; `notes` are sentences the
    user must see; `tests` are those of every file.
    """

    digest: str
    canonical: str
    sources: tuple[Source, ...]
    rules: tuple[Rule, ...]
    gates: Mapping[str, Gate]
    default: Ruling
    opaque: str
    on_ask: str
    asks_per_hour: int | None
    limits: Limits
    per_step_usd: NanoUsd | None
    per_step_s: int | None
    stall_iterations: int | None
    stall_min_gain: float | None
    repeat_limit: int | None
    sandbox: SandboxRules
    network: NetworkRules
    paths: PathRules
    secrets: SecretRules
    settings: Mapping[str, Effective]
    decider: Callable[[Facts], Decision] = field(repr=False, compare=False)
    tests: tuple[Expectation, ...] = ()
    notes: tuple[str, ...] = ()

    def decide(self, facts: Facts) -> Decision:
        """What becomes of a call. Never raises: whatever goes wrong inside is a deny by `builtin:error`."""
        return self.decider(facts)
