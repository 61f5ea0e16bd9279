"""Any provider that litellm knows, through litellm: the adapter for those that have none of their own.

litellm is an extra, and the weakest road: it builds an object of every chunk, and where it sends by a way of its own (a
provider's own SDK, as for SageMaker) nobody knows whether a byte left: such a call that fails counts as lost.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from runner.models.assembly import Assembly
from runner.models.connection import Wire
from runner.models.keys import key_for
from runner.models.outcomes import outcome
from runner.models.sending import Sdk, Sender, request_id_of
from runner.models.usage import Classed, Counts, counts_of, in_class
from runner.models.wire import chat_body, encode_message, encode_tools
from runner.ports import Completion, Interrupt, Message, ToolDefinition
from runner.pricing.book import Entry
from runner.pricing.cost import Asks
from runner.values import CallId

_NAMES: Mapping[str, str] = {"google": "gemini", "together": "together_ai", "fireworks": "fireworks_ai"}
"""What litellm calls a provider, where that is another name than ours."""
_WANT_THOUGHTS = frozenset({"deepseek", "moonshot", "zai"})
"""Who refuses a tool call that comes back without the thoughts before it; others refuse the thoughts."""


def litellm_name(name: str) -> str:
    """A model's name as litellm has it."""
    provider, slash, model = name.partition("/")
    return f"{_NAMES.get(provider, provider)}{slash}{model}"


class LitellmChat:
    """One model behind litellm. Safe for calls from several threads: each has its own connection.

    `timeout_s` bounds a whole call, `idle_s` the silence within it. `base_url` is another address of the provider's.
    Made with a key, it loads litellm aside at once.
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
    ) -> None:
        self._name, self._max_output = name, max_output
        self._tools, self._service = encode_tools(tools), (asks or Asks()).service
        self._key = api_key or ""
        self._counts: Counts = counts_of(entry, "litellm")
        self._classed: Classed = partial(in_class, asks=asks or Asks(), entry=entry)
        make = partial(_made, model=litellm_name(name), key=self._key, base_url=base_url, idle_s=idle_s)
        provider = name.partition("/")[0]
        self._sender = Sender(make, host=provider, place=key_for(provider), timeout_s=timeout_s)
        if api_key:
            # it takes seconds, and there is a workspace to look over meanwhile; without a key nobody is about to call.
            # Not a daemon: a process that ends in the middle of an import of compiled code may be aborted
            threading.Thread(target=_loaded, name="runner-litellm").start()

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_output(self) -> int:
        return self._max_output

    def encode(self, message: Message) -> bytes:
        return _as_sent(encode_message(message, self._name))

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        model = self._name.partition("/")[2]
        body = chat_body(
            model, messages, tools=self._tools, max_output=max_output, limit=b"max_tokens", service=self._service
        )
        return _as_sent(body)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        def read(chunks: Iterator[object], headers: Mapping[str, str]) -> Completion:
            kept = self._name if self._name.partition("/")[0] in _WANT_THOUGHTS else ""
            assembly = Assembly(call, on_text, model=kept, counts=self._counts, classed=self._classed)
            return assembly.read(chunks, request_id_of(headers))

        refused = partial(outcome, "litellm", secret=self._key)
        return self._sender.stream("", body, interrupt=interrupt, read=read, refused=refused, events=_decoded)

    @property
    def can_count(self) -> bool:
        return False

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        del body, interrupt
        return None


def _as_sent(text: bytes) -> bytes:
    """Chat Completions as litellm writes them at most, with white space and escapes: what leaves bounds the tokens."""
    return json.dumps(json.loads(text)).encode()


def _made(wire: Wire, *, model: str, key: str, base_url: str | None, idle_s: float) -> Sdk:
    from runner.models.litellm_client import sdk

    return sdk(wire, model, key=key, base_url=base_url, idle_s=idle_s)


def _loaded() -> None:
    # what is wrong with it shows when it is called
    with suppress(Exception):
        from runner.models.litellm_client import load

        load()


def _decoded(pieces: Iterable[bytes]) -> Iterator[object]:
    return map(msgspec.json.decode, pieces)
