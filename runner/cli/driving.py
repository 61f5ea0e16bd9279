"""What `loop`, `resume` and `--dry-run` do once the command line is read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runner import config
from runner.app import approvals, approver, checking, drive, plan, rules, walls
from runner.app.clock import SystemClock
from runner.app.goon import loop_command, raise_command, resume_command, shared_budget
from runner.app.places import State
from runner.cli.accept import at_terminal
from runner.cli.edge import notice, tell
from runner.cli.ending import told
from runner.cli.lines import PlainScreen
from runner.cli.live.terminal import coloured, fit
from runner.errors import ConfigError, NotFoundError, RefusedError, StateError
from runner.log.stream import stream
from runner.policy.book import Rulebook
from runner.pricing.book import Entry
from runner.spec.check import understood
from runner.spec.model import Spec
from runner.spec.parse import parse_spec
from runner.state import State as RunState
from runner.store import journal
from runner.store.database import Database
from runner.store.halted import refuse_start, standing_halt
from runner.store.recorder import open_run
from runner.store.summary import summary
from runner.values import Limits, StopKind, StopReason, format_duration, format_usd
from runner.workspace.shadow import ShadowWorkspace


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How much a person wants to see. `plain` wants lines even on a terminal."""

    quiet: bool
    as_json: bool
    log_stderr: bool
    plain: bool = False


def loop(asked: plan.Asked, view: View, *, new: bool) -> int:
    """Start a run of a spec, or go on with its open one."""
    if asked.spec == "-" and sys.stdin.isatty():
        notice("note", "reading the spec from this terminal; Ctrl-D ends it")
    draft = plan.read(asked)
    place = State(draft.sources.settings.state_dir.value.expanduser())
    found = drive.open_run_of(place.open(), draft) if place.database.exists() else None
    if found is not None and not new:
        access, say = _access(draft.sources, view)
        say(f"going on with run {found.id} of this spec (--new starts another)")
        if drive.front_matter_changed(access.database, found.id, draft):
            access.say("note: the spec's front matter has changed since that run began; it counts for new runs only")
        return _go_on(found.id, asked, access, view)
    chosen = plan.complete(draft, asked)
    _refuse_unsound(chosen, asked)
    access, say = _access(chosen.sources, view)
    choice = _held(chosen.sources, chosen.rulebook, chosen.workspace, chosen.models)
    if found is not None:
        drive.end_without_driver(found.id, access, by="new", kind=StopKind.ABANDONED)
        access.say(f"run {found.id} was abandoned; its unknown holds stay counted")
    run = drive.create(chosen, access)
    _say_limits(chosen, say)
    with _watched(access, view, chosen.spec, run) as shown:
        stop, state = drive.drive(
            run, chosen.spec, chosen.models, chosen.sources, shown, rulebook=chosen.rulebook, choice=choice
        )
    return _end(stop, state, access, view)


def resume(run: str, asked: plan.Asked, view: View) -> int:
    """Go on with a named run, ended or open."""
    sources = plan.gather(asked, workspace=None, spec_model=None)
    root = sources.settings.state_dir.value.expanduser()
    # looking for a run makes no state directory
    if not root.exists() or (root.is_dir() and not State(root).database.exists()):
        msg = f"nothing was ever run: there is no state database in {root}"
        raise NotFoundError(msg, hint="runner loop SPEC starts a run; RUNNER_STATE_DIR names another state directory")
    access, _ = _access(sources, view)
    row = journal.find_run(access.database, run)
    # whoever names a run wants it to go on now, also where a provider asked it to wait
    return _go_on(row.id, asked, access, view, now=True)


def dry_run(asked: plan.Asked, view: View) -> int:
    """Say what a loop would do. Nothing is written or sent."""
    from runner.cli.output import say as printed

    chosen = plan.plan(asked)
    told = understood(chosen.spec, checking.in_force(chosen, asked))
    vault = chosen.sources.vault
    if view.as_json:
        sys.stdout.write(vault.mask(json.dumps(dict(told.data))) + "\n")
    else:
        lines = [*told.lines, f"workspace   {chosen.workspace}", *_would_go_on(chosen), "dry run: nothing was sent"]
        printed(*(vault.mask(line) for line in lines))
    return 2 if told.problems else 0


def _would_go_on(chosen: plan.Plan) -> Iterator[str]:
    """The open run that a loop of this spec would go on with, if one can be seen without writing."""
    place = State(chosen.sources.settings.state_dir.value.expanduser())
    if not place.database.exists():
        return
    try:
        database = Database(place.database, read_only=True)
    except StateError:
        return  # one of an older runner is brought up to date by the first command that writes
    found = drive.open_run_of(database, chosen)
    database.close()
    if found is not None:
        yield f"would go on with run {found.id} (--new starts another)"


