"""Which model a run uses: by the name's prefix, else the first provider with a key. Adapters load when built.

A provider's adapter is a module beside this one and a branch in `choose` and `build`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.errors import ConfigError, NotFoundError, closest
from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS
from runner.ports import Model, ToolDefinition
from runner.pricing.book import Book

DEFAULT_MODELS: Mapping[str, str] = {"openai": "openai/gpt-6.1-sol"}
"""What a provider's key alone chooses: current, and in the middle of the provider's prices."""

_WAYS = (
    "set OPENAI_API_KEY, in the environment or in a file .env here;\n"
    "or OPENAI_BASE_URL and --model openai/NAME, for a server of your own;\n"
    "or play a recording: --model replay:FILE"
)
_LOCAL = frozenset({"ollama", "lmstudio", "vllm", "llamacpp", "llama.cpp", "local", "localai"})
_PREFIXES = ("replay", *SUPPORTED_KEYS, *FOREIGN_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model that can be built. `name` is `provider/model`, or a recording's path; `why` says who chose it."""

    kind: Literal["replay", "openai"]
    name: str
    why: str


def choose(model: str | None, keys: Mapping[str, str], book: Book, *, base_url: str | None = None) -> Choice:
    """Choose from what was asked for (None: nothing), the keys present by name, and the known prices. Pure.

    `base_url` set means a server that may need no key. Raises ConfigError with the ways out.
    """
    present = {name for name, value in keys.items() if value}
    if model is None:
        return _default(present, book)
    prefix, colon, rest = model.partition(":")
    if colon and prefix == "replay":
        if not rest:
            raise ConfigError("replay: names no file", hint="Write --model replay:FILE.")
        return Choice(kind="replay", name=rest, why="a recording was asked for")
    provider, slash, name = model.partition("/")
    if not slash or not name or (provider not in SUPPORTED_KEYS and provider not in FOREIGN_KEYS):
        raise _unknown(model, provider, book)
    if provider in FOREIGN_KEYS:
        raise ConfigError(f"provider {provider!r} is not supported by this version (model {model!r})", hint=_WAYS)
    if SUPPORTED_KEYS[provider] not in present and not base_url:
        raise ConfigError(f"model {model!r} needs {SUPPORTED_KEYS[provider]}, and it is not set", hint=_WAYS)
    book.lookup(model)
    return Choice(kind="openai", name=model, why="the model was asked for")


def build(
    choice: Choice,
    *,
    book: Book,
    keys: Mapping[str, str],
    tools: tuple[ToolDefinition, ...] = (),
    base_url: str | None = None,
    folder: Path | None = None,
    timeout_s: float = 900.0,
    idle_s: float = 300.0,
) -> Model:
    """Make the chosen model. A recording's path is taken from `folder` (default: where runner was started).

    Raises NotFoundError or ConfigError for a recording that cannot be read, ConfigError for an unknown price.
    """
    if choice.kind == "replay":
        return _replay(choice, book, tools, folder)
    from runner.models.openai_chat import OpenAIChat

    return OpenAIChat(
        choice.name,
        api_key=keys.get(SUPPORTED_KEYS["openai"]) or None,
        max_output=book.lookup(choice.name).max_output,
        base_url=base_url or None,
        tools=tools,
        timeout_s=timeout_s,
        idle_s=idle_s,
    )


def _replay(choice: Choice, book: Book, tools: tuple[ToolDefinition, ...], folder: Path | None) -> Model:
    from runner.models.recording import Recording
    from runner.models.replay import ReplayModel

    path = Path(choice.name)
    try:
        text = ((folder or Path()) / path.expanduser()).read_text("utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"no recording at {path}", hint="make one: runner record RUN -o FILE") from None
    except OSError as error:
        raise NotFoundError(f"recording {path}: {error.strerror}", hint="Write --model replay:FILE.") from None
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", path=path, hint="A recording is JSON lines in UTF-8.") from None
    recording = Recording.parse(text, path)
    return ReplayModel(recording, max_output=book.lookup(recording.model).max_output, tools=tools)


def _default(present: set[str], book: Book) -> Choice:
    for provider, key in SUPPORTED_KEYS.items():
        if key in present:
            name = DEFAULT_MODELS[provider]
            book.lookup(name)
            return Choice(kind="openai", name=name, why=f"the default for {key}")
    foreign = sorted(key for key in FOREIGN_KEYS.values() if key in present)
    if foreign:
        what = " and ".join(foreign)
        raise ConfigError(f"{what} found, but this version cannot call that provider yet", hint=_WAYS)
    raise ConfigError("no model was named and no provider's key is set", hint=_WAYS)


def _unknown(model: str, provider: str, book: Book) -> ConfigError:
    callable_ = [name for name in book.entries if name.partition("/")[0] in SUPPORTED_KEYS]
    whole = sorted(name for name in callable_ if name.partition("/")[2] == model)
    near = whole[0] if whole else closest(model, callable_, cutoff=0.7)
    if near is None and (prefix := closest(provider.partition(":")[0], _PREFIXES)) is not None:
        near = f"{prefix}:…" if prefix == "replay" else f"{prefix}/…"
    if near is None and provider.lower() in _LOCAL:
        hint = f"a server of your own: OPENAI_BASE_URL=http://… and --model openai/{model.partition('/')[2] or 'NAME'}"
        return ConfigError(f"unknown model {model!r}", hint=hint)
    meant = f"Did you mean {near!r}? " if near else ""
    return ConfigError(f"unknown model {model!r}", hint=f"{meant}A model is openai/NAME or replay:FILE.")


def refuse_unusable(keys: Mapping[str, str], base_url: str | None, *, source: str) -> None:
    """Raise ConfigError for a key or a server's address that no provider can have given. No key is ever quoted."""
    for name in SUPPORTED_KEYS.values():
        key = keys.get(name, "")
        if what := _wrong_with(key):
            raise ConfigError(f"{name} cannot be a key: it holds {what}", hint="set it again to the key alone")
    if base_url:
        scheme, there, rest = base_url.partition("://")
        if not there or scheme.lower() not in {"http", "https"} or not rest.strip("/"):
            # an address may carry a password before its `@`
            shown = base_url.rpartition("@")[2][:60]
            raise ConfigError(
                f"the base URL {shown!r} ({source}) is not the address of a server",
                hint="write it whole, for example http://localhost:8080/v1",
            )


def _wrong_with(key: str) -> str:
    if any(char in "\r\n" for char in key):
        return "a line break"
    if any(char.isspace() for char in key):
        return "a space"
    if key[:1] in {'"', "'"} or key[-1:] in {'"', "'"}:
        return "quotes"
    return "" if key.isascii() and key.isprintable() else "characters that no key has"
