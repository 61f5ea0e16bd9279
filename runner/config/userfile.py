"""The user's configuration file: TOML, every key known, every complaint with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from runner.config.environment import refuse_key
from runner.config.providers import EXAMPLE, read_providers
from runner.errors import ConfigError, closest
from runner.values import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: `kind` and `default` in words, `read` narrows a TOML value or raises ValueError.

    `example` is a value as TOML, `variable` the environment variable that says the same and wins, `instead_of` a key
    that must not stand beside this one.
    """

    name: str
    kind: str
    default: str
    about: str
    read: Callable[[object], object]
    example: str
    variable: str = ""
    instead_of: str = ""

    @property
    def field(self) -> str:
        """The name of this setting in `Settings`."""
        return f"{self.name}_s" if self.kind == "duration" else self.name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class Stated:
    """A value of the file, and the line it stands on (None where that cannot be told)."""

    value: object
    line: int | None


def _text(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        msg = "write a text in quotes"
        raise ValueError(msg)
    return value.strip()


def _path(value: object) -> object:
    return Path(str(_text(value)))


def _flag(value: object) -> object:
    if value is True or value is False:
        return value
    msg = "write true or false"
    raise ValueError(msg)


def _tokens(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = "write a whole number of tokens above 0"
        raise ValueError(msg)
    return value


def _duration(value: object) -> object:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return parse_duration(str(value))
    msg = 'write a duration: "10m", "1h30m", or a number of seconds'
    raise ValueError(msg)


def _time_limit(value: object) -> object:
    seconds = _duration(value)
    if not seconds:
        msg = "write a duration above 0"
        raise ValueError(msg)
    return seconds


def _word(*words: str) -> Callable[[object], object]:
    """Reads one of a few words."""

    def read(value: object) -> object:
        if value not in words:
            near = closest(str(value), words)
            msg = f"write one of {', '.join(words)}" + (f"; did you mean {near}?" if near else "")
            raise ValueError(msg)
        return value

    return read


def _thinking(value: object) -> object:
    text = str(value).strip().replace("_", "")
    if value is not True and value is not False and (text in {"off", "adaptive"} or _enough(text)):
        return text
    msg = f'write "off", "adaptive", or a number of tokens from {LEAST_THINKING} on'
    raise ValueError(msg)


def _enough(text: str) -> bool:
    return bool(_TOKENS.match(text)) and int(text) >= LEAST_THINKING


def _place_of_work(value: object) -> object:
    text = str(_text(value))
    if not _GEO.match(text):
        msg = 'write "global", or a place as the provider calls it: "us", "eu"'
        raise ValueError(msg)
    return text


def _models(value: object) -> tuple[str, ...]:
    names = _texts(value)
    if not names or len(set(names)) != len(names) or not all(name.strip() == name and name for name in names):
        msg = 'write a list of models, each once: ["openai/gpt-5", "anthropic/claude-sonnet-5"]'
        raise ValueError(msg)
    return names


def _texts(value: object) -> tuple[str, ...] | None:
    try:
        return msgspec.convert(value, tuple[str, ...])
    except msgspec.ValidationError:
        return None


def _argv(value: object) -> object:
    argv = _texts(value)
    if not argv or not all(argv):
        msg = 'write the command as a list: ["notify-send", "runner"] (no shell reads it)'
        raise ValueError(msg)
    return argv


def _names(value: object) -> tuple[str, ...]:
    names = _texts(value)
    if names is None or not all(_NAME.match(name) for name in names):
        msg = 'write a list of names of environment variables: ["CARGO_HOME"]'
        raise ValueError(msg)
    return names


def _tool_names(value: object) -> object:
    for name in (names := _names(value)):
        try:
            refuse_key(name)
        except ConfigError as error:
            msg = f"{error.message}; {error.hint}"
            raise ValueError(msg) from None
    return names


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_GEO = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_TOKENS = re.compile(r"[0-9]{4,7}\Z", re.ASCII)


_KEYS = (
    Key(
        name="model", kind="text", default="the first provider with a key", read=_text, variable="RUNNER_MODEL",
        about="The model of a run that names none.", example='"openai/gpt-5-mini"',
    ),
    Key(
        name="models", kind="list of models", default="[]", read=_models, instead_of="model",
        about="The model of a run that names none, and those to go on with when it cannot be had.",
        example='["openai/gpt-5-mini", "desk/llama"]',
    ),
    Key(
        name="prices", kind="path", default="the built-in book", read=_path, variable="RUNNER_PRICES",
        about="Prices added to the built-in book (TOML).", example='"~/prices.toml"',
    ),
    Key(
        name="policy", kind="text", default="default", read=_text, variable="RUNNER_POLICY",
        about="The policy of a run that names none: one that comes with runner, or a file.", example='"overnight"',
    ),
    Key(
        name="sandbox", kind="auto, bubblewrap, landlock, seatbelt or none", default="auto", variable="RUNNER_SANDBOX",
        read=_word("auto", "bubblewrap", "landlock", "seatbelt", "none"),
        about="What walls in the commands of a run; none accepts that nothing does.", example='"bubblewrap"',
    ),
    Key(
        name="sandbox_user", kind="text", default="none", read=_text,
        about="Whom commands run as where runner is started by root and only Landlock is there.", example='"agent"',
    ),
    Key(
        name="project", kind="text", default="the repository's first commit", read=_text,
        about="The project whose budget runs share.", example='"shop"',
    ),
    Key(
        name="state_dir", kind="path", default="the platform's", read=_path, variable="RUNNER_STATE_DIR",
        about="Where everything runner owns lives.", example='"~/.local/state/runner"',
    ),
    Key(
        name="unattended", kind="true or false", default="false", read=_flag,
        about="Run as if nobody were at the terminal.", example="true",
    ),
    Key(
        name="worktree", kind="true or false", default="false", read=_flag,
        about="Work in a copy; `runner apply` brings the result back.", example="true",
    ),
    Key(
        name="tools.env", kind="list of names", default="[]", read=_tool_names,
        about="Variables tools get beside PATH, HOME, LANG, TMPDIR.", example='["CARGO_HOME"]',
    ),
    Key(
        name="secrets", kind="list of names", default="[]", read=_names,
        about="Variables whose values are masked like keys.", example='["DB_PASSWORD"]',
    ),
    Key(
        name="on_stop", kind="command, as a list", default="none", read=_argv,
        about="Run when a run stops; its JSON on standard input.", example='["notify-send", "a run stopped"]',
    ),
    Key(
        name="on_park", kind="command, as a list", default="none", read=_argv,
        about="Run when a run parks; its JSON on standard input.", example='["notify-send", "a run waits"]',
    ),
    Key(
        name="min_output", kind="tokens", default="1024", read=_tokens,
        about="The least output worth a call.", example="1024",
    ),
    Key(
        name="max_output", kind="tokens", default="16384", read=_tokens,
        about="The most output asked of a model in one call.", example="16384",
    ),
    Key(
        name="budget_wait", kind="duration", default="10m", read=_duration,
        about="How long to wait for other runs' holds.", example='"10m"',
    ),
    Key(
        name="rate_wait", kind="duration", default="10m", read=_duration,
        about="How long to wait when a provider names a time to try again; a run parks for longer.", example='"10m"',
    ),
    Key(
        name="patience", kind="duration", default="1h", read=_duration,
        about="How long to try an overloaded provider again.", example='"1h"',
    ),
    Key(
        name="idle_timeout", kind="duration", default="5m", read=_time_limit,
        about="How long a reply may be silent before it counts as lost.", example='"5m"',
    ),
    Key(
        name="call_timeout", kind="duration", default="15m", read=_time_limit,
        about="How long a whole reply may take before it counts as lost.", example='"15m"',
    ),
    Key(
        name="thinking", kind="off, adaptive or tokens", default="off", read=_thinking,
        about="How much a model that can may think before it answers.", example='"8000"',
    ),
    Key(
        name="cache", kind="off, 5m or 1h", default="5m", read=_word("off", "5m", "1h"),
        about="How long a provider shall keep the beginning of a conversation, where requests say so.", example='"1h"',
    ),
    Key(
        name="service", kind="standard, flex, priority or fast", default="standard",
        read=_word("standard", "flex", "priority", "fast"),
        about="The class of service that is asked for; it must have a price.", example='"flex"',
    ),
    Key(
        name="geo", kind="a place", default="global", read=_place_of_work,
        about="Where the provider shall work, where that can be asked for; it must have a price.", example='"us"',
    ),
)  # fmt: skip

LEAST_THINKING = 1024
"""The fewest tokens a provider takes as a budget for thinking."""

KEYS: Mapping[str, Key] = {key.name: key for key in _KEYS}
"""Every key there is: the file, its example, the reference and `runner config` follow this table."""


def example() -> str:
    """A configuration file with every key, each commented out: a `#` without a blank goes away to set one."""
    top = "# The configuration of runner. Take away the # before a key to set it; `runner config` shows what is in"
    parts = [f"{top}\n# force and where it comes from, `runner config --path` where this file belongs.\n"]
    for key in KEYS.values():
        more = f"; {key.variable} wins over it" if key.variable else ""
        more += f"; instead of {key.instead_of}" if key.instead_of else ""
        parts.append(f"# {key.about}\n# {key.kind}; default: {key.default}{more}\n#{key.name} = {key.example}\n")
    return "\n".join([*parts, EXAMPLE])


def read_user_file(path: Path, *, required: bool) -> dict[str, Stated]:
    """Read what the file says, by full key name (`tools.env`). Absent: nothing, or ConfigError if `required`."""
    try:
        text = path.read_bytes().decode()
        # prices may stand in it: from the literal's own digits, never through a float
        table = tomllib.loads(text, parse_float=Decimal)
    except FileNotFoundError:
        if required:
            raise ConfigError(
                "there is no such file", path=path, hint="RUNNER_CONFIG names it; unset it, or make it"
            ) from None
        return {}
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(found[1]), int(found[2])) if found else (None, None)
        what = str(error).partition(" (at ")[0]
        raise ConfigError(
            f"not TOML: {what}", path=path, line=line, column=column, hint="`runner config --example` shows every key"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8", path=path, hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path, hint="check its owner and mode") from None
    values: dict[str, Stated] = {}
    if (tables := table.pop("providers", None)) is not None:
        read = read_providers(tables, path, lambda name: _line(text, name))
        values["providers"] = Stated(read, _line(text, "providers"))
    for name, raw in _flat(table):
        if (key := KEYS.get(name)) is None:
            near = closest(name, (*KEYS, "providers"))
            hint = f"did you mean '{near}'?" if near else f"known keys: {', '.join((*KEYS, 'providers'))}"
            raise ConfigError(f"unknown key '{name}'", path=path, line=_line(text, name), hint=hint)
        try:
            values[name] = Stated(key.read(raw), _line(text, name))
        except ValueError as error:
            raise ConfigError(
                f"{name} is not a {key.kind}" if not str(error) else f"{name}: {error}",
                path=path,
                line=_line(text, name),
                hint=key.about,
            ) from None
        if key.instead_of in table:
            hint = f"keep one of them: {name} begins with the model to use first"
            raise ConfigError(
                f"both {key.instead_of} and {name} are there", path=path, line=_line(text, name), hint=hint
            )
    return values


def _flat(table: Mapping[str, object]) -> list[tuple[str, object]]:
    """Name the keys of the one table there is (`tools`) in full."""
    found: list[tuple[str, object]] = []
    for name, value in table.items():
        if name == "tools" and isinstance(value, dict):
            inside: dict[str, object] = msgspec.convert(value, dict[str, object])
            found += [(f"tools.{inner}", one) for inner, one in inside.items()]
        else:
            found.append((name, value))
    return found


def _line(text: str, name: str) -> int | None:
    """Find the line a key stands on: tomllib does not tell."""
    table, _, key = name.rpartition(".")
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            section = header[1].replace('"', "").replace("'", "").strip()
            if section == name:
                return number
            continue
        written = line.partition("=")[0].replace(" ", "").replace('"', "").replace("'", "").strip()
        if "=" in line and ((section == table and written == key) or (not section and written == name)):
            return number
        if "=" in line and not section and table and written == table:
            return number
    return None
