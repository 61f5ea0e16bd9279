"""Which model a run uses: by the name's prefix, else the first provider with a key. Adapters load when built.

A provider's adapter is a module beside this one and a branch in `choose` and `build`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from runner.errors import ConfigError, NotFoundError, closest
from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS, key_for
from runner.models.server import Server, refuse_address
from runner.ports import Model, ToolDefinition
from runner.pricing.book import Book, stanza
from runner.pricing.cost import Asks

__all__ = ["DEFAULT_MODELS", "Choice", "Server", "build", "choose", "key_of", "refuse_unusable"]

DEFAULT_MODELS: Mapping[str, str] = {
    "openai": "openai/gpt-6.1-sol",
    "anthropic": "anthropic/claude-sonnet-5-5",
}
"""What a provider's key alone chooses: current, and in the middle of the provider's prices."""

_WAYS = (
    "set OPENAI_API_KEY or ANTHROPIC_API_KEY, in the environment or in a file .env here;\n"
    "or OPENAI_BASE_URL and --model openai/NAME, for a server of your own;\n"
    "or play a recording: --model replay:FILE"
)
_LITELLM = "litellm"
_NO_KEY = "a server that needs no key has its place in the configuration: [providers.NAME]"
_INSTALL = "pip install 'agent-loop-runner[litellm]'"
_LOCAL = frozenset({"ollama", "lmstudio", "vllm", "llamacpp", "llama.cpp", "local", "localai"})
_PREFIXES = ("replay", *SUPPORTED_KEYS, *FOREIGN_KEYS, _LITELLM)
_STANDARD = Asks()
_NO_SERVERS: Mapping[str, Server] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model that can be built. `name` is `provider/model`, or a recording's path; `why` says who chose it.

    `kind` says which adapter: a recording, Chat Completions, Responses, Anthropic's Messages, or litellm. `server` is
    where it is called when that is not the provider's own address.
    """

    kind: Literal["replay", "chat", "responses", "anthropic", "litellm"]
    name: str
    why: str
    server: Server | None = None

    @property
    def asked(self) -> str:
        """The name that chooses this again."""
        if self.kind == "replay":
            return f"replay:{self.name}"
        plain = self.name.partition("/")[0] in FOREIGN_KEYS
        return f"{_LITELLM}/{self.name}" if self.kind == "litellm" and not plain else self.name


def choose(
    model: str | None,
    keys: Mapping[str, str],
    book: Book,
    *,
    base_url: str | None = None,
    servers: Mapping[str, Server] = _NO_SERVERS,
) -> Choice:
    """Choose from what was asked for (None: nothing), the keys present by name, and the known prices. Sends nothing.

    The first that fits: `replay:FILE`; `litellm/PROVIDER/NAME`; a server of the user's; `openai/`; `anthropic/`; a
    provider that litellm calls. A name without a provider is never guessed. `base_url` set means an OpenAI server
    that may need no key. Raises ConfigError with the ways out.
    """
    present = {name for name, value in keys.items() if value}
    if model is None:
        return _default(present, book, servers, base_url)
    prefix, colon, rest = model.partition(":")
    if colon and prefix == "replay":
        if not rest:
            raise ConfigError("replay: names no file", hint="Write --model replay:FILE.")
        return Choice(kind="replay", name=rest, why="a recording was asked for")
    provider, slash, name = model.partition("/")
    why = "the model was asked for"
    if slash and provider == _LITELLM and name.partition("/")[2]:
        choice = Choice(kind="litellm", name=name, why=why)
    elif slash and name and provider in servers:
        choice = _served(servers[provider], model, why)
    elif slash and name and provider == "openai":
        choice = _openai(model, why, book, base_url)
    elif slash and name and provider in SUPPORTED_KEYS:
        choice = Choice(kind="anthropic", name=model, why=why)
    elif slash and name and provider in FOREIGN_KEYS:
        choice = Choice(kind="litellm", name=model, why=why)
    else:
        raise _unknown(model, provider, book, servers)
    _need_key(choice, present, base_url)
    if choice.kind == "litellm":
        _need_litellm(model)
    _need_price(choice, book)
    _refuse_free(choice, book, base_url)
    return choice