def _refuse_unsound(chosen: plan.Plan, asked: plan.Asked) -> None:
    """A cap that cannot bind is an error before the first call."""
    if problems := understood(chosen.spec, checking.in_force(chosen, asked)).problems:
        raise ConfigError.joined(problems)


def _access(sources: plan.Sources, view: View) -> tuple[drive.Access, Callable[[str], None]]:
    """Open the state directory; also give what says things that a person who wants quiet need not know."""
    state = State(config.state_dir(sources.settings.state_dir.value))
    database = state.open()
    refuse_start(standing_halt(database))
    screen = _lines(sources, view)
    say = tell if view.quiet else screen.say
    access = drive.Access(
        state=state,
        database=database,
        vault=sources.vault,
        screen=screen,
        say=say,
        mirror=stream(sys.stderr) if view.log_stderr else None,
    )
    return access, _say_nothing if view.quiet else say


def _lines(sources: plan.Sources, view: View) -> PlainScreen:
    return PlainScreen(sources.vault, quiet=view.quiet, to_stderr=view.as_json)


def _say_nothing(_line: str) -> None:
    """Quiet is quiet."""


@contextmanager
def _watched(access: drive.Access, view: View, spec: Spec, run: str) -> Generator[drive.Access]:
    """Show the run live while the block drives it, where a terminal takes that; as lines everywhere else."""
    torn = view.log_stderr and sys.stderr.isatty()
    if view.quiet or view.plain or torn or not fit(os.environ):
        yield access
        return
    from runner.cli.live.screen import LiveScreen

    hints = (
        f"Ctrl-C ends it after this step · from elsewhere: runner watch {run.rpartition('-')[2]}",
        "Ctrl-C ends it after this step",
        "Ctrl-C: stop",
    )
    screen = LiveScreen(
        access.vault,
        now=SystemClock().now,
        hints=hints,
        colour=coloured(os.environ),
        target=spec.target if spec.checks else None,
    )
    with screen.shown():
        yield replace(access, screen=screen, say=screen.say, terminal=screen)


def _go_on(run: str, asked: plan.Asked, access: drive.Access, view: View, *, now: bool = False) -> int:
    """Go on with a run: its own spec and limits, with what was typed now put over them."""
    state = open_run(access.database, run, SystemClock()).state
    created = state.created
    if created is None:
        msg = f"run {run} has no beginning"
        raise RefusedError(msg, hint=f"runner log verify {run}")
    spec = parse_spec(created.spec_text, created.spec_path, on_path=lambda _: True, now=state.at)
    if asked.require_verified and not spec.checks:
        msg = f"--require-verified needs checks, and run {run} of this spec began without any"
        raise ConfigError(msg, hint="start another, which goes by the spec as it is now: add --new")
    sources = plan.gather(asked, workspace=Path(created.workspace), spec_model=spec.model, spec_models=spec.models)
    sources = replace(sources, settings=rules.kept(sources.settings, created.policy_layers))
    for place in filter(None, (created.workspace, created.origin)):
        plan.refuse_inside(sources.settings, Path(place).resolve())
    _refuse_other_state(sources.settings, access)
    access = replace(access, vault=sources.vault, screen=_lines(sources, view))
    models = plan.again(sources, asked, state)
    rulebook = rules.standing(sources.settings, Path(created.origin))
    limits = rules.bound(
        *config.resolve_limits(
            spec, asked.limits, state.limits, base_sources=dict(state.limit_sources), no_budget=asked.no_budget
        ),
        rulebook,
    )
    _may_go_on(run, state, limits[0])
    if limits[0] == state.limits and (parked := _asked_still(run, state, sources.settings, access, rulebook)):
        return _end(parked, state, access, view)
    accepted = walls.ACCEPTED in state.warned
    choice = _held(sources, rulebook, Path(created.workspace), models, accepted=accepted)
    with _watched(access, view, spec, run) as shown:
        stop, after = drive.drive(
            run, spec, models, sources, shown, rulebook=rulebook, choice=choice, seen=state.seq, limits=limits, now=now
        )
    return _end(stop, after, access, view)


