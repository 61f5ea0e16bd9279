"""Build the world of one run: every adapter, wired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from runner.agent.conversation import Conversation
from runner.app import identity, signals
from runner.app.approver import at_terminal
from runner.app.asking import Asking
from runner.app.clock import SystemClock
from runner.app.judge import PolicyJudge
from runner.app.lending import lend
from runner.app.places import RunPlace, State
from runner.app.plan import Chosen, Sources, policy_of
from runner.app.setup import run_setup
from runner.app.texts import WorkspaceTexts
from runner.app.wallplan import Ground
from runner.app.walls import Choice, Walls
from runner.checks import SpecChecks, WorkspaceGuard
from runner.config import Settings
from runner.errors import StateError
from runner.events.facts import ItemTicked, RunCreated
from runner.loop.world import Engine, World
from runner.models import catalog
from runner.policy.book import Rulebook
from runner.policy.model import Policy
from runner.ports import ToolDefinition
from runner.pricing.book import hold_percent
from runner.sandbox.proxy import Proxy
from runner.spec.checklist import checklist, normalised, tick
from runner.spec.model import Spec
from runner.store.recorder import JournalRecorder
from runner.tools import BuiltinTools
from runner.tools.surroundings import WorkspaceSurroundings
from runner.workspace.shadow import ShadowWorkspace

AGENT = "builtin"
"""The agent of runner's own, as records name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a driver brings along for one run."""

    spec: Spec
    created: RunCreated
    sources: Sources
    rulebook: Rulebook
    choice: Choice
    proxy: Proxy | None
    models: tuple[Chosen, ...]
    state: State
    workspace: ShadowWorkspace
    recorder: JournalRecorder
    on_text: Callable[[str], None]
    on_output: Callable[[bytes], None]
    terminal: signals.Terminal | None = None

    @property
    def place(self) -> RunPlace:
        """Where the run's things live."""
        return self.state.run(self.created.run)


def world(parts: Parts) -> World:
    """Wire the adapters. Imports a provider's SDK where the model needs one."""
    sources, recorder = parts.sources, parts.recorder
    root = parts.workspace.root
    spec_file = spec_file_in(parts.created)
    env = parts.rulebook.secrets.passed(sources.settings.tool_env())
    # the guard knows what is protected once checkpoint 0 is there, and no command is wanted before
    held = Walls(parts.choice, sources.settings, parts.rulebook, lambda: _ground(parts, guard), parts.proxy)
    if held.user is not None:
        lend(parts.place.scratch)
        lend(parts.place.home, held.user)
    enclosure = held.enclosure(parts.place.root)
    tools = BuiltinTools(
        root,
        env=env,
        artefacts=parts.place.artefacts,
        vault=sources.vault,
        spec_path=spec_file,
        tick=tick,
        on_tick=_ticker(recorder),
        on_output=parts.on_output,
        launch=held.launch,
        sandbox=held.name,
        most_s=parts.rulebook.per_step_s,
    )
    engines = tuple(_engine(one, sources, tools.definitions) for one in parts.models)
    checks = SpecChecks(
        parts.workspace,
        parts.place.scratch,
        env=env,
        vault=sources.vault,
        normalise=normalised,
        enclosure=enclosure,
    )
    guard = LateGuard(parts, checks)
    return World(
        clock=SystemClock(),
        engines=engines,
        prices=sources.book.digest,
        tools=tools,
        workspace=parts.workspace,
        checks=checks,
        guard=guard,
        spec=parts.spec,
        texts=WorkspaceTexts(parts.spec, root=root, spec_file=spec_file, vault=sources.vault),
        conversation=Conversation([one.model for one in engines], [one.entry for one in engines]),
        setup=lambda interrupt: run_setup(
            parts.spec, root=root, env=env, vault=sources.vault, interrupt=interrupt, enclosure=enclosure
        ),
        backoff_s=_backoff_s,
        on_text=parts.on_text,
        mask=sources.vault.mask,
        judge=_judge(parts, tools, env),
        approver=None if sources.settings.unattended.value else at_terminal(parts.terminal, sources.vault.mask),
    )


def _ground(parts: Parts, guard: LateGuard) -> Ground:
    """Where the run works, and what of it its commands must leave as it is."""
    root, spec = parts.workspace.root, spec_file_in(parts.created)
    inside = spec is not None and spec.is_relative_to(root)
    return Ground(
        workspace=root,
        origin=Path(parts.created.origin),
        state=parts.state.root,
        home=parts.place.home.resolve(),
        protected=tuple(guard.base()),
        spec=spec.relative_to(root).as_posix() if spec is not None and inside else None,
    )


