"""From what the user said to everything a run needs, checked before the first call."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner import config, handover
from runner.app import pricefile, rules
from runner.app.clock import SystemClock
from runner.config import Flags, Settings
from runner.errors import ConfigError, UnpricedError
from runner.models import catalog
from runner.models.keys import KNOWN_KEYS, is_provider_key, key_for
from runner.models.server import place_of_openai, refuse_password
from runner.policy.book import Rulebook
from runner.policy.model import Policy
from runner.pricing.book import Book, Entry, staleness
from runner.pricing.cost import Asks, dearest
from runner.secrets import Keys, Vault
from runner.spec.discover import STDIN_PATH, TEXT_PATH, find_spec, read_spec, read_stream
from runner.spec.model import DEFAULT_PROMISE, Spec
from runner.spec.parse import parse_spec
from runner.state import State
from runner.values import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user typed. `limits` holds only flags that were given (None = unlimited)."""

    spec: str | None = None
    text: str | None = None
    cwd: Path
    environ: Mapping[str, str] = field(repr=False)
    keys: Keys
    flags: Flags = field(default_factory=Flags)
    limits: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    no_budget: bool = False
    env_file: Path | None = None
    require_verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Settings, keys and prices: what a run needs beside its spec."""

    settings: Settings
    keys: Keys
    vault: Vault
    book: Book
    notes: tuple[str, ...]

    def key_values(self) -> dict[str, str]:
        """Key values by name, for the adapter alone."""
        return {name: self.keys.get(name) or "" for name in self.keys.names}

    def for_hooks(self, models: Iterable[str]) -> dict[str, str]:
        """What the handover took that only looks like a key, for commands of the user's; no key of `models`."""
        sent = {server.key for server in self.settings.providers.value.values()} | {_litellm_key(one) for one in models}
        kept = (name for name in self.keys.names if not is_provider_key(name) and name not in sent)
        return {name: self.keys.get(name) or "" for name in kept}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A spec with the place it works in and everything around it; the model is not chosen yet.

    `rulebook` is the policy without the project's own layer, which only checkpoint 0 has.
    """

    spec: Spec
    workspace: Path
    sources: Sources
    rulebook: Rulebook


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model that a run may call, with its price."""

    choice: catalog.Choice
    entry: Entry

    @property
    def name(self) -> str:
        """The model as a run records it, and as it can be asked for again."""
        return self.choice.asked

    def asks(self, settings: Settings) -> Asks:
        """What its requests ask for: only Anthropic's say how long a prefix is to be kept."""
        kind, server = self.choice.kind, self.choice.server
        if kind == "anthropic":
            return settings.asks
        asks = replace(settings.asks, cache="")
        if kind == "replay" or not self.entry.name.startswith("openai/"):
            return asks
        url = server.base_url if server else settings.openai_base_url.value
        place = None if kind == "litellm" else place_of_openai(url) if url else ""
        if place is None:
            # only OpenAI itself is surely told the class of service; in front of it an account's own may be taken
            return replace(asks, unpinned=True)
        # an address of a region's bills that region
        regional = place in self.entry.price.geo and asks.geo in {"", "global"}
        return replace(asks, geo=place) if regional else asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Draft):
    """A spec that can be run: every part found sound. `models` are called in order, each once the one before failed."""

    models: tuple[Chosen, ...]
    limits: Limits
    limit_sources: Mapping[str, str]

    @property
    def first(self) -> Chosen:
        """The model that is called unless it fails for good."""
        return self.models[0]


def plan(asked: Asked) -> Plan:
    """Read the spec and everything around it. Raises ConfigError (exit 2) before anything is written or sent."""
    return complete(read(asked), asked)


def read(asked: Asked) -> Draft:
    """Read the spec, the settings and the prices. Raises ConfigError."""
    path, text = _spec_text(asked)
    # the workspace decides whose .env is read, and the spec may name it, so the spec is read first
    first = parse_spec(text, path, on_path=lambda _: True, now=SystemClock().now())
    workspace = _workspace(first, asked.cwd)
    sources = gather(asked, workspace=workspace, spec_model=first.model, spec_models=first.models)
    refuse_inside(sources.settings, workspace)
    spec = parse_spec(text, path, on_path=_finder(sources.settings, workspace), now=SystemClock().now())
    if asked.require_verified and not spec.checks:
        raise ConfigError(
            "--require-verified needs checks, and the spec has none",
            path=path,
            line=1,
            hint="add `checks:` to the front matter, e.g. `checks: [pytest -q]`",
        )
    return Draft(spec=spec, workspace=workspace, sources=sources, rulebook=rules.standing(sources.settings, workspace))


