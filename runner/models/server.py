"""A server that the user named. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.errors import ConfigError

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


def refuse_address(url: str, source: str) -> None:
    """Raise ConfigError where `url`, from `source`, is not the whole address of a server."""
    scheme, there, rest = url.partition("://")
    if not there or scheme.lower() not in {"http", "https"} or not rest.strip("/"):
        # an address may carry a password before its `@`
        shown = url.rpartition("@")[2][:60]
        raise ConfigError(
            f"the base URL {shown!r} ({source}) is not the address of a server",
            hint="write it whole, for example http://localhost:8080/v1",
        )
