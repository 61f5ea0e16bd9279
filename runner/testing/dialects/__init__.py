"""The APIs a scripted provider speaks, chosen by a request's path."""

from __future__ import annotations

from runner.testing.dialects.asked import Asked, BadRequestError, Block, Dialect, Turn
from runner.testing.dialects.chat import Chat
from runner.testing.dialects.messages import Messages
from runner.testing.dialects.responses import Responses

__all__ = ("Asked", "BadRequestError", "Block", "Dialect", "Turn", "counter_of", "dialect_of")

_CHAT, _RESPONSES, _MESSAGES = Chat(), Responses(), Messages()


def dialect_of(path: str) -> Dialect | None:
    """The dialect spoken at a path; None where there is no such path."""
    found: dict[str, Dialect] = {"/chat/completions": _CHAT, "/responses": _RESPONSES, "/messages": _MESSAGES}
    return next((dialect for end, dialect in found.items() if path.partition("?")[0].endswith(end)), None)


def counter_of(path: str) -> Messages | Responses | None:
    """The dialect whose requests are only counted at a path."""
    found: dict[str, Messages | Responses] = {
        "/messages/count_tokens": _MESSAGES,
        "/responses/input_tokens": _RESPONSES,
    }
    return next((dialect for end, dialect in found.items() if path.partition("?")[0].endswith(end)), None)
