"""OpenAI's Responses, through the openai SDK: one request, streamed, nothing stored, no retries of its own.

For models that reason: what they thought comes back encrypted, and is sent again with the next request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from runner.errors import ModelError
from runner.models.fields import as_map
from runner.models.openai_chat import OPENAI_URL, bounds, sdk_sender, service_of
from runner.models.outcomes import outcome
from runner.models.responses_assembly import Assembly
from runner.models.responses_wire import count_body, encode_items, encode_tools, responses_body
from runner.models.sending import request_id_of
from runner.models.usage import Classed, Counts, counts_of, in_class
from runner.ports import Completion, Interrupt, Message, ToolDefinition
from runner.pricing.book import Entry
from runner.pricing.cost import Asks
from runner.values import CallId

_COUNT_S = 60.0


class OpenAIResponses:
    """One model behind Responses. Safe for calls from several threads: each has its own connection.

    Takes what OpenAIChat takes. OpenAI itself counts a request's input for nothing; other servers are not asked.
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
        self._model = name.partition("/")[2]
        self._key, url = api_key or "", base_url or OPENAI_URL
        self._tools = encode_tools(tools)
        self._provider, self._service = provider, service_of(asks or Asks(), url)
        self._local = entry is not None and entry.local
        self._counts: Counts = counts_of(entry, provider)
        self._classed: Classed = partial(in_class, asks=asks or Asks(), entry=entry)
        self._sender = sdk_sender(url, key=self._key, provider=provider, timeout_s=timeout_s, idle_s=idle_s)
        self._counter = sdk_sender(
            url, key=self._key, provider=provider, timeout_s=min(timeout_s, _COUNT_S), idle_s=min(idle_s, _COUNT_S)
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_output(self) -> int:
        return self._max_output

    def encode(self, message: Message) -> bytes:
        return encode_items(message, self._name)

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return responses_body(self._model, messages, tools=self._tools, max_output=max_output, service=self._service)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        del call  # the provider gives every tool call its id
        stand_in = partial(bounds, body) if self._local else None

        def read(events: Iterator[object], headers: Mapping[str, str]) -> Completion:
            assembly = Assembly(self._name, on_text, counts=self._counts, classed=self._classed, stand_in=stand_in)
            return assembly.read(events, request_id_of(headers))

        return self._sender.stream("responses", body, interrupt=interrupt, read=read, refused=self._refused)

    @property
    def can_count(self) -> bool:
        return self._provider == "openai"

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        try:
            answer = self._counter.json(
                "responses/input_tokens", count_body(self._model, body), interrupt=interrupt, refused=self._refused
            )
        except ModelError:
            return None  # whatever went wrong, nothing was billed, and the caller has a bound of its own
        tokens = as_map(answer).get("input_tokens")
        return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0 else None

    def _refused(self, status: int, body: object, headers: Mapping[str, str]) -> ModelError:
        return outcome(self._provider, status, body, headers, secret=self._key)
