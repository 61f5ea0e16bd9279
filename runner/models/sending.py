"""One call to a provider through its SDK: sent once, watched, cut from any thread, read to its end.

Knows no SDK and no API. An adapter says how to post (`Sdk`), how to read the reply's events and what a refusal proves;
here is decided whether a byte left, and so whether a call that brought nothing is free or lost.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias, TypeVar, cast

from runner.errors import LostError, ModelError, NeverSentError
from runner.models.alarms import Alarms
from runner.models.connection import Line, Wire
from runner.models.fields import GarbledError
from runner.models.sse import values
from runner.ports import Completion, Interrupt

STREAM, WHOLE = "text/event-stream", "application/json"
"""What a request accepts: the `accept` of `Sdk.post`."""

Refused: TypeAlias = Callable[[int, object, Mapping[str, str]], ModelError]
"""The error for a status outside 2xx, from the status, the body's JSON (None: it is none) and its headers."""

_HOPELESS = frozenset({"auth", "billing", "model", "request", "context", "size"})
"""Causes that no other attempt cures, whether the provider says them before a stream or in it."""
_NUMBER = re.compile(r"\A\[Errno -?\d+\] ")
_REST_S = 0.2
_ALARMS = Alarms()
_T = TypeVar("_T")


class Response(Protocol):
    """An answer with its headers here and its body still to come, as httpx and httpx2 have it."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    def iter_bytes(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class _StatusError(Protocol):
    """What SDKs raise for a status outside 2xx."""

    @property
    def response(self) -> Response: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """An SDK's client of one thread.

    `post(path, body, accept)` sends one request, without retries or redirects, and gives the response before its
    body. It raises `status_error` (with a `response` that was read whole) for a status outside 2xx, and one of
    `errors` for every other way to fail.
    """

    post: Callable[[str, bytes, str], Response]
    status_error: type[Exception]
    errors: tuple[type[Exception], ...]


def host_of(url: str) -> str:
    """Host and port of a server: never what a URL may carry before an `@`."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def request_id_of(headers: Mapping[str, str]) -> str:
    """The provider's own name for a request; "" where it gave none."""
    return headers.get("x-request-id") or headers.get("request-id") or ""


