"""Start, continue and drive a run: lease, listeners, loop, and what is said at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import runner
from runner import loop
from runner.agent.conversation import Conversation
from runner.app import build, identity, present, rules, signals, walls
from runner.app.clock import SystemClock
from runner.app.places import State
from runner.app.plan import Chosen, Draft, Plan, Sources, price_note
from runner.config import Settings
from runner.errors import StateError
from runner.events.facts import CallUnknown, LimitsSet, LogRepaired, RunCreated, RunStopped, Stamped, StopAsked, Warned
from runner.log import RunLog, rows_of
from runner.loop import trees
from runner.notify import Hooks
from runner.policy.book import Rulebook
from runner.ports import Screen
from runner.secrets import Vault
from runner.spec.frontmatter import body_start
from runner.spec.model import Spec
from runner.state import State as RunState
from runner.store import journal
from runner.store.database import Database
from runner.store.lease import Lease
from runner.store.recorder import JournalRecorder, create_run, open_run, take_over
from runner.store.summary import summary
from runner.values import Limits, StopKind, StopReason
from runner.workspace.shadow import ShadowWorkspace
from runner.workspace.worktree import clone_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What writing a run's journal takes. `say` gets sentences for the user, `mirror` each line of the log.

    `terminal` is there when the screen has one of its own.
    """

    state: State
    database: Database
    vault: Vault
    screen: Screen
    say: Callable[[str], None]
    mirror: Callable[[str], object] | None = None
    terminal: signals.Terminal | None = None


def open_run_of(database: Database, plan: Draft) -> journal.RunRow | None:
    """The open run of this spec in this workspace: crashed, interrupted or parked. None when there is none."""
    key = identity.spec_key(plan.spec.path, plan.spec.text)
    for row in journal.runs(database):
        if row.spec_key == key and row.workspace == str(plan.workspace):
            return None if row.summary.get("status") == "ended" else row
    return None


def front_matter_changed(database: Database, run: str, plan: Draft) -> bool:
    """Whether the spec's settings are others than those an open run goes by."""
    created = open_run(database, run, SystemClock()).state.created
    if created is None:
        return False
    now = plan.sources.vault.mask(plan.spec.text)
    return now[: body_start(now)] != created.spec_text[: body_start(created.spec_text)]


def create(plan: Plan, access: Access) -> str:
    """Begin a new run and give its id. Nothing is sent yet; the workspace is not changed."""
    clock = SystemClock()
    run = identity.new_run_id(clock.now())
    workspace = ShadowWorkspace(plan.workspace, access.state.root)
    settings = plan.sources.settings
    root = plan.workspace
    # `runner apply` brings the result of a copy back
    apart = settings.apart.value
    with workspace.lock():
        workspace.forget()
        if apart:
            clone = clone_for(workspace, into=access.state.worktree(run), state=access.state.root)
            root = clone.workspace.root
    key = identity.spec_key(plan.spec.path, plan.spec.text)
    created = RunCreated(
        run=run,
        spec_path=plan.spec.path,
        spec_key=key,
        spec_text=access.vault.mask(plan.spec.text),
        workspace=str(root),
        origin=str(plan.workspace),
        worktree=apart,
        model=plan.first.name,
        models=tuple(one.name for one in plan.models) if len(plan.models) > 1 else (),
        prices_digest=plan.sources.book.digest,
        prices_as_of=str(plan.first.entry.as_of),
        scopes=identity.scopes(
            run=run,
            spec=key,
            project=identity.project(workspace, settings.project.value),
            user=identity.user(),
            model=plan.first.entry.name,
        ),
        limits=plan.limits,
        limit_sources=dict(plan.limit_sources),
        runner_version=runner.__version__,
        unattended=settings.unattended.value,
        policy=plan.rulebook.digest,
        policy_layers=rules.layers(plan.rulebook),
        owner=identity.owner(),
        agent=build.AGENT,
    )
    create_run(access.database, created, clock)
    return run


