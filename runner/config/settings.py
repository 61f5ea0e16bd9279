"""Settings, each with its value and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Generic, TypeVar, cast

import msgspec

from runner.config.dotenv import env_file as read_env_file
from runner.config.environment import tool_env
from runner.config.place import default_state_dir, expanded
from runner.config.providers import Providers
from runner.config.userfile import KEYS, Stated, read_user_file
from runner.errors import ConfigError, closest
from runner.models.keys import SUPPORTED_KEYS, is_key
from runner.models.server import Server, refuse_address
from runner.pricing.cost import Asks
from runner.secrets import Keys

T = TypeVar("T")

VARIABLES: Mapping[str, str] = {
    "RUNNER_CONFIG": "The user's configuration file, in place of the platform's.",
    **{key.variable: key.about for key in KEYS.values() if key.variable},
    "RUNNER_ORG_POLICIES": "A directory whose policies are added to those of /etc/runner/policies.",
    "RUNNER_APPROVALS_SOCKET": "Where `runner approvals` asks, in place of the state directory's own server.",
    "RUNNER_APPROVALS_SECRET": "What `runner approvals serve` signs its webhooks with.",
    "RUNNER_APPROVALS_WEBHOOK": "Addresses that it sends every question to, as signed JSON.",
    "RUNNER_APPROVALS_SLACK": "Addresses that it sends every question to, as Slack's messages.",
    "RUNNER_PLAIN": "Set to 1: lines instead of the live view.",
    "OPENAI_BASE_URL": "Another server that speaks OpenAI's Chat Completions.",
    "ANTHROPIC_BASE_URL": "Another server that speaks Anthropic's Messages.",
}
"""Environment variables runner reads, provider keys aside."""

_NOT_FROM_INSIDE = (
    *("on_stop", "on_park", "providers", "prices", "project", "state_dir", "tools.env", "service", "geo"),
    *("policy", "sandbox", "sandbox_user"),
)
"""What a configuration file inside the workspace has no say in: commands, addresses that keys are sent to, what a call
costs, whose budget it counts for, where that is kept, what tools are given, and what holds them."""

MIN_OUTPUT = 1_024
MAX_OUTPUT = 16_384
BUDGET_WAIT_S = 600
RATE_WAIT_S = 600
PATIENCE_S = 3600
IDLE_TIMEOUT_S = 300
CALL_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value, and who said so: `built-in`, `spec`, `flag`, a variable's name, or a file's path with the line."""

    value: T
    source: str
    line: int | None = None

    @property
    def place(self) -> str:
        """The source as people find it: a file with its line."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says of settings; None where it says nothing."""

    model: str | None = None
    prices: Path | None = None
    unattended: bool | None = None
    worktree: bool | None = None
    policy: str | None = None
    sandbox: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that steers a run beside its spec and its limits.

    `environ` is the environment with `--env-file` laid over it, provider keys left out: the base of `tool_env`.
    `file_keys` are the provider keys of `--env-file`; `notes` are sentences the user must see. `models` is empty where
    one model is named alone; else `model` is its first. `providers` are the servers the user configured, `server_lines`
    says where, and `served` are the prices beside them, as the file has them.
    """

    model: Setting[str | None]
    models: Setting[tuple[str, ...]]
    prices: Setting[Path | None]
    policy: Setting[str]
    sandbox: Setting[str]
    sandbox_user: Setting[str | None]
    project: Setting[str | None]
    state_dir: Setting[Path]
    unattended: Setting[bool]
    worktree: Setting[bool]
    tools_env: Setting[tuple[str, ...]]
    secrets: Setting[tuple[str, ...]]
    on_stop: Setting[tuple[str, ...] | None]
    on_park: Setting[tuple[str, ...] | None]
    min_output: Setting[int]
    max_output: Setting[int]
    budget_wait_s: Setting[int]
    rate_wait_s: Setting[int]
    patience_s: Setting[int]
    idle_timeout_s: Setting[int]
    call_timeout_s: Setting[int]
    thinking: Setting[str]
    cache: Setting[str]
    service: Setting[str]
    geo: Setting[str]
    providers: Setting[Mapping[str, Server]]
    openai_base_url: Setting[str | None]
    environ: Mapping[str, str] = field(repr=False)
    file_keys: Keys
    notes: tuple[str, ...] = ()
    server_lines: Mapping[str, str] = field(default_factory=dict[str, str])
    served: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])

    @property
    def asks(self) -> Asks:
        """What every request asks for beside its answer."""
        service = "" if self.service.value == "standard" else self.service.value
        return Asks(service=service, geo=self.geo.value, cache=self.cache.value)

    @property
    def apart(self) -> Setting[bool]:
        """Whether a new run works in a copy: unattended ones do, unless somebody said otherwise."""
        if self.worktree.source == "built-in" and self.unattended.value:
            return Setting(value=True, source="unattended")
        return self.worktree

    def named(self) -> dict[str, Setting[object]]:
        """Give every setting by its name, in order."""
        found: dict[str, Setting[object]] = {}
        for one in fields(self):
            setting: object = getattr(self, one.name)
            if isinstance(setting, Setting):
                # a Setting of something: of what, matters to nobody who shows it
                found[one.name] = cast("Setting[object]", setting)
        return found

    def shown(self) -> Iterator[tuple[str, object, str]]:
        """Give each setting's name, value and source, in order."""
        return ((name, setting.value, setting.source) for name, setting in self.named().items())

    def tool_env(self) -> dict[str, str]:
        """Choose the variables that tools, checks, setup and services get."""
        return tool_env(self.environ, self.tools_env.value)

    def listed_secrets(self) -> dict[str, str]:
        """Give the values of the variables listed under `secrets`, for the vault."""
        return {name: self.environ[name] for name in self.secrets.value if self.environ.get(name)}


