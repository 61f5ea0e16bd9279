"""A server that the user named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

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