def drive(
    run: str,
    spec: Spec,
    models: Sequence[Chosen],
    sources: Sources,
    access: Access,
    *,
    rulebook: Rulebook,
    choice: walls.Choice,
    seen: int = 1,
    limits: tuple[Limits, dict[str, str]] | None = None,
    now: bool = False,
) -> tuple[StopReason, RunState]:
    """Take a run's lease and drive it until it stands still. Raises BusyError (75) when somebody else has it.

    It calls the first of `models` unless that fails for good, then the next. The policy is `rulebook` with the
    project's own layer, read once: nothing changes it while this driver lives. `choice` is what holds the run's
    commands. `seen` is the last event the caller knew of: a run that somebody ended since then stays ended. `now` =
    what a provider asked the run to wait for is over.
    """
    with taken(run, models[0].name, access, seen=seen, now=now) as (recorder, workspace):
        if (over := recorder.state.stopped) is not None:
            return over, recorder.state
        if limits is not None and limits[0] != recorder.state.limits:
            recorder.record(LimitsSet(limits=limits[0], sources=limits[1]))
        _say_once(recorder, [*choice.notes, *_notes(recorder.state, sources, models)])
        created = recorder.state.created
        if created is None:
            msg = f"run {run} has no beginning"
            raise StateError(msg)
        streams = present.Streams(access.vault)
        recorder.listen(lambda stamped, _: streams.event(stamped.event))
        file = build.spec_file_in(created)
        with (
            signals.listening(recorder, access.terminal),
            present.published(streams, access.state.run(run).now),
            ExitStack() as open_for,
        ):
            pinned = _with_project(sources.settings, rulebook, workspace, recorder)
            if pinned.sandbox != rulebook.sandbox:
                choice = held_by(sources.settings, pinned, workspace.root, models, accepted=bool(choice.accepted))
            _pin(pinned, choice, recorder)
            place = access.state.run(run)
            proxy = open_for.enter_context(walls.way_out(choice, sources.settings, pinned, workspace.root, place.root))
            world = build.world(
                build.Parts(
                    spec=spec if file is None else replace(spec, path=str(file)),
                    created=created,
                    sources=sources,
                    rulebook=pinned,
                    choice=choice,
                    proxy=proxy,
                    models=tuple(models),
                    state=access.state,
                    workspace=workspace,
                    recorder=recorder,
                    on_text=present.both(streams.text, access.screen.text),
                    on_output=present.both(streams.output, access.screen.output),
                    terminal=access.terminal,
                )
            )
            _follow(world.conversation, recorder, access.database, run)
            try:
                stop = loop.run(recorder, build.policy(spec, sources.settings, pinned, world), world)
                _hook(stop, recorder.state, sources, access)
            finally:
                world.tools.end_iteration()
        return stop, recorder.state


def held_by(
    settings: Settings,
    rulebook: Rulebook,
    root: Path,
    models: Sequence[Chosen],
    *,
    accepted: bool = False,
    ask: Callable[[str], bool] | None = None,
) -> walls.Choice:
    """What holds the commands of a run in `root`. Raises ConfigError (2) with the fix where nothing does.

    `accepted` = somebody at a terminal has accepted that before; `ask` asks now.
    """
    recorded = all(one.choice.kind == "replay" for one in models)
    return walls.choose(settings, rulebook.sandbox, root, recorded=recorded, accepted=accepted, ask=ask)


def _with_project(
    settings: Settings, rulebook: Rulebook, workspace: ShadowWorkspace, recorder: JournalRecorder
) -> Rulebook:
    """The policy this driver goes by to its end: with the project's own layer, as checkpoint 0 has it."""
    stop = recorder.state.stop_asked
    if recorder.state.checkpoint is None and (stop is None or not stop.now):
        trees.checkpoint("as found", workspace, recorder)
    base = recorder.state.base
    return rulebook if base is None else rules.with_project(settings, rulebook, workspace, base.tree)


def _pin(rulebook: Rulebook, choice: walls.Choice, recorder: JournalRecorder) -> None:
    """Write the policy down where it is another than before, and hold the run to its limits."""
    if rulebook.digest != recorder.state.policy:
        recorder.record(rules.pinned(rulebook, choice.name))
    limits, origins = rules.bound(recorder.state.limits, recorder.state.limit_sources, rulebook)
    if limits != recorder.state.limits:
        recorder.record(LimitsSet(limits=limits, sources=origins))
    _say_once(recorder, [*choice.notes, *(_note(text) for text in rulebook.notes)])


@contextmanager
def taken(
    run: str, model: str, access: Access, *, seen: int | None = None, now: bool = False
) -> Generator[tuple[JournalRecorder, ShadowWorkspace]]:
    """Hold the run's lease and its workspace; the log file is caught up before anything new is written.

    Yields without taking the run over when somebody ended it after the event `seen`.
    """
    with leased(run, access) as recorder:
        workspace = _workspace(recorder.state.created, access.state)
        with workspace.lock():
            stopped = recorder.state.stopped
            over = stopped is not None and not stopped.is_open
            if not (over and seen is not None and _stopped_since(access.database, run, seen)):
                take_over(recorder, model, now=now)
            yield recorder, workspace