def user_config_path(environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Tell where the user's configuration file is, and whether it was named (then it must exist)."""
    if named := environ.get("RUNNER_CONFIG"):
        return expanded(Path(named)).absolute(), True
    import platformdirs

    return Path(platformdirs.user_config_dir("runner", appauthor=False)) / "config.toml", False


def load(
    environ: Mapping[str, str],
    *,
    env_file: Path | None = None,
    spec_model: str | None = None,
    spec_models: tuple[str, ...] = (),
    flags: Flags | None = None,
    workspace: Path | None = None,
) -> Settings:
    """Put the settings together. Raises ConfigError with file and line for what cannot be used."""
    flags = flags or Flags()
    listed = {} if env_file is None else read_env_file(env_file)
    plain = {name: value for name, value in {**environ, **listed}.items() if not is_key(name)}
    path, named = user_config_path(plain)
    chosen = _Chosen(
        user=read_user_file(path, required=named),
        user_path=str(path),
        environ=plain,
        listed=listed,
        env_file=str(env_file),
    )
    notes = list(_misspelt(plain))
    if workspace is not None and path.resolve().is_relative_to(workspace.resolve()):
        notes += chosen.trusted_less()
    min_output, max_output = _outputs(chosen, path)
    model, models = _models(chosen, spec_model, spec_models, flags.model)
    providers, lines, served = _providers(chosen)
    prices = chosen.path("prices")
    place = chosen.path("state_dir")
    return Settings(
        model=model,
        models=models,
        prices=_over(prices, flags.prices, "flag"),
        policy=_over_word(chosen.word("policy", "default"), flags.policy),
        sandbox=_one_of("sandbox", _over_word(chosen.word("sandbox", "auto"), flags.sandbox)),
        sandbox_user=chosen.text("sandbox_user"),
        project=chosen.text("project"),
        state_dir=Setting(default_state_dir(), "built-in")
        if place.value is None
        else Setting(place.value, place.source, place.line),
        unattended=_over_flag(chosen.flag("unattended"), flags.unattended),
        worktree=_over_flag(chosen.flag("worktree"), flags.worktree),
        tools_env=chosen.names("tools.env"),
        secrets=chosen.names("secrets"),
        on_stop=chosen.argv("on_stop"),
        on_park=chosen.argv("on_park"),
        min_output=min_output,
        max_output=max_output,
        budget_wait_s=chosen.whole("budget_wait", BUDGET_WAIT_S),
        rate_wait_s=chosen.whole("rate_wait", RATE_WAIT_S),
        patience_s=chosen.whole("patience", PATIENCE_S),
        idle_timeout_s=chosen.whole("idle_timeout", IDLE_TIMEOUT_S),
        call_timeout_s=chosen.whole("call_timeout", CALL_TIMEOUT_S),
        thinking=chosen.word("thinking", "off"),
        cache=chosen.word("cache", "5m"),
        service=chosen.word("service", "standard"),
        geo=chosen.word("geo", "global"),
        providers=providers,
        openai_base_url=chosen.variable("OPENAI_BASE_URL"),
        environ=plain,
        file_keys=Keys({name: value for name, value in listed.items() if is_key(name) and value}, str(env_file)),
        notes=tuple(notes),
        server_lines=lines,
        served=served,
    )


def _outputs(chosen: _Chosen, path: Path) -> tuple[Setting[int], Setting[int]]:
    """The least and the most output tokens to ask for."""
    least, most = chosen.whole("min_output", MIN_OUTPUT), chosen.whole("max_output", MAX_OUTPUT)
    if least.value > most.value:
        msg = f"min_output ({least.value}) is above max_output ({most.value})"
        raise ConfigError(msg, path=path, hint="lower min_output")
    return least, most


def _models(
    chosen: _Chosen, spec_model: str | None, spec_models: tuple[str, ...], flag: str | None
) -> tuple[Setting[str | None], Setting[tuple[str, ...]]]:
    """One model or a list, whoever stands last in the order of sources; the first of a list is the model."""
    model, models = chosen.text("model"), chosen.names("models")
    # a variable names one model, and wins over the file whichever of the two that states
    if model.value is not None and model.source != chosen.user_path:
        models = Setting((), "built-in")
    if spec_model is not None or spec_models:
        model, models = _over(model, spec_model, "spec"), Setting(spec_models, "spec" if spec_models else "built-in")
    if flag is not None:
        model, models = _over(model, flag, "flag"), Setting((), "built-in")
    if models.value:
        first: Setting[str | None] = Setting(models.value[0], models.source, models.line)
        return first, models
    return model, models


def _providers(
    chosen: _Chosen,
) -> tuple[Setting[Mapping[str, Server]], dict[str, str], Mapping[str, Mapping[str, object]]]:
    """The servers of the user's file, where each stands, and their prices; ANTHROPIC_BASE_URL is one more."""
    stated = chosen.user.get("providers")
    found = stated.value if stated is not None and isinstance(stated.value, Providers) else Providers()
    servers = dict(found.servers)
    places = {name: Setting(name, chosen.user_path, line).place for name, line in found.lines.items()}
    url = chosen.variable("ANTHROPIC_BASE_URL")
    if url.value is not None:
        refuse_address(url.value, url.source)
        name = "anthropic"
        servers[name] = Server(name=name, base_url=url.value.rstrip("/"), key=SUPPORTED_KEYS[name], api="messages")
        places[name] = url.source
    source = chosen.user_path if found.servers else url.source if servers else "built-in"
    return Setting(servers, source), places, found.prices


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Looks a setting up: env file, environment, user's file; each typed reader has one kind of value."""

    user: dict[str, Stated]
    user_path: str
    environ: Mapping[str, str]
    listed: Mapping[str, str]
    env_file: str

    def trusted_less(self) -> Iterator[str]:
        """Drop what an agent must not have written; what only masks more (`secrets`) or is capped anyway stays."""
        for name in _NOT_FROM_INSIDE:
            if self.user.pop(name, None) is not None:
                where = f"{name} of {self.user_path}"
                yield f"{where} is ignored: that file is in the workspace, where an agent can write"

    def _find(self, name: str, read: Callable[[str], T], kind: type[T]) -> Setting[T] | None:
        if found := self._variable(KEYS[name].variable):
            return Setting(read(found.value), found.source)
        stated = self.user.get(name)
        if stated is None or not isinstance(stated.value, kind):
            return None
        return Setting(stated.value, self.user_path, stated.line)

    def _variable(self, name: str) -> Setting[str] | None:
        if text := self.environ.get(name, "").strip():
            return Setting(text, self.env_file if name in self.listed else name)
        return None

    def variable(self, name: str) -> Setting[str | None]:
        found = self._variable(name)
        return Setting(None, "built-in") if found is None else Setting(found.value, found.source)

    def text(self, name: str) -> Setting[str | None]:
        found = self._find(name, str, str)
        return Setting(None, "built-in") if found is None else Setting(found.value, found.source, found.line)

    def path(self, name: str) -> Setting[Path | None]:
        found = self._find(name, lambda text: expanded(Path(text)), Path)
        return Setting(None, "built-in") if found is None else Setting(found.value, found.source, found.line)

    def word(self, name: str, default: str) -> Setting[str]:
        found = self.text(name)
        return Setting(default, "built-in") if found.value is None else Setting(found.value, found.source, found.line)

    def whole(self, name: str, default: int) -> Setting[int]:
        return self._find(name, int, int) or Setting(default, "built-in")

    def flag(self, name: str) -> Setting[bool]:
        return self._find(name, bool, bool) or Setting(value=False, source="built-in")

    def names(self, name: str) -> Setting[tuple[str, ...]]:
        stated = self.user.get(name)
        if stated is None:
            return Setting((), "built-in")
        return Setting(msgspec.convert(stated.value, tuple[str, ...]), self.user_path, stated.line)

    def argv(self, name: str) -> Setting[tuple[str, ...] | None]:
        found = self.names(name)
        return Setting(found.value or None, found.source, found.line)


def _over(setting: Setting[T], value: T, source: str) -> Setting[T]:
    return setting if value is None else Setting(value, source)


def _over_word(setting: Setting[str], value: str | None) -> Setting[str]:
    return setting if value is None else Setting(value, "flag")


def _one_of(name: str, setting: Setting[str]) -> Setting[str]:
    """The setting, if its value is one of the key's words, wherever it was said."""
    try:
        KEYS[name].read(setting.value)
    except ValueError as error:
        where = f"--{name}" if setting.source == "flag" else f"{setting.place}: {name}"
        raise ConfigError(f"{where} cannot be {setting.value!r}", hint=str(error)) from None
    return setting


def _over_flag(setting: Setting[bool], value: bool | None) -> Setting[bool]:  # noqa: FBT001 - a flag as given
    return setting if value is None else Setting(value, "flag")


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Say which RUNNER_ variables look like a slip; others belong to somebody else (CI systems set RUNNER_OS…)."""
    for name in environ:
        if name.startswith("RUNNER_") and name not in VARIABLES:
            near = closest(name, VARIABLES, cutoff=0.85)
            if near:
                yield f"{name} is set and means nothing to runner: did you mean {near}?"
