"""What would be in force for a run, each value with everyone who stated it. Nothing is made by looking."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from runner import config
from runner.app import identity
from runner.app.budgets import Line
from runner.app.clock import SystemClock
from runner.app.look import look
from runner.app.plan import Asked, Sources, choose, chosen, gather, price_note, read
from runner.app.presence import Key, keys_present
from runner.config.limits import FIELDS, FLAGS
from runner.config.settings import Setting, user_config_path
from runner.config.userfile import KEYS
from runner.errors import ConfigError, RunnerError, closest
from runner.models.keys import KNOWN_KEYS
from runner.spec.model import Spec
from runner.store.standing import of, standing
from runner.values import Limits, NanoUsd, Scope, ScopeKind
from runner.workspace.shadow import ShadowWorkspace

BASE_URL = "openai_base_url"
SERVERS = "providers"

LIMITS: Mapping[str, str] = {f"budget.{name.removesuffix('_s')}": name for name in FIELDS}
"""The limits as a spec's front matter names them, each with its field."""

NAMES: tuple[str, ...] = (*KEYS, BASE_URL, SERVERS, *LIMITS, *sorted(KNOWN_KEYS))
"""Everything that can be asked for by name."""

_UNITS = {"usd": "nano_usd", "duration_s": "seconds", "idle_s": "seconds", "deadline": "ms"}
_NO_SPEC = Spec(path="", text="", body="", title="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A setting: its value (None: `default` in words), the place it comes from, the variable that would win over it."""

    name: str
    value: object
    place: str
    variable: str
    default: str = "none"


@dataclass(frozen=True, slots=True)
class Layer:
    """One who states a limit: `value` None is unlimited."""

    value: int | None
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit: `layers` begins with the one in force, after it what it replaced."""

    name: str
    unit: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A budget that other runs share and this one would be counted for; `binds` says that it has less than the cap."""

    line: Line
    binds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """Everything that would steer a run. `model` is None where none can be chosen; `why` says who chose it, or why."""

    path: Path
    spec: str | None
    workspace: Path
    model: str | None
    why: str
    settings: tuple[Named, ...]
    limits: tuple[Limit, ...]
    shared: tuple[Shared, ...]
    keys: tuple[Key, ...]
    notes: tuple[str, ...]


def effective(asked: Asked) -> Effective:
    """Put together what a run would be held to, with the spec's word where one is named. Raises ConfigError."""
    if asked.spec is None:
        spec, workspace = _NO_SPEC, asked.cwd.resolve()
        sources = gather(asked, workspace=workspace, spec_model=None)
    else:
        draft = read(asked)
        spec, workspace, sources = draft.spec, draft.workspace, draft.sources
    limits, in_force = config.resolve_limits(spec, asked.limits, no_budget=asked.no_budget)
    model, why, notes = _model(sources, spec, asked)
    try:
        shared = _shared(sources, asked, workspace, model=model, cap=limits.usd)
    except RunnerError as error:
        shared = ()
        notes = (*notes, f"the budgets that runs share cannot be read: {error.message}")
    mask = sources.vault.mask
    path, _ = user_config_path(sources.settings.environ)
    return Effective(
        path=path,
        spec=spec.path or None,
        workspace=workspace,
        model=model,
        why=why,
        settings=tuple(_settings(sources, spec)),
        limits=tuple(_limit(name, spec, asked, limits, in_force) for name in FIELDS),
        shared=shared,
        keys=tuple(keys_present(sources.keys, sources.settings.providers.value.values())),
        notes=tuple(mask(note) for note in (*sources.notes, *_unset(sources), *notes)),
    )


def _model(sources: Sources, spec: Spec, asked: Asked) -> tuple[str | None, str, tuple[str, ...]]:
    try:
        if spec is _NO_SPEC:
            first = choose(sources, sources.settings.model.value, asked.cwd)
        else:
            first = chosen(sources, spec, asked.cwd)[0]
    except RunnerError as error:
        return None, error.message, ()
    note = price_note(first.entry)
    return first.entry.name, first.choice.why, () if note is None else (note,)


def _settings(sources: Sources, spec: Spec) -> Iterable[Named]:
    found = sources.settings.named()
    apart = sources.settings.apart
    found["worktree"] = Setting(apart.value, apart.source, apart.line)
    for key in KEYS.values():
        setting = found[key.field]
        yield Named(
            name=key.name,
            value=_plain(setting.value, sources),
            place=_in_spec(spec, key.name) if setting.source == "spec" else setting.place,
            variable=key.variable,
            default=key.default,
        )
    url = sources.settings.openai_base_url
    shown = None if url.value is None else _without_password(url.value)
    yield Named(name=BASE_URL, value=_plain(shown, sources), place=url.place, variable="OPENAI_BASE_URL")
    for name, server in sources.settings.providers.value.items():
        yield Named(
            name=f"{SERVERS}.{name}",
            value=_plain(_without_password(server.base_url), sources),
            place=sources.settings.server_lines[name],
            variable="ANTHROPIC_BASE_URL" if name == "anthropic" else "",
        )


def _plain(value: object, sources: Sources) -> object:
    """The value as JSON can hold it, known secrets masked."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, tuple):
        # whatever its items are, they are shown as text
        return [sources.vault.mask(str(one)) for one in cast("tuple[object, ...]", value)]
    return sources.vault.mask(str(value))


def _without_password(url: str) -> str:
    """The address without what stands before its `@`: that is for the server alone."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"…@{host}")) if at and user else url


def _in_spec(spec: Spec, key: str) -> str:
    line, _ = spec.place(key)
    return spec.path if line is None else f"{spec.path}:{line}"


def _limit(field: str, spec: Spec, asked: Asked, limits: Limits, in_force: Mapping[str, str]) -> Limit:
    name = next(shown for shown, one in LIMITS.items() if one == field)
    stated = {"built-in": Layer(_value(config.BUILT_IN, field), "built-in")}
    if field in spec.stated:
        stated["spec"] = Layer(_value(spec.limits, field), _in_spec(spec, name))
    if field in asked.limits:
        stated["flag"] = Layer(asked.limits[field], FLAGS[field])
    if in_force[field] not in stated:
        # what is in force and nobody's layer: a flag that lifts
        stated[in_force[field]] = Layer(_value(limits, field), in_force[field])
    return Limit(name=name, unit=_UNITS.get(field, field), layers=tuple(reversed(stated.values())))


def _value(limits: Limits, field: str) -> int | None:
    value: int | None = getattr(limits, field)
    return value


def _unset(sources: Sources) -> Iterable[str]:
    environ = sources.settings.environ
    for name in sources.settings.secrets.value:
        if not environ.get(name) and name not in sources.keys:
            yield f"secrets lists {name}, which is not set: nothing of it is masked"


def _shared(
    sources: Sources, asked: Asked, workspace: Path, *, model: str | None, cap: NanoUsd | None
) -> tuple[Shared, ...]:
    """The limits that are set for this project, this user and this model. Raises RunnerError."""
    place = sources.settings.state_dir.value
    found = look({**asked.environ, "RUNNER_STATE_DIR": str(place)})
    if found is None:
        return ()
    try:
        every = standing(found.database, SystemClock().now())
    finally:
        found.database.close()
    ours = {Scope(ScopeKind.USER, identity.user())}
    if model is not None:
        ours.add(Scope(ScopeKind.MODEL, model))
    if any(one.budget.scope.kind is ScopeKind.PROJECT for one in every):
        ours.add(Scope(ScopeKind.PROJECT, project(workspace, sources.settings.project.value)))
    return tuple(
        Shared(
            line=Line(budget=one.budget, zone=one.zone, ours=True, beside=one.beside),
            binds=cap is None or max(0, one.budget.room or 0) < cap,
        )
        for one in of(every, ours)
    )


def project(workspace: Path, configured: str | None) -> str:
    """The project runs of a directory are counted for; nothing is made in the state directory to find out."""
    with tempfile.TemporaryDirectory(prefix="runner-") as aside:
        return identity.project(ShadowWorkspace(workspace, Path(aside)), configured)


def unknown(word: str) -> ConfigError | None:
    """Why `word`, which is no file, is no setting either; None when it looks like a file's name."""
    if "/" in word or (Path(word).suffix and closest(word, NAMES, cutoff=0.8) is None):
        return None
    near = closest(word, NAMES)
    hint = f"did you mean {near}?" if near else "runner config lists them all; ./FILE names a spec"
    return ConfigError(f"there is no setting {word!r}", hint=hint)