def complete(draft: Draft, asked: Asked) -> Plan:
    """Choose the model and the limits of a new run. Raises ConfigError."""
    if shutil.which("git") is None:
        raise ConfigError("git was not found, and checkpoints are kept with it", hint="install git 2.36 or newer")
    rules.refuse_loosening(draft.sources.settings, draft.workspace)
    models = chosen(draft.sources, draft.spec, asked.cwd)
    limits, limit_sources = limits_of(draft, asked)
    return Plan(
        spec=draft.spec,
        workspace=draft.workspace,
        sources=draft.sources,
        rulebook=draft.rulebook,
        models=models,
        limits=limits,
        limit_sources=limit_sources,
    )


def limits_of(draft: Draft, asked: Asked) -> tuple[Limits, dict[str, str]]:
    """The limits of a new run, and whose each is: no flag and no spec goes beyond the policy's."""
    return rules.bound(*config.resolve_limits(draft.spec, asked.limits, no_budget=asked.no_budget), draft.rulebook)


def gather(
    asked: Asked, *, workspace: Path | None, spec_model: str | None, spec_models: tuple[str, ...] = ()
) -> Sources:
    """Put settings, keys and prices together; a workspace's `.env` gives provider keys and nothing else."""
    settings = config.load(
        asked.environ,
        env_file=asked.env_file,
        spec_model=spec_model,
        spec_models=spec_models,
        flags=asked.flags,
        workspace=workspace,
    )
    notes = list(settings.notes)
    keys = asked.keys
    keys.add(_values(settings.file_keys), str(asked.env_file), override=True)
    if workspace is not None:
        found = config.workspace_keys(workspace)
        keys.add(found.keys, f"{workspace}/.env")
        if found.warning:
            notes.append(found.warning)
    if keys.names or settings.secrets.value:
        handover.shield()
    settings = _lent(settings, keys)
    vault = keys.vault(settings.listed_secrets())
    book = pricefile.book(settings)
    return Sources(settings=settings, keys=keys, vault=vault, book=book, notes=(*notes, *vault.warnings))


def chosen(sources: Sources, spec: Spec, cwd: Path, *, without_key: bool = False) -> tuple[Chosen, ...]:
    """Choose as the spec or the settings say; what cannot be used is named where the spec names it.

    `without_key` wants only the prices: a model that is named needs no key for that.
    """
    model, models = sources.settings.model, sources.settings.models.value
    try:
        return tuple(choose(sources, one, cwd, without_key=without_key) for one in models or (model.value,))
    except ConfigError as error:
        if model.source == "spec" and error.path is None:
            error.path = spec.path
            error.line, error.column = spec.place("models" if models else "model")
        raise


def choose(sources: Sources, model: str | None, cwd: Path, *, without_key: bool = False) -> Chosen:
    """The model and its price. Raises ConfigError when there is none of either."""
    base_url = sources.settings.openai_base_url.value
    keys = sources.key_values()
    if without_key and model is not None:
        keys |= dict.fromkeys((*KNOWN_KEYS, _litellm_key(model)), "not looked at")
    servers = sources.settings.providers.value
    choice = catalog.choose(model, keys, sources.book, base_url=base_url, servers=servers)
    if choice.kind == "replay":
        played = catalog.build(choice, book=sources.book, keys={}, folder=cwd)
        found = catalog.Choice(kind="replay", name=str((cwd / choice.name).resolve()), why=choice.why)
        return _priced(Chosen(choice=found, entry=sources.book.lookup(played.name)), sources.settings)
    if not without_key:
        catalog.refuse_unusable(
            sources.key_values(), base_url, source=sources.settings.openai_base_url.source, choice=choice
        )
    _refuse_lent(catalog.key_of(choice), sources.settings)
    if choice.kind == "litellm":
        _refuse_litellm_password(catalog.key_of(choice), sources.settings)
    return _priced(Chosen(choice=choice, entry=sources.book.lookup(choice.name)), sources.settings)


def _litellm_key(model: str) -> str:
    """The key that litellm would send for a model, as it is asked for."""
    return key_for(model.removeprefix("litellm/").partition("/")[0])


def _lent(settings: Settings, keys: Keys) -> Settings:
    """With those variables for tools that only look like keys: the handover took them, and the user lists them."""
    lent = {name: keys.get(name) or "" for name in settings.tools_env.value if name in keys}
    return replace(settings, environ={**settings.environ, **lent}) if lent else settings


def _refuse_lent(key: str, settings: Settings) -> None:
    """Raise ConfigError where the key that is sent to the provider is one that tools would get."""
    if key in settings.tools_env.value:
        raise ConfigError(
            f"tools.env lists {key}, and the model is called with it: tools never get such a key",
            hint="take it off the list; give tools a key of their own under another name",
        )


def _refuse_litellm_password(key: str, settings: Settings) -> None:
    """Raise ConfigError for a password in the provider's address, where litellm takes it from the environment."""
    for place in ("API_BASE", "BASE_URL"):
        name = f"{key.removesuffix('API_KEY')}{place}"
        refuse_password(settings.environ.get(name, ""), name)


