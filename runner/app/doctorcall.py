"""One tiny real call to each provider that is configured: a run like any other, in an empty directory, of a few cents.

It is held and settled in the ledger by the code of every run, so that no budget can be passed by looking.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.app import drive, plan
from runner.app.health.finding import Finding, Mark
from runner.app.places import State
from runner.app.plan import Asked, Sources
from runner.app.reach import NoScreen
from runner.app.walls import Choice
from runner.config import Flags, Setting, Settings, state_dir, workspace_keys
from runner.errors import ConfigError, RunnerError, closest
from runner.events.facts import BoundViolated, CallRefused, CallReleased, CallSettled, CallUnknown, Event
from runner.models.catalog import DEFAULT_MODELS
from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS
from runner.sandbox.walls import NONE, Backend
from runner.secrets import Keys
from runner.store import journal
from runner.values import format_usd

CAP_NANO_USD = 50_000_000
"""The most that one such call may cost: 0.05 USD."""

_TEXT = "Answer with the one word ok, and use no tool."
_MOST_OUTPUT = 64
_LEAST_OUTPUT = 16
_LIMITS: Mapping[str, int | None] = {"usd": CAP_NANO_USD, "iterations": 1, "steps": 1, "calls": 1, "duration_s": 120}
_OUTCOMES = (CallSettled, CallReleased, CallUnknown, CallRefused, BoundViolated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the user has: environment, keys, and the directory whose `.env` may hold keys."""

    environ: Mapping[str, str]
    cwd: Path | None
    keys: Keys


def call(where: Where, wanted: Sequence[str]) -> Iterator[Finding]:
    """Call these providers, servers or models, by default every provider whose key is there and every server.

    Raises ConfigError for a name that is none. What a call comes to is its finding: a failure never raises.
    """
    if where.cwd is not None:
        where.keys.add(workspace_keys(where.cwd).keys, f"{where.cwd / '.env'}")
    with tempfile.TemporaryDirectory(prefix="runner-doctor-") as aside:
        place = Path(aside).resolve()
        sources = plan.gather(_asked(where, place, None), workspace=place, spec_model=None)
        models = [_model(name, sources) for name in wanted or _configured(sources)]
        if not models:
            yield Finding(Mark.NOTE, "call", "no provider is configured", "set a key, or name a server in the config")
        for model in models:
            try:
                yield _called(_asked(where, place, model), model)
            except RunnerError as error:
                yield Finding(Mark.FAIL, model, error.message, error.hint.partition("\n")[0])


def _configured(sources: Sources) -> list[str]:
    """The providers whose key is there, and the user's servers."""
    known = {**SUPPORTED_KEYS, **FOREIGN_KEYS}
    servers = sources.settings.providers.value
    named = [provider for provider, key in known.items() if key in sources.keys and provider not in servers]
    return [*named, *servers]


def _model(wanted: str, sources: Sources) -> str:
    """The model to call for a provider's name; a model's own name is itself."""
    if "/" in wanted:
        return wanted
    if wanted in DEFAULT_MODELS:
        return DEFAULT_MODELS[wanted]
    known = {*FOREIGN_KEYS, *sources.settings.providers.value}
    if wanted not in known:
        near = closest(wanted, {*known, *DEFAULT_MODELS})
        hint = f"did you mean {near}?" if near else "name a provider, a server of your configuration, or a model"
        raise ConfigError(f"there is no provider {wanted!r}", hint=hint)
    of_it = [entry for name, entry in sources.book.entries.items() if name.partition("/")[0] == wanted]
    if not of_it:
        raise ConfigError(f"no model of {wanted} has a price", hint="runner models --all lists those that have one")
    # whichever: the one that costs least
    return min(of_it, key=lambda entry: (entry.price.output, entry.name)).name


_NO_WALLS = Choice(name=NONE, backend=Backend(name=NONE))
"""For a call that needs no command: one that came all the same would be refused, as nobody accepted it."""


def _asked(where: Where, place: Path, model: str | None) -> Asked:
    flags = Flags(model=model, worktree=False)
    return Asked(text=_TEXT, cwd=place, environ=where.environ, keys=where.keys, flags=flags, limits=_LIMITS)


def _called(asked: Asked, model: str) -> Finding:
    draft = plan.read(asked)
    sources = replace(draft.sources, settings=_short(draft.sources.settings))
    chosen = plan.complete(replace(draft, sources=sources), asked)
    state = State(state_dir(sources.settings.state_dir.value))
    database = state.open()
    try:
        access = drive.Access(
            state=state, database=database, vault=sources.vault, screen=NoScreen(), say=lambda _: None
        )
        run = drive.create(chosen, access)
        drive.drive(run, chosen.spec, chosen.models, sources, access, rulebook=chosen.rulebook, choice=_NO_WALLS)
        known = (journal.known(run, row) for row in journal.rows(database, run))
        events = [one.event for one in known if one is not None]
    finally:
        database.close()
    came = [event for event in events if isinstance(event, _OUTCOMES)]
    return _finding(came[-1] if came else None, model, run)


def _short(settings: Settings) -> Settings:
    """The user's settings, for one short call that waits for nothing and tells nobody."""

    def here(seconds: int) -> Setting[int]:
        return Setting(seconds, "doctor")

    return replace(
        settings,
        min_output=here(_LEAST_OUTPUT),
        max_output=here(_MOST_OUTPUT),
        budget_wait_s=here(0),
        rate_wait_s=here(0),
        patience_s=here(0),
        thinking=Setting("off", "doctor"),
        on_stop=Setting(None, "doctor"),
        on_park=Setting(None, "doctor"),
    )


def _finding(event: Event | None, model: str, run: str) -> Finding:
    match event:
        case CallSettled(usage=usage, cost=cost, seconds=seconds):
            took = f"{usage.input_tokens} tokens in, {usage.output_tokens} out, {format_usd(cost)}, {seconds:.1f} s"
            return Finding(Mark.OK, model, f"answered: {took}")
        case CallReleased(reason=reason):
            return Finding(Mark.FAIL, model, f"nothing was billed: {reason.partition(chr(10))[0]}")
        case CallUnknown(reason=reason):
            return Finding(
                Mark.FAIL, model, f"it may have been billed: {reason.partition(chr(10))[0]}", f"runner show {run}"
            )
        case CallRefused(scope=scope):
            return Finding(Mark.FAIL, model, f"not sent: too little is left of {scope}", "runner budget show")
        case BoundViolated(what=what):
            return Finding(Mark.FAIL, model, what, f"runner show {run}")
        case _:
            return Finding(Mark.FAIL, model, "the call was not made", f"runner show {run}")