def _stopped_since(database: Database, run: str, seen: int) -> bool:
    return any(row.kind == RunStopped.__name__ for row in journal.rows(database, run, after=seen))


@contextmanager
def leased(run: str, access: Access) -> Generator[JournalRecorder]:
    """Hold a run's lease, with its log file caught up. Raises BusyError (75) when somebody else has it."""
    place = access.state.run(run)
    with ExitStack() as held:
        lease = Lease(place.lease, f"run {run}")
        held.callback(lease.release)
        log = RunLog(place.log, access.vault, say=access.say, mirror=access.mirror)
        held.callback(log.close)

        def listener(stamped: Stamped, state: RunState) -> None:
            log.write((stamped,))
            access.screen.event(stamped.at, stamped.event, state)

        recorder = open_run(access.database, run, SystemClock(), [listener])
        head = recorder.state.seq
        repair = log.catch_up(lambda after: rows_of(run, journal.rows(access.database, run, after=after)), head)
        if repair is not None:
            recorder.record(LogRepaired(reason=repair.reason, first_bad_line=repair.first_bad_line))
        yield recorder


@contextmanager
def standing(run: str, access: Access) -> Generator[JournalRecorder]:
    """Hold a run that nobody drives, to write facts; it stands afterwards as it stood before.

    Raises BusyError (75) while somebody drives it. A run that crashed is taken over first, so that its dead time is
    known as such.
    """
    with leased(run, access) as recorder:
        if recorder.state.stopped is None:
            take_over(recorder, recorder.state.model)
        yield recorder


def _workspace(created: RunCreated | None, state: State) -> ShadowWorkspace:
    if created is None:
        msg = "the run's journal does not say where it works"
        raise StateError(msg, hint="runner log verify tells what is missing")
    copy_of = Path(created.origin) if created.worktree else None
    return ShadowWorkspace(Path(created.workspace), state.root, copy_of=copy_of)


def _follow(conversation: Conversation, recorder: JournalRecorder, database: Database, run: str) -> None:
    """Fold what was said in this iteration, then everything new."""
    for row in journal.rows(database, run):
        if (stamped := journal.known(run, row)) is not None:
            conversation.apply(stamped.event)
    recorder.listen(lambda stamped, _: conversation.apply(stamped.event))


def _notes(state: RunState, sources: Sources, models: Sequence[Chosen]) -> list[tuple[str, str]]:
    """What the user, and the record, must be told of a run, each with its topic."""
    notes: list[tuple[str, str]] = []
    created = state.created
    if created is not None and created.worktree:
        copied = build.spec_file_in(created)
        edit = f"edit the spec in the copy: {copied}" if copied else f"the copy: {created.workspace}"
        text = f"works on a copy; this folder does not change until: runner apply {created.run} ({edit})"
        notes.append(("worktree", text))
    notes += [_note(text) for text in sources.notes]
    for place, one in enumerate(models):
        if (old := price_note(one.entry)) is not None:
            notes.append(("old_price" if place == 0 else f"old_price:{one.entry.name}", old))
    return notes


def _note(text: str) -> tuple[str, str]:
    return f"note:{hashlib.sha256(text.encode()).hexdigest()[:12]}", text


def _say_once(recorder: JournalRecorder, notes: Sequence[tuple[str, str]]) -> None:
    """Say notes, each topic once a run."""
    for topic, text in notes:
        if topic not in recorder.state.warned:
            recorder.record(Warned(topic=topic, text=text))


def _hook(stop: StopReason, state: RunState, sources: Sources, access: Access) -> None:
    settings, models = sources.settings, state.created.models if state.created is not None else ()
    hooks = Hooks(
        on_stop=settings.on_stop.value, on_park=settings.on_park.value, more=sources.for_hooks((*models, state.model))
    )
    tell = hooks.parked if stop.kind is StopKind.PARKED else hooks.stopped
    if (problem := tell(summary(state))) is not None:
        access.say(problem)


def end_without_driver(run: str, access: Access, *, by: str, kind: StopKind) -> None:
    """End an open run that nobody drives; its unknown holds stay. Raises BusyError when somebody drives it."""
    state = open_run(access.database, run, SystemClock()).state
    if state.stopped is not None and not state.stopped.is_open:
        return
    with standing(run, access) as recorder:
        if recorder.state.stopped is not None and not recorder.state.stopped.is_open:
            return
        for sent in recorder.state.open_calls.values():
            recorder.record(CallUnknown(call=sent.call, reason="the driver died during the call"))
        recorder.record(StopAsked(by=by, now=True))
        recorder.record(RunStopped(kind=kind, rule=by))