def _priced(one: Chosen, settings: Settings) -> Chosen:
    """Refuse what requests would ask for and nobody has a price of. Raises ConfigError."""
    try:
        dearest(one.entry.price, one.asks(settings), 0)
    except UnpricedError as error:
        hint = f"{error.hint}\nOr ask for another class: `service`, `geo` and `cache` of the configuration."
        raise ConfigError(f"{one.name}: {error.message}", hint=hint) from None
    return one


def again(sources: Sources, asked: Asked, state: State) -> tuple[Chosen, ...]:
    """The models that a run goes on with: those named now, else those it had. Raises ConfigError."""
    named, created = asked.flags.model, state.created
    names: tuple[str, ...] = (named or state.model,)
    if named is None and created is not None and state.model in created.models:
        names = created.models
    return tuple(choose(sources, name, asked.cwd) for name in names)


def policy_of(spec: Spec, settings: Settings) -> Policy:
    """The rules the spec and the user's settings hold a run to."""
    return Policy(
        has_checks=bool(spec.checks),
        target=spec.target,
        promise=spec.promise if spec.checks else spec.promise or DEFAULT_PROMISE,
        stall_iterations=spec.stall.iterations,
        on_false_claim=spec.on_false_claim,
        has_setup=bool(spec.setup),
        min_output=settings.min_output.value,
        max_output=settings.max_output.value,
        budget_wait_ms=settings.budget_wait_s.value * 1000,
        rate_wait_ms=settings.rate_wait_s.value * 1000,
        patience_ms=settings.patience_s.value * 1000,
    )


def price_note(entry: Entry) -> str | None:
    """A warning about an old price, or None."""
    age = staleness(entry, SystemClock().now())
    if age == "fresh":
        return None
    more = "; holds are 25 % larger" if age == "stale" else ""
    return f"the price of {entry.name} is as of {entry.as_of}{more}; give a newer one with --prices"


def _spec_text(asked: Asked) -> tuple[str, str]:
    if asked.text is not None:
        if asked.spec is not None:
            raise ConfigError("both a spec file and -p TEXT were given", hint="keep one of them")
        return TEXT_PATH, asked.text
    if asked.spec == "":
        raise ConfigError("the name of the spec is empty", hint="is a variable unset? name no spec to have one found")
    if asked.spec == "-":
        return STDIN_PATH, read_stream(sys.stdin.buffer, STDIN_PATH)
    path = asked.cwd / asked.spec if asked.spec else find_spec(asked.cwd)
    return str(path), read_spec(path)


def _workspace(spec: Spec, cwd: Path) -> Path:
    if spec.workspace is None:
        root = cwd.resolve()
    else:
        beside = cwd if spec.path in {TEXT_PATH, STDIN_PATH} else Path(spec.path).parent
        root = (beside / Path(spec.workspace).expanduser()).resolve()
    if not root.is_dir():
        line, column = spec.place("workspace")
        raise ConfigError(
            f"the workspace {root} is no directory",
            path=spec.path,
            line=line,
            column=column,
            hint="make it, or correct `workspace:`",
        )
    if root in {Path("/"), Path.home().resolve()}:
        raise ConfigError(
            f"{root} is too much for a workspace: every file of it would be kept in checkpoints",
            hint="change into the project's directory, or name it with `workspace:` in the spec",
        )
    return root


def refuse_inside(settings: Settings, workspace: Path) -> None:
    """What runner knows, and what a call costs, must not be within the agent's reach. Raises ConfigError."""
    place, prices = settings.state_dir, settings.prices
    if _reached(config.expanded(place.value), workspace):
        msg = f"the state directory {place.value} ({place.source}) lies in the workspace {workspace}"
        raise ConfigError(msg, hint="name a directory elsewhere with RUNNER_STATE_DIR")
    if prices.value is not None and _reached(prices.value, workspace):
        msg = f"the prices {prices.value} ({prices.place}) lie in the workspace {workspace}, where an agent can write"
        raise ConfigError(msg, hint="move the file elsewhere, e.g. to ~/.config/runner/prices.toml, and name it there")


def _reached(path: Path, workspace: Path) -> bool:
    """Whether a path, or a link it goes by, lies in the workspace."""
    # as it is written: a link in the workspace can be made to lead elsewhere
    written = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links
    places = (path, written, *written.parents)
    return any(one.resolve().is_relative_to(workspace) for one in places) or written.is_relative_to(workspace)


def _finder(settings: Settings, workspace: Path) -> _Finder:
    return _Finder(settings.tool_env().get("PATH", ""), workspace)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Tells whether a check's program is on the tools' PATH or in the workspace."""

    path: str
    workspace: Path

    def __call__(self, program: str) -> bool:
        if "/" in program:
            return (self.workspace / program).exists()
        return shutil.which(program, path=self.path) is not None


def _values(keys: Keys) -> dict[str, str]:
    return {name: keys.get(name) or "" for name in keys.names}
