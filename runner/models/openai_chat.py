"""Any server that speaks Chat Completions, through the openai SDK: one request, streamed, no retries of its own.

The SDK gets the finished bytes of the body and hands back the response as it comes: it neither walks the messages nor
builds objects of the chunks. It loads with the first call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from runner.errors import ModelError, UnbilledError
from runner.models.assembly import Assembly
from runner.models.connection import Wire
from runner.models.fields import as_map, as_text
from runner.models.outcomes import outcome
from runner.models.sending import Sdk, Sender, host_of, request_id_of
from runner.models.server import place_of_openai
from runner.models.usage import Classed, Counts, counts_of, in_class, read_service
from runner.models.wire import chat_body, encode_message, encode_tools
from runner.ports import Completion, Interrupt, Message, ToolDefinition
from runner.pricing.book import Entry
from runner.pricing.cost import Asks
from runner.values import CallId, Usage

OPENAI_URL = "https://api.openai.com/v1"

_PLACES = {"openai": "OPENAI_BASE_URL", "compatible": "the server's `base_url`"}
_LIMITS = (b"max_completion_tokens", b"max_tokens")
_LIMIT = re.compile(rb'"max_(?:completion_|output_)?tokens":(\d+)')


def sdk_sender(url: str, *, key: str, provider: str, timeout_s: float, idle_s: float) -> Sender:
    """Calls the server at `url` through the openai SDK, which loads with the first call."""

    def make(wire: Wire) -> Sdk:
        from runner.models.openai_client import sdk

        return sdk(wire, url, key=key, idle_s=idle_s, stranger=place_of_openai(url) is None)

    return Sender(make, host=host_of(url), place=_PLACES[provider], timeout_s=timeout_s)


def service_of(asks: Asks, url: str) -> str:
    """The class of service to ask for. OpenAI's own choice may be a dearer one, so there the standard is named."""
    asked = read_service(asks.service)
    return asked or ("" if place_of_openai(url) is None else "default")


def bounds(body: bytes) -> Usage:
    """The most that a request can use, for a server that costs nothing and counts nothing."""
    # the first one is ours: before it there is only the model's name, in whose JSON every quote is escaped
    limit = _LIMIT.search(body)
    return Usage(len(body), int(limit[1]) if limit else 0)


def _unsupported(body: object) -> bytes:
    """The field of a request that a server says it does not support; empty where it says no such thing."""
    error = as_map(as_map(body).get("error"))
    return as_text(error.get("param")).encode() if error.get("code") == "unsupported_parameter" else b""


class OpenAIChat:
    """One model behind Chat Completions. Safe for calls from several threads: each has its own connection.

    `timeout_s` bounds a whole call, `idle_s` the silence within it. Without `api_key` (a server of one's own)
    a placeholder is sent. `provider` is `openai`, or `compatible` for any other server; `entry` says how far to
    believe its counts and whether it costs money (None: it does).
    """

    def __init__(
        self,
        name: str,
        *,
        api_key: str | None,
        max_output: int,
        base_url: str | None = None,
        tools: tuple[ToolDefinition, ...] = (),
        timeout_s: float = 900.0,
        idle_s: float = 300.0,
        entry: Entry | None = None,
        asks: Asks | None = None,
        provider: str = "openai",
    ) -> None:
        self._name, self._max_output = name, max_output
        self._key, url = api_key or "", base_url or OPENAI_URL
        self._tools, self._provider = encode_tools(tools), provider
        self._service = service_of(asks or Asks(), url)
        self._local = entry is not None and entry.local
        self._counts: Counts = counts_of(entry, provider)
        self._classed: Classed = partial(in_class, asks=asks or Asks(), entry=entry)
        # what other servers know; those that know only this one would ignore the other, and with it the limit
        self._limit = _LIMITS[0] if provider == "openai" else _LIMITS[1]
        self._sender = sdk_sender(url, key=self._key, provider=provider, timeout_s=timeout_s, idle_s=idle_s)

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_output(self) -> int:
        return self._max_output

    def encode(self, message: Message) -> bytes:
        return encode_message(message, self._name)

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return chat_body(
            self._name.partition("/")[2],
            messages,
            tools=self._tools,
            max_output=max_output,
            limit=self._limit,
            service=self._service,
        )

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        stand_in = partial(bounds, body) if self._local else None

        def read(chunks: Iterator[object], headers: Mapping[str, str]) -> Completion:
            assembly = Assembly(
                call, on_text, model=self._name, counts=self._counts, classed=self._classed, stand_in=stand_in
            )
            return assembly.read(chunks, request_id_of(headers))

        return self._sender.stream("chat/completions", body, interrupt=interrupt, read=read, refused=self._refused)

    def _refused(self, status: int, body: object, headers: Mapping[str, str]) -> ModelError:
        error = outcome(self._provider, status, body, headers, secret=self._key)
        if isinstance(error, UnbilledError) and (unknown := _unsupported(body)) in _LIMITS:
            # OpenAI's newer models know only the one name of the limit, wherever they are served; others the other
            self._limit = next(name for name in _LIMITS if name != unknown)
            error.retryable, error.retry_after_s = True, 0.0
        return error

    @property
    def can_count(self) -> bool:
        return False

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        del body, interrupt
        return None
