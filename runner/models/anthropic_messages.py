"""Anthropic's Messages API through the anthropic SDK: one request, streamed, no retries of its own.

The SDK gets the finished bytes of the body and hands back the response as it comes. Tools of the provider's own are
never offered: with them one request is billed for several prompts, and no bound made here would hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from runner.errors import ConfigError, ModelError
from runner.models.anthropic_assembly import Assembly
from runner.models.anthropic_events import events
from runner.models.anthropic_wire import Encoder, counting, encode_tools, messages_body, model_field
from runner.models.fields import as_map
from runner.models.outcomes import outcome
from runner.models.sending import Sender, host_of, request_id_of
from runner.models.wire import as_json
from runner.ports import Completion, Interrupt, Message, ToolDefinition
from runner.pricing.book import Entry
from runner.pricing.cost import Asks
from runner.values import CallId, Usage

if TYPE_CHECKING:
    from runner.models.connection import Wire
    from runner.models.sending import Sdk

ANTHROPIC_URL = "https://api.anthropic.com"

_LEAST_THINKING = 1024
_FOR_THE_ANSWER = 1024
"""Output tokens that thinking leaves to what is said."""
_FAST_BETA = "fast-mode-2026-02-01"
_STANDARD = Asks()
_LIMIT = re.compile(rb'\{"max_tokens":(\d+)')


class AnthropicMessages:
    """One model behind Messages. Safe for calls from several threads: each has its own connection.

    `base_url` goes with or without its `/v1`. `asks.cache` is how long prefixes are kept ("" and `off`: not at all;
    `5m`, `1h`), `asks.service` is "" or `fast` or `priority`, `asks.geo` where to be processed. `thinking` is `off`,
    `adaptive` or a number of tokens. `timeout_s` bounds a whole call, `idle_s` the silence within it. Raises
    ConfigError for what the model or the provider cannot do.
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
        entry: Entry,
        asks: Asks = _STANDARD,
        thinking: str = "off",
    ) -> None:
        self._name, self._max_output, self._entry, self._asks = name, max_output, entry, asks
        provider, _, model = name.partition("/")
        mark = self._mark = _mark(asks)
        self._provider, self._key = provider, api_key or ""
        self._url = (base_url or ANTHROPIC_URL).rstrip("/").removesuffix("/v1")
        self._encoder = Encoder(provider, mark)
        self._think = _thinker(entry, thinking)
        self._idle_s, self._betas = idle_s, _FAST_BETA if asks.service == "fast" else ""
        self._before = (_tier(asks), _geo(entry, asks), model_field(model))
        self._cache = b'"cache_control":' + mark if mark else b""
        self._speed = b'"speed":"fast"' if asks.service == "fast" else b""
        encoded = encode_tools(tools)
        self._tools = b'"tools":' + encoded if encoded else b""
        place = "ANTHROPIC_BASE_URL" if provider == "anthropic" else f"the base_url of {provider}"
        self._sender = Sender(self._sdk, host=host_of(self._url), place=place, timeout_s=timeout_s)

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_output(self) -> int:
        return self._max_output

    def encode(self, message: Message) -> bytes:
        return self._encoder.encode(message)

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        thinking = self._think(max_output)
        fields = (*self._before, self._cache, self._speed, thinking, self._tools)
        return messages_body(messages, max_output=max_output, fields=fields, mark=self._mark)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        del call
        stand_in = partial(_bounds, body) if self._entry.local else None

        def read(stream: Iterator[object], headers: Mapping[str, str]) -> Completion:
            assembly = Assembly(self._provider, on_text)
            for event in stream:
                assembly.add(event)
            return assembly.completion(request_id_of(headers), self._asks, stand_in)

        return self._sender.stream(
            "v1/messages", body, interrupt=interrupt, read=read, refused=self._refused, events=events
        )

    @property
    def can_count(self) -> bool:
        return True

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        path = "v1/messages/count_tokens"
        try:
            answer = self._sender.json(path, counting(body), interrupt=interrupt, refused=self._refused)
        except ModelError:
            return None
        found = as_map(answer).get("input_tokens")
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None

    def _refused(self, status: int, body: object, headers: Mapping[str, str]) -> ModelError:
        return outcome("anthropic", status, body, headers, secret=self._key)

    def _sdk(self, wire: Wire) -> Sdk:
        from runner.models.anthropic_client import sdk

        return sdk(wire, f"{self._url}/", key=self._key, idle_s=self._idle_s, betas=self._betas)


def _bounds(body: bytes) -> Usage:
    """The most a request can have used: what a server of one's own that counts nothing is taken to have."""
    found = _LIMIT.match(body)
    return Usage(len(body), int(found[1]) if found else 0)


def _mark(asks: Asks) -> bytes:
    """The cache breakpoint that `asks` wants; five minutes are the provider's default."""
    match asks.cache:
        case "" | "off":
            return b""
        case "5m":
            return b'{"type":"ephemeral"}'
        case "1h":
            return b'{"type":"ephemeral","ttl":"1h"}'
        case other:
            raise ConfigError(f"Anthropic keeps no prefix for {other!r}", hint="Write cache = 5m, 1h or off.")


def _tier(asks: Asks) -> bytes:
    """Said always: left to itself an account's own tier is taken, and that may be another price."""
    match asks.service:
        case "" | "standard" | "fast":
            return b'"service_tier":"standard_only"'
        case "priority":
            return b'"service_tier":"auto"'
        case other:
            raise ConfigError(
                f"Anthropic has no service {other!r} for single calls",
                hint="Write service = standard, fast or priority.",
            )


def _geo(entry: Entry, asks: Asks) -> bytes:
    """Said where places have prices: left out, the workspace's own default holds. Other models refuse the field."""
    if asks.geo in {"", "global"} and not entry.price.geo:
        return b""
    return b'"inference_geo":' + as_json(asks.geo or "global")


def _thinker(entry: Entry, thinking: str) -> Callable[[int], bytes]:
    """What to send of thinking for an output limit; raises ConfigError for what the model cannot do."""
    known = entry.thinking
    if thinking == "off":
        # where nothing is said, an adaptive model thinks; one that always does cannot be told not to
        off = b'"thinking":{"type":"disabled"}' if known == "adaptive" else b""
        return lambda _: off
    if not known:
        raise ConfigError(f"{entry.name} is not known to think", hint="Write thinking = off.")
    if thinking == "adaptive":
        if known == "budget":
            raise ConfigError(f"{entry.name} thinks by a number of tokens", hint="Write thinking = 8000, for example.")
        return lambda _: b'"thinking":{"type":"adaptive"}'
    asked = int(thinking) if thinking.isascii() and thinking.isdecimal() else 0
    if asked < _LEAST_THINKING:
        raise ConfigError(
            f"{thinking!r} is no amount of thinking", hint=f"Write off, adaptive or {_LEAST_THINKING} tokens and more."
        )
    if known != "budget":
        raise ConfigError(f"{entry.name} decides by itself how long it thinks", hint="Write thinking = adaptive.")

    def budget(max_output: int) -> bytes:
        # thinking counts as output, and the provider wants the limit above it
        tokens = min(asked, max_output - _FOR_THE_ANSWER)
        return b'"thinking":{"type":"enabled","budget_tokens":%d}' % tokens if tokens >= _LEAST_THINKING else b""

    return budget
