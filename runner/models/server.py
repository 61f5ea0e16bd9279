"""A server that the user named. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from runner.errors import ConfigError

OPENAI_HOST = "api.openai.com"

Api: TypeAlias = Literal["chat", "responses", "messages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server by its base URL; its models are `name/MODEL`.

    `key` names the variable that holds its key ("": it needs none). `api` is what it speaks: Chat Completions,
    Responses, or Anthropic's Messages. `local` says that its models may be priced at nothing.
    """

    name: str
    base_url: str
    key: str = ""
    api: Api = "chat"
    local: bool = False


def place_of_openai(url: str) -> str | None:
    """Where one of OpenAI's own addresses works ("": anywhere, `eu`, …); None for the address of anybody else."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    return host.removesuffix(OPENAI_HOST).rstrip(".") if f".{host}".endswith(f".{OPENAI_HOST}") else None


def refuse_address(url: str, source: str) -> None:
    """Raise ConfigError where `url`, from `source`, is not the whole address of a server, or holds a password."""
    scheme, there, rest = url.partition("://")
    if not there or scheme.lower() not in {"http", "https"} or not rest.strip("/"):
        # an address may carry a password before its `@`
        shown = url.rpartition("@")[2][:60]
        raise ConfigError(
            f"the base URL {shown!r} ({source}) is not the address of a server",
            hint="write it whole, for example http://localhost:8080/v1",
        )
    refuse_password(url, source)


def refuse_password(url: str, source: str) -> None:
    """Raise ConfigError where `url`, from `source`, has a user or a password before an `@`.

    That would be sent in the place of the key, and nobody who masks would know it. It is not quoted.
    """
    rest = url.partition("://")[2]
    if "@" in rest.partition("/")[0].partition("?")[0].partition("#")[0]:
        raise ConfigError(
            f"the base URL ({source}) holds a user or a password before its @, which nothing would mask",
            hint="write the address without it; a key belongs into the variable for it: OPENAI_API_KEY,\n"
            "ANTHROPIC_API_KEY, or the one that `key` of [providers.NAME] names",
            quotable=False,
        )