@dataclass(slots=True)
class _Call:
    """What is known of a call under way, for the error that may end it."""

    line: Line
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Sender:
    """Calls one provider. Safe for calls from several threads: each has an SDK client and a connection of its own.

    `make` gives a thread its client, with the first call; the silence within a call is the client's to bound,
    `timeout_s` bounds a whole call. `host` is named in errors, `place` is what a user sets its address with.
    """

    def __init__(self, make: Callable[[Wire], Sdk], *, host: str, place: str, timeout_s: float) -> None:
        self._make, self._host, self._place = make, host, place
        self._timeout_s = timeout_s
        self._own = threading.local()

    def stream(
        self,
        path: str,
        body: bytes,
        *,
        interrupt: Interrupt,
        read: Callable[[Iterator[object], Mapping[str, str]], Completion],
        refused: Refused,
        events: Callable[[Iterable[bytes]], Iterator[object]] = values,
    ) -> Completion:
        """Send one request and `read` its events, each a JSON value, with the headers of the response.

        `events` makes them of the pieces of the body, by default each event's data decoded.

        `read` raises GarbledError for what is no whole reply. Raises NeverSentError when no byte left, what `refused`
        gives, else LostError.
        """

        def whole(sdk: Sdk, response: Response, line: Line) -> Completion:
            self._refuse_page(response.headers)
            pieces = response.iter_bytes()
            completion = read(events(pieces), response.headers)
            _finish(pieces, line, sdk.errors)
            return completion

        return self._call((path, body, STREAM), interrupt, whole, refused)

    def json(self, path: str, body: bytes, *, interrupt: Interrupt, refused: Refused) -> object:
        """Send one request whose answer is one JSON value; raises as `stream` does."""

        def whole(sdk: Sdk, response: Response, line: Line) -> object:
            del sdk, line
            try:
                found: object = json.loads(b"".join(response.iter_bytes()))
            except (ValueError, RecursionError) as error:
                raise GarbledError("the answer is not JSON") from error
            return found

        return self._call((path, body, WHOLE), interrupt, whole, refused)

    def _call(
        self,
        request: tuple[str, bytes, str],
        interrupt: Interrupt,
        whole: Callable[[Sdk, Response, Line], _T],
        refused: Refused,
    ) -> _T:
        sdk, wire = self._sdk()
        broken: tuple[type[Exception], ...] = (*sdk.errors, ValueError)
        line = wire.line()
        call = _Call(line)
        late = partial(line.cut, f"the reply took longer than {self._timeout_s:g} s")
        with _ALARMS.after(self._timeout_s, late), interrupt.calling(lambda: line.cut("stopped")):
            if line.why:
                raise NeverSentError("stopped before the request left", cause="stopped")
            try:
                with closing(sdk.post(*request)) as response:
                    call.headers = response.headers
                    return whole(sdk, response, line)
            except sdk.status_error as error:
                # an SDK's error for a status carries the response
                response = cast("_StatusError", error).response
                call.headers = response.headers
                if line.why:
                    raise self._broken(call, "", "") from None
                raise refused(response.status_code, _parsed(response.content), _lower(response.headers)) from None
            except GarbledError as error:
                raise self._broken(call, str(error), error.cause) from None
            except broken as error:
                raise self._broken(call, *_in_words(error)) from None

    def _sdk(self) -> tuple[Sdk, Wire]:
        """This thread's client, made with its first call, and what watches its connection."""
        if (own := getattr(self._own, "pair", None)) is None:
            wire = Wire()
            own = self._own.pair = (self._make(wire), wire)
        return cast("tuple[Sdk, Wire]", own)

    def _refuse_page(self, headers: Mapping[str, str]) -> None:
        """A web page is no reply cut short: asking for it again brings the same page."""
        kind = headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}:
            raise LostError(
                f"{self._host} answered with a web page, not with a model's reply",
                hint=f"Check {self._place}: it usually ends in /v1.",
                cause="garbled",
                request_id=request_id_of(headers),
            )

    def _broken(self, call: _Call, what: str, cause: str) -> ModelError:
        """The error for a call that ended without a reply or a refusal, from what is known of its connection."""
        why = call.line.why
        stopped = why == "stopped"
        if not call.line.sent:
            return NeverSentError(
                f"no connection to {self._host}: {why or what}",
                retryable=not stopped,
                hint="" if stopped else f"Check the network and {self._place}.",
                cause="stopped" if stopped else "connect",
            )
        return LostError(
            f"the reply from {self._host} was lost: {why or what}",
            retryable=not stopped and (bool(why) or cause not in _HOPELESS),
            hint="It may have been billed; the call's hold is kept.",
            cause="stopped" if stopped else "timeout" if why else cause,
            request_id=request_id_of(call.headers),
        )


def _finish(pieces: Iterable[bytes], line: Line, errors: tuple[type[Exception], ...]) -> None:
    """Read what is left of a stream whose reply is there, so that its connection can be used again."""
    with suppress(*errors), _ALARMS.after(_REST_S, partial(line.cut, "the stream did not end")):
        for _ in pieces:
            pass


def _parsed(content: bytes) -> object:
    try:
        found: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _in_words(error: Exception) -> tuple[str, str]:
    """What went wrong and its cause, from the kinds of the error and its causes: their texts may quote the request."""
    # httpx and httpx2 name their errors alike; an SDK wraps them
    named = [(one, _kinds(one)) for one in (error, error.__cause__) if one is not None]
    cause, kinds = next((pair for pair in named if "TransportError" in pair[1]), named[0])
    if "ConnectTimeout" in kinds:
        return "connecting took too long", "connect"
    if "ConnectError" in kinds:
        # the system's words (refused, unknown name, bad certificate), without its number: no request in them
        said = _NUMBER.sub("", str(cause)[:200])
        return said[:1].lower() + said[1:], "connect"
    if "TimeoutException" in kinds:
        return "it was silent for too long", "timeout"
    if "TransportError" in kinds:
        return "the connection broke", "dropped"
    return type(cause).__name__, "garbled" if "DecodingError" in kinds else "dropped"


def _kinds(error: BaseException) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(error).__mro__)