def _held(
    sources: plan.Sources,
    rulebook: Rulebook,
    root: Path,
    models: Sequence[plan.Chosen],
    *,
    accepted: bool = False,
) -> walls.Choice:
    """What is to hold the commands of a run; whoever is at this terminal may accept that nothing does."""
    ask = at_terminal(unattended=sources.settings.unattended.value)
    return drive.held_by(sources.settings, rulebook, root, models, accepted=accepted, ask=ask)


def _asked_still(
    run: str, state: RunState, settings: config.Settings, access: drive.Access, rulebook: Rulebook
) -> StopReason | None:
    """What a run is parked for that waits for people, none of whom came: then it needs no driver, and no new fact.

    None where somebody sits here who can be asked, or another policy holds now, which decides anew.
    """
    if state.base is None or state.created is None or approvals.waits(access.database, run, state) is None:
        return None
    if not settings.unattended.value and approver.at_terminal(None, access.vault.mask) is not None:
        return None
    workspace = ShadowWorkspace(Path(state.created.workspace), access.state.root)
    same = rules.with_project(settings, rulebook, workspace, state.base.tree).digest == state.policy
    return state.stopped if same else None


def _refuse_other_state(settings: config.Settings, access: drive.Access) -> None:
    """A run found by the word of a file that has no say in its workspace may be an agent's own."""
    place = config.expanded(settings.state_dir.value).absolute()
    if place != access.state.root:
        raise ConfigError(
            f"the state directory {access.state.root} was named by a file in the run's workspace",
            hint="name it with RUNNER_STATE_DIR",
        )


_RAISE = {StopKind.BUDGET, StopKind.LIMIT}


def _may_go_on(run: str, state: RunState, limits: Limits) -> None:
    """Refuse what would stop again at once: a run that is done, and one whose limit was not raised."""
    stop = state.stopped
    if stop is None or stop.is_open:
        return
    if stop.kind is StopKind.BOUND_VIOLATED:
        msg = f"run {run} was stopped because more was billed than held: {stop.detail}"
        raise RefusedError(msg, hint=f"correct the price (--prices), then start another: {loop_command(state)}")
    if stop.kind in {StopKind.DONE, StopKind.ABANDONED}:
        msg = f"run {run} is over: {stop.kind}"
        raise RefusedError(msg, hint=f"start another: {loop_command(state)}")
    # a shared budget may have been raised, or its period have ended: the next call will tell
    if stop.kind in _RAISE and limits == state.limits and not shared_budget(run, stop):
        msg = f"run {run} was stopped by {stop.rule}, and no limit was raised"
        raise RefusedError(msg, hint=resume_command(run, stop, state))


def _say_limits(chosen: plan.Plan, say: Callable[[str], None]) -> None:
    limits, sources = chosen.limits, chosen.limit_sources
    say(f"spec {chosen.spec.path}: {chosen.spec.title}")
    if Path(chosen.spec.path).parent != chosen.workspace:
        say(f"workspace {chosen.workspace}")
    for place, one in enumerate(chosen.models):
        why = one.choice.why if place == 0 else "where those before it fail"
        say(f"model {one.name} ({why}; {_price(one.entry)})")
    if chosen.first.choice.kind == "replay":
        say("note: a recording answers; nothing is paid, sums are what it would cost")
    shown = [f"{format_usd(limits.usd)} ({sources['usd']})"]
    for name, unit in (("tokens", "tokens"), ("calls", "calls"), ("iterations", "iterations"), ("steps", "steps each")):
        value: int | None = getattr(limits, name)
        if value is not None:
            shown.append(f"{value} {unit} ({sources[name]})")
    if limits.duration_s is not None:
        shown.append(f"{format_duration(limits.duration_s)} ({sources['duration_s']})")
    say(f"limits {', '.join(shown)}")


def _price(entry: Entry) -> str:
    if entry.local:
        return "local: its tokens cost nothing"
    price = entry.price
    longer = "".join(
        f", above {tier.tokens:,} tokens ${tier.price.input / 1e6:g} and ${tier.price.output / 1e6:g}"
        for tier in price.above
    )
    base = f"${price.input / 1e6:g} in, ${price.output / 1e6:g} out per million tokens"
    return f"{base}{longer}, as of {entry.as_of}"


def _end(stop: StopReason, state: RunState, access: drive.Access, view: View) -> int:
    """Say how it ended."""
    if view.as_json:
        sys.stdout.write(json.dumps(summary(state)) + "\n")
        return stop.exit_code
    show = PlainScreen(access.vault).say
    run = state.created.run if state.created else ""
    for line in told(stop, state, raise_it=raise_command(access.database, run, stop, state)):
        show(line)
    return stop.exit_code