def _judge(parts: Parts, tools: BuiltinTools, env: Mapping[str, str]) -> PolicyJudge:
    """The judge of this run's tool calls: the policy, and where names and paths lead here."""
    recorder, vault = parts.recorder, parts.sources.vault
    around = WorkspaceSurroundings(
        parts.workspace.root,
        env,
        sandboxed=parts.choice.sandboxed(parts.rulebook.sandbox),
        egress=parts.proxy is not None,
        vault=vault,
    )
    return PolicyJudge(
        parts.rulebook,
        around,
        agent=lambda: f"{AGENT} {recorder.state.model}",
        owner=parts.created.owner or identity.owner(),
        mask=vault.mask,
        asking=Asking(
            gates=parts.rulebook.gates,
            around=around,
            root=parts.workspace.root,
            schemas={one.name: one.parameters for one in tools.definitions},
            environment=env,
            sandbox=parts.choice.name,
            tree=lambda: parts.workspace.snapshot().tree,
            mask=vault.mask,
        ),
    )


def _engine(chosen: Chosen, sources: Sources, tools: tuple[ToolDefinition, ...]) -> Engine:
    settings = sources.settings
    asks = chosen.asks(settings)
    model = catalog.build(
        chosen.choice,
        book=sources.book,
        keys=sources.key_values(),
        tools=tools,
        base_url=settings.openai_base_url.value,
        timeout_s=settings.call_timeout_s.value,
        idle_s=settings.idle_timeout_s.value,
        asks=asks,
        thinking=settings.thinking.value,
    )
    return Engine(
        model=model,
        entry=chosen.entry,
        asks=asks,
        hold_percent=hold_percent(chosen.entry, SystemClock().now()),
        asked=chosen.name,
    )


def policy(spec: Spec, settings: Settings, rulebook: Rulebook, world: World) -> Policy:
    """The rules of a run, with what they need to know of its policy and of the models it may call."""
    own = policy_of(spec, settings)
    stall = [one for one in (own.stall_iterations, rulebook.stall_iterations) if one is not None]
    return replace(
        own,
        stall_iterations=min(stall, default=None),
        repeat_limit=rulebook.repeat_limit or own.repeat_limit,
        on_ask=rulebook.on_ask,
        asks_per_hour=rulebook.asks_per_hour,
        step_usd=rulebook.per_step_usd,
        min_gain=rulebook.stall_min_gain or 0.0,
        engines=len(world.engines),
        attended=world.approver is not None,
        can_count=tuple(
            one.model.can_count and one.entry.count != "untrusted" and not one.entry.local for one in world.engines
        ),
        contexts=tuple(one.entry.context for one in world.engines),
    )


def spec_file_in(created: RunCreated) -> Path | None:
    """The spec's file inside the run's workspace; None when it is none of its files."""
    path, origin = Path(created.spec_path), Path(created.origin)
    if not path.is_absolute() or not path.resolve().is_relative_to(origin):
        return None
    return Path(created.workspace) / path.resolve().relative_to(origin)


class LateGuard:
    """The guard of protected files, made once checkpoint 0 says which they are."""

    def __init__(self, parts: Parts, checks: SpecChecks) -> None:
        self._parts, self._checks = parts, checks

    @cached_property
    def _guard(self) -> WorkspaceGuard:
        recorder = self._parts.recorder
        base = recorder.state.base
        if base is None:
            msg = "protected files are known from checkpoint 0 on"
            raise StateError(msg)
        protected = self._checks.protection(self._parts.spec, base.tree)
        return WorkspaceGuard(
            self._parts.workspace, protected, base=base.tree, accepted=lambda: recorder.state.accepted
        )

    def base(self) -> Mapping[str, str]:
        return self._guard.base()

    def look(self) -> Mapping[str, str]:
        return self._guard.look()

    def differing(self) -> tuple[str, ...]:
        return self._guard.differing()


def _ticker(recorder: JournalRecorder) -> Callable[[str], str | None]:
    """Tick an item of a spec that is no file of the workspace: a fact of the run."""

    def on_tick(item: str) -> str | None:
        text = recorder.state.spec_text
        ticked = tick(text, item)
        if ticked is None:
            items = "; ".join(one.text for one in checklist(text)) or "it has none"
            return f"no such checklist item: {item!r} (items: {items})"
        for old, new in zip(checklist(text), checklist(ticked), strict=True):
            if old.ticked != new.ticked:
                recorder.post(ItemTicked(item=new.text))
        return None

    return on_tick


def _backoff_s(attempt: int) -> float:
    """Exponential with jitter, one second to a minute."""
    from tenacity import RetryCallState, wait_exponential_jitter

    # tenacity asks a wait rule through the state of a retry; only the attempt's number counts here
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.attempt_number = attempt
    return float(wait_exponential_jitter(initial=1, max=60)(state))