def key_of(choice: Choice) -> str:
    """The name of the key this choice sends; "" where it needs none. litellm never looks for one by itself."""
    if choice.kind == "replay":
        return ""
    if choice.server is not None:
        return choice.server.key
    return key_for(choice.name.partition("/")[0])


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
    asks: Asks = _STANDARD,
    thinking: str = "off",
) -> Model:
    """Make the chosen model. A recording's path is taken from `folder` (default: where runner was started).

    `base_url` is another address of OpenAI's; `timeout_s` bounds a whole call, `idle_s` the silence in it. Raises
    NotFoundError or ConfigError for a recording that cannot be read, ConfigError for an unknown price.
    """
    if choice.kind == "replay":
        return _replay(choice, book, tools, folder)
    entry = book.lookup(choice.name)
    name, key, most = choice.name, keys.get(key_of(choice)) or None, entry.max_output
    url = choice.server.base_url if choice.server else None
    match choice.kind:
        case "anthropic":
            from runner.models.anthropic_messages import AnthropicMessages

            return AnthropicMessages(
                name, api_key=key, max_output=most, base_url=url, tools=tools, timeout_s=timeout_s, idle_s=idle_s,
                entry=entry, asks=asks, thinking=thinking,
            )  # fmt: skip
        case "litellm":
            from runner.models.litellm_chat import LitellmChat

            return LitellmChat(
                name, api_key=key, max_output=most, tools=tools, timeout_s=timeout_s, idle_s=idle_s,
                entry=entry, asks=asks,
            )  # fmt: skip
        case "responses":
            from runner.models.openai_responses import OpenAIResponses

            return OpenAIResponses(
                name, api_key=key, max_output=most, base_url=url, tools=tools, timeout_s=timeout_s, idle_s=idle_s,
                entry=entry, asks=asks, provider=_speaker(url),
            )  # fmt: skip
        case "chat":
            from runner.models.openai_chat import OpenAIChat

            return OpenAIChat(
                name, api_key=key, max_output=most, base_url=url or base_url or None, tools=tools,
                timeout_s=timeout_s, idle_s=idle_s, entry=entry, asks=asks, provider=_speaker(url),
            )  # fmt: skip


def _speaker(url: str | None) -> str:
    """Whose rules for outcomes hold: OpenAI's own server, or one that only speaks like it."""
    return "compatible" if url else "openai"


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


def _openai(model: str, why: str, book: Book, base_url: str | None) -> Choice:
    """Chat Completions or Responses, as the book says; a server that is not OpenAI's speaks the former."""
    entry = book.entries.get(model)
    responses = entry is not None and entry.api == "responses" and not base_url
    return Choice(kind="responses" if responses else "chat", name=model, why=why)


def _served(server: Server, model: str, why: str) -> Choice:
    match server.api:
        case "messages":
            return Choice(kind="anthropic", name=model, why=why, server=server)
        case "chat" | "responses":
            return Choice(kind=server.api, name=model, why=why, server=server)


def _need_key(choice: Choice, present: set[str], base_url: str | None) -> None:
    key = key_of(choice)
    own = choice.server is None and choice.kind == "chat" and base_url
    if not key or key in present or own:
        return
    hint = _WAYS if choice.server is None and choice.kind != "litellm" else f"set {key} in the environment"
    if choice.kind == "litellm" and key not in FOREIGN_KEYS.values():
        hint += f";\n{_NO_KEY}"
    raise ConfigError(f"model {choice.asked!r} needs {key}, and it is not set", hint=hint)


def _need_litellm(model: str) -> None:
    if find_spec(_LITELLM) is None:
        raise ConfigError(f"model {model!r} needs litellm, which is not installed", hint=_INSTALL)


def _need_price(choice: Choice, book: Book) -> None:
    """Raise ConfigError where no price is known; for a server of the user's, with what to write beside its address."""
    if choice.server is None or choice.name in book.entries:
        book.lookup(choice.name)
        return
    name = choice.name.partition("/")[2]
    raise ConfigError(
        f"no price is known for model {choice.name!r}, so no cap on it can bind",
        hint=f"give it one in the configuration, beside the server's address:\n\n{_own_price(choice.server, name)}",
    )


