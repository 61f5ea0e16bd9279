"""The user's configuration file: TOML, every key known, every complaint with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import msgspec

from runner.config.environment import refuse_key
from runner.errors import ConfigError
from runner.values import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: `kind` and `default` in words, `read` narrows a TOML value or raises ValueError."""

    name: str
    kind: str
    default: str
    about: str
    read: Callable[[object], object]


def _text(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        msg = "write a text in quotes"
        raise ValueError(msg)
    return value.strip()


def _path(value: object) -> object:
    return Path(str(_text(value))).expanduser()


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


def _key(name: str, kind: str, default: str, about: str, read: Callable[[object], object]) -> tuple[str, Key]:
    return name, Key(name=name, kind=kind, default=default, about=about, read=read)


KEYS: Mapping[str, Key] = dict(
    (
        _key("model", "text", "the first provider with a key", "The model of a run that names none.", _text),
        _key("prices", "path", "the built-in book", "Prices added to the built-in book (TOML).", _path),
        _key("project", "text", "the repository's first commit", "The project whose budget runs share.", _text),
        _key("state_dir", "path", "the platform's", "Where everything runner owns lives.", _path),
        _key("unattended", "true or false", "false", "Run as if nobody were at the terminal.", _flag),
        _key("worktree", "true or false", "false", "Work in a copy; `runner apply` brings the result back.", _flag),
        _key("tools.env", "list of names", "[]", "Variables tools get beside PATH, HOME, LANG, TMPDIR.", _tool_names),
        _key("secrets", "list of names", "[]", "Variables whose values are masked like keys.", _names),
        _key("on_stop", "command, as a list", "none", "Run when a run stops; its JSON on standard input.", _argv),
        _key("on_park", "command, as a list", "none", "Run when a run parks; its JSON on standard input.", _argv),
        _key("min_output", "tokens", "1024", "The least output worth a call.", _tokens),
        _key("max_output", "tokens", "16384", "The most output asked of a model in one call.", _tokens),
        _key("budget_wait", "duration", "10m", "How long to wait for other runs' holds.", _duration),
    )
)


def read_user_file(path: Path, *, required: bool) -> dict[str, object]:
    """Read the file into values by full key name (`tools.env`). Absent: no values, or ConfigError if `required`."""
    try:
        text = path.read_bytes().decode()
        table = tomllib.loads(text)
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
            f"not TOML: {what}", path=path, line=line, column=column, hint="the keys are in docs/reference/config.md"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8", path=path, hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path, hint="check its owner and mode") from None
    values: dict[str, object] = {}
    for name, raw in _flat(table):
        if (key := KEYS.get(name)) is None:
            near = get_close_matches(name, KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(KEYS)}"
            raise ConfigError(f"unknown key '{name}'", path=path, line=_line(text, name), hint=hint)
        try:
            values[name] = key.read(raw)
        except ValueError as error:
            raise ConfigError(
                f"{name} is not a {key.kind}" if not str(error) else f"{name}: {error}",
                path=path,
                line=_line(text, name),
                hint=key.about,
            ) from None
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
            section = header[1].strip("\"' ")
            if section == name:
                return number
            continue
        written = line.partition("=")[0].replace(" ", "").replace('"', "").replace("'", "").strip()
        if "=" in line and ((section == table and written == key) or (not section and written == name)):
            return number
        if "=" in line and not section and table and written == table:
            return number
    return None
