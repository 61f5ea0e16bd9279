"""Any server that speaks Chat Completions, through the openai SDK: one request, streamed, no retries of its own.

The SDK gets the finished bytes of the body and hands back the response as it comes: it neither walks the messages nor
builds objects of the chunks. The connection is watched, so that it is known whether a byte left and another thread
can cut it. The SDK loads with the first call.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from runner.errors import LostError, ModelError, NeverSentError
from runner.models.alarms import Alarms
from runner.models.assembly import Assembly, GarbledError
from runner.models.connection import Line
from runner.models.openai_errors import refusal
from runner.models.sse import values
from runner.models.wire import chat_body, encode_message, encode_tools
from runner.ports import Completion, Interrupt, Message, ToolDefinition
from runner.values import CallId

if TYPE_CHECKING:
    import httpx
    from openai._types import RequestOptions

    from runner.models.openai_client import Way

OPENAI_URL = "https://api.openai.com/v1"

_NUMBER = re.compile(r"\A\[Errno -?\d+\] ")
_OPTIONS: RequestOptions = {
    "headers": {"Content-Type": "application/json", "Accept": "text/event-stream"},
    # a redirect would be a second request
    "follow_redirects": False,
    # never the administrator's key, which the SDK would take from the environment
    "security": {"bearer_auth": True},
}
_REST_S = 0.2
_ALARMS = Alarms()


class OpenAIChat:
    """One model behind Chat Completions. Safe for calls from several threads: each has its own connection.

    `timeout_s` bounds a whole call, `idle_s` the silence within it. Without `api_key` (a server of one's own)
    a placeholder is sent.
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
    ) -> None:
        self._name, self._max_output = name, max_output
        self._key, self._url = api_key or "", base_url or OPENAI_URL
        self._tools = encode_tools(tools)
        self._timeout_s, self._idle_s = timeout_s, idle_s
        self._ways = threading.local()

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_output(self) -> int:
        return self._max_output

    def encode(self, message: Message) -> bytes:
        return encode_message(message)

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return chat_body(self._name.partition("/")[2], messages, tools=self._tools, max_output=max_output)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        way = self._way()
        line = way.wire.line()
        late = partial(line.cut, f"the reply took longer than {self._timeout_s:g} s")
        with _ALARMS.after(self._timeout_s, late), interrupt.calling(lambda: line.cut("stopped")):
            if line.why:
                raise NeverSentError("stopped before the request left")
            return self._send(call, body, way, line, on_text)

    @property
    def can_count(self) -> bool:
        return False

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        del body, interrupt
        return None

    def _send(self, call: CallId, body: bytes, way: Way, line: Line, on_text: Callable[[str], None]) -> Completion:
        import httpx
        from openai import APIStatusError, OpenAIError

        assembly = Assembly(call, on_text)
        try:
            with closing(_post(way, body)) as response:
                self._refuse_page(response.headers.get("content-type", ""))
                pieces = response.iter_bytes()
                for chunk in values(pieces):
                    assembly.add(chunk)
                whole = assembly.completion(response.headers.get("x-request-id", ""))
                # the reply is there: what is left of its stream is read so that the connection can be used again
                with suppress(httpx.HTTPError), _ALARMS.after(_REST_S, partial(line.cut, "the stream did not end")):
                    for _ in pieces:
                        pass
                return whole
        except APIStatusError as error:
            if line.why:
                raise self._broken(line, "") from None
            raise self._refused(error.response) from None
        except GarbledError as error:
            raise self._broken(line, str(error)) from None
        except (OpenAIError, httpx.HTTPError, ValueError) as error:
            raise self._broken(line, _in_words(error)) from None

    def _way(self) -> Way:
        """This thread's way to the provider, made with its first call."""
        if (way := getattr(self._ways, "own", None)) is None:
            from runner.models.openai_client import way as made

            way = self._ways.own = made(self._url, "chat/completions", key=self._key, idle_s=self._idle_s)
        return cast("Way", way)

    def _refused(self, response: httpx.Response) -> ModelError:
        try:
            body: object = json.loads(response.content)
        except ValueError:
            body = None
        return refusal(response.status_code, body, dict(response.headers), secret=self._key)

    def _refuse_page(self, kind: str) -> None:
        """A web page is no reply cut short: asking for it again brings the same page."""
        if kind.partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}:
            raise LostError(
                f"{self._host()} answered with a web page, not with a model's reply",
                hint="Check OPENAI_BASE_URL: it usually ends in /v1.",
            )

    def _broken(self, line: Line, what: str) -> ModelError:
        """The error for a call that ended without a reply or a refusal, from what is known of its connection."""
        stopped = line.why == "stopped"
        if not line.sent:
            return NeverSentError(
                f"no connection to {self._host()}: {line.why or what}",
                retryable=not stopped,
                hint="" if stopped else "Check the network and OPENAI_BASE_URL.",
            )
        return LostError(
            f"the reply from {self._host()} was lost: {line.why or what}",
            retryable=not stopped,
            hint="It may have been billed; the call's hold is kept.",
        )

    def _host(self) -> str:
        """Host and port of the server: never what a URL may carry before an `@`."""
        return self._url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _post(way: Way, body: bytes) -> httpx.Response:
    """Send the request; give the response with its headers, the body still to come."""
    import httpx
    from openai import Stream

    opened: object = way.client.post(
        way.url,
        cast_to=httpx.Response,
        content=body,
        options=_OPTIONS,
        stream=True,
        stream_cls=Stream[object],
    )
    # the SDK hands the response over as it is where that is what it should cast to, whatever the stream's class
    return cast("httpx.Response", opened)


def _in_words(error: Exception) -> str:
    """What went wrong, from the kinds of the error and its causes: their texts may quote the request."""
    import httpx
    from openai import APIConnectionError

    cause = error.__cause__ if isinstance(error, APIConnectionError) and error.__cause__ else error
    match cause:
        case httpx.ConnectTimeout():
            return "connecting took too long"
        case httpx.ConnectError():
            # the system's words (refused, unknown name, bad certificate), without its number: no request in them
            said = _NUMBER.sub("", str(cause)[:200])
            return said[:1].lower() + said[1:]
        case httpx.TimeoutException():
            return "it was silent for too long"
        case httpx.TransportError():
            return "the connection broke"
        case _:
            return type(cause).__name__