def _refuse_free(choice: Choice, book: Book, base_url: str | None) -> None:
    """Raise ConfigError where a model would cost nothing at a provider's own address: it sends bills."""
    own = choice.server is not None or (choice.kind == "chat" and base_url)
    provider = choice.name.partition("/")[0]
    if book.lookup(choice.name).local and provider in SUPPORTED_KEYS and not own:
        raise ConfigError(
            f"{choice.name!r} is local by your prices, and would be called at {provider}'s own address",
            hint=f"set {provider.upper()}_BASE_URL to the address of your server, or give the model its price",
        )


def _own_price(server: Server, name: str) -> str:
    _, _, lines = stanza(f"{server.name}/{name}").partition("\n")
    return f'[providers.{server.name}.models."{name}"]\n{lines}'


def _default(present: set[str], book: Book, servers: Mapping[str, Server], base_url: str | None) -> Choice:
    for provider, key in SUPPORTED_KEYS.items():
        if key in present:
            name, why = DEFAULT_MODELS[provider], f"the default for {key}"
            if provider in servers:
                choice = _served(servers[provider], name, why)
            elif provider == "openai":
                choice = _openai(name, why, book, base_url)
            else:
                choice = Choice(kind="anthropic", name=name, why=why)
            book.lookup(name)
            _refuse_free(choice, book, base_url)
            return choice
    foreign = sorted(provider for provider, key in FOREIGN_KEYS.items() if key in present)
    if foreign:
        found = " and ".join(FOREIGN_KEYS[provider] for provider in foreign)
        hint = f"name a model: --model {foreign[0]}/NAME (through litellm: {_INSTALL})"
        raise ConfigError(f"{found} found, but no model was named", hint=hint)
    if servers:
        hint = f"name one of a server you configured: --model {next(iter(servers))}/NAME"
        raise ConfigError("no model was named and no provider's key is set", hint=hint)
    raise ConfigError("no model was named and no provider's key is set", hint=_WAYS)


def _unknown(model: str, provider: str, book: Book, servers: Mapping[str, Server]) -> ConfigError:
    if provider == _LITELLM:
        return ConfigError(f"unknown model {model!r}", hint="A model through litellm is litellm/PROVIDER/NAME.")
    whole = sorted(name for name in book.entries if name.partition("/")[2] == model)
    near = whole[0] if whole else closest(model, book.entries, cutoff=0.7)
    prefixes = (*_PREFIXES, *servers)
    if near is None and (prefix := closest(provider.partition(":")[0], prefixes)) is not None:
        near = f"{prefix}:…" if prefix == "replay" else f"{prefix}/…"
    if near is None and provider.lower() in _LOCAL:
        hint = f"a server of your own: OPENAI_BASE_URL=http://… and --model openai/{model.partition('/')[2] or 'NAME'}"
        return ConfigError(
            f"unknown model {model!r}", hint=f"{hint};\nor name it in the configuration: [providers.{provider.lower()}]"
        )
    meant = f"Did you mean {near!r}? " if near else ""
    ways = ", ".join(f"{name}/NAME" for name in (*SUPPORTED_KEYS, *servers))
    return ConfigError(f"unknown model {model!r}", hint=f"{meant}A model is {ways} or replay:FILE.")


def refuse_unusable(
    keys: Mapping[str, str], base_url: str | None, *, source: str, choice: Choice | None = None
) -> None:
    """Raise ConfigError for a key or a server's address that no provider can have given. No key is ever quoted.

    With `choice` only the key that it sends is looked at.
    """
    names: Iterable[str] = SUPPORTED_KEYS.values() if choice is None else (key_of(choice),)
    for name in names:
        key = keys.get(name, "")
        if what := _wrong_with(key):
            raise ConfigError(f"{name} cannot be a key: it holds {what}", hint="set it again to the key alone")
    if base_url:
        refuse_address(base_url, source)


def _wrong_with(key: str) -> str:
    if any(char in "\r\n" for char in key):
        return "a line break"
    if any(char.isspace() for char in key):
        return "a space"
    if key[:1] in {'"', "'"} or key[-1:] in {'"', "'"}:
        return "quotes"
    return "" if key.isascii() and key.isprintable() else "characters that no key has"
