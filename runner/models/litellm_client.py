"""litellm as runner calls it: one request for each call, over connections that are watched.

Three of its habits are not believed. It makes up an end for a stream that was cut, and counts for one that brought
none: both are read from what the provider sent. And its errors may carry responses of its own making: a refusal is read
from the answer that came over the wire.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import httpx

from runner.models.connection import KEPT_S, StoppedError, Wire
from runner.models.fields import GarbledError, as_map
from runner.models.sending import Sdk
from runner.models.wire import as_json

_ENVIRON = {
    # what it would fetch from the net while it loads comes in its package, too
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    # else it takes over the workspace's .env, and with it any address to send keys to
    "LITELLM_MODE": "PRODUCTION",
}
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_CALLBACKS = ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback")
_CONNECT_S = 5.0

_lock = threading.Lock()
_here = threading.local()
_loaded: list[Litellm] = []


class Stream(Protocol):
    """litellm's stream: its `chunks` are those the provider sent, with the usage that was in them."""

    chunks: Sequence[object]
    received_finish_reason: str | None
    intermittent_finish_reason: str | None

    def __iter__(self) -> Iterator[object]: ...


class Litellm(Protocol):
    """What is used of the package."""

    completion: Callable[..., Stream]


class RefusedError(Exception):
    """The provider answered with a status outside 2xx: `response` is the one that came over the wire."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class FailedError(Exception):
    """The connection failed; the cause is its error."""


@dataclass(slots=True)
class _Seen:
    """What one call did on the wire."""

    requests: int = 0
    response: httpx.Response | None = None


def load() -> Litellm:
    """Import litellm, once, so that it fetches nothing, tells nobody and sends on our connections alone."""
    with _lock:
        if not _loaded:
            os.environ.update(_ENVIRON)
            module = importlib.import_module("litellm")
            for name in _CALLBACKS:
                setattr(module, name, [])
            for name in ("suppress_debug_info", "disable_streaming_logging", "disable_token_counter"):
                setattr(module, name, True)
            for name in _LOGGERS:
                # its warnings would quote the conversation, in the middle of the screen
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            _send_on_ours(module)
            # a package of its own, whose types are its own
            _loaded.append(cast("Litellm", module))
        return _loaded[0]


def _send_on_ours(module: object) -> None:
    """Let both of its roads, the openai SDK and its own handlers, send through the client of the calling thread."""
    handlers = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    client = _Threads(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    # attributes of a package whose types are its own
    setattr(module, "client_session", client)  # noqa: B010 - see above
    setattr(handlers.HTTPHandler, "create_client", _always(client))  # noqa: B010 - see above
    made: object = getattr(module, "module_level_client", None)
    if made is not None:
        setattr(made, "client", client)  # noqa: B010 - see above


def _always(client: httpx.Client) -> Callable[[object], httpx.Client]:
    def create_client(_: object) -> httpx.Client:
        return client

    return create_client


class _Threads(httpx.Client):
    """Stands where litellm keeps one client for all: sends with the one of the thread that calls."""

    def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: object = None,
        follow_redirects: object = None,
    ) -> httpx.Response:
        # a redirect would be a second request, and no provider of models wants another kind of authorisation
        del auth, follow_redirects
        client: httpx.Client | None = getattr(_here, "client", None)
        if client is None:
            raise StoppedError
        return client.send(request, stream=stream, follow_redirects=False)

    def close(self) -> None:
        """Stay open: litellm closes what it takes for its own."""


def sdk(wire: Wire, model: str, *, key: str, base_url: str | None, idle_s: float) -> Sdk:
    """Make this thread's way to litellm, for calls of `model` (as litellm names it)."""
    module = load()
    connect_s = min(_CONNECT_S, idle_s)

    def leaving(request: httpx.Request) -> None:
        seen: _Seen = _here.seen
        if seen.requests:
            # one call is one request, whatever litellm makes of an error
            raise StoppedError
        seen.requests = 1
        request.extensions["timeout"] = {"connect": connect_s, "read": idle_s, "write": idle_s, "pool": idle_s}
        wire.watch(request)

    def came(response: httpx.Response) -> None:
        seen: _Seen = _here.seen
        seen.response = response
        if not response.is_success:
            response.read()

    client = httpx.Client(
        limits=httpx.Limits(max_keepalive_connections=1, keepalive_expiry=KEPT_S),
        event_hooks={"request": [leaving], "response": [came]},
    )
    fixed: dict[str, object] = {"model": model, "timeout": idle_s, "max_retries": 0, "num_retries": 0}
    fixed |= {"api_key": key} if key else {}
    fixed |= {"api_base": base_url} if base_url else {}

    def post(path: str, body: bytes, accept: str) -> _Reply:
        del path, accept
        seen = _Seen()
        _here.client, _here.seen = client, seen
        # the body is Chat Completions as wire.py writes it
        asked = cast("dict[str, object]", json.loads(body))
        try:
            stream = module.completion(**{**asked, **fixed})
            pieces = iter(stream)
            # some of its roads send the request only when the first piece is asked for
            first = next(pieces, None)
        except Exception as error:  # noqa: BLE001 - its errors are of many kinds, and each ends the call
            raise _failed(error, seen, wire) from _broken(error)
        return _Reply(stream, first, pieces, seen, wire)

    return Sdk(post=post, status_error=RefusedError, errors=(FailedError,))


def _failed(error: Exception, seen: _Seen, wire: Wire) -> Exception:
    """What really happened: litellm's own errors are of many kinds, and some are made up."""
    if seen.response is not None and not seen.response.is_success:
        return RefusedError(seen.response)
    if not seen.requests:
        # nothing was seen to leave, which proves nothing: it may have gone by a road of litellm's own
        wire.assume_sent()
    if _broken(error) is not None:
        return FailedError()
    # its name alone: its text may quote the conversation
    return GarbledError(f"litellm failed ({type(error).__name__})", cause="server")


def _broken(error: BaseException) -> httpx.TransportError | None:
    """The connection's error that litellm's is made of."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, httpx.TransportError):
        found = found.__cause__ or found.__context__
    return found


class _Reply:
    """A stream of litellm's in the form of a response: each piece is the JSON of one chunk, the last one the end."""

    def __init__(self, stream: Stream, first: object, rest: Iterator[object], seen: _Seen, wire: Wire) -> None:
        self._stream, self._first, self._rest = stream, first, rest
        self._seen, self._wire = seen, wire
        self.status_code, self.content = 200, b""

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self._seen.response is None else self._seen.response.headers

    def iter_bytes(self) -> Iterator[bytes]:
        try:
            if self._first is not None:
                yield as_json(_piece(self._first))
            for chunk in self._rest:
                yield as_json(_piece(chunk))
        except Exception as error:  # noqa: BLE001 - its errors are of many kinds, and each ends the call
            raise _failed(error, self._seen, self._wire) from _broken(error)
        yield as_json(_end(self._stream))

    def close(self) -> None:
        if self._seen.response is not None:
            self._seen.response.close()


def _piece(chunk: object) -> dict[str, object]:
    """The text, thoughts and tool calls of a chunk; never its end or its usage, which may be of litellm's making."""
    choices = cast("Sequence[object]", getattr(chunk, "choices", None) or ())
    if not choices:
        return {}
    delta: object = getattr(choices[0], "delta", None)
    found: dict[str, object] = {
        name: text
        for name in ("content", "refusal", "reasoning_content")
        if isinstance(text := getattr(delta, name, None), str) and text
    }
    if calls := cast("Sequence[object]", getattr(delta, "tool_calls", None) or ()):
        found["tool_calls"] = [_call(call, place) for place, call in enumerate(calls)]
    return {"choices": [{"index": 0, "delta": found}]} if found else {}


def _call(call: object, place: int) -> dict[str, object]:
    function: object = getattr(call, "function", None)
    index: object = getattr(call, "index", None)
    return {
        "index": place if index is None else index,
        "id": getattr(call, "id", None),
        "function": {"name": getattr(function, "name", None), "arguments": getattr(function, "arguments", None)},
    }


def _end(stream: Stream) -> dict[str, object]:
    """How the stream ended and what it used, as the provider said; nothing of what it did not say."""
    finish = stream.received_finish_reason or stream.intermittent_finish_reason
    if not finish:
        return {}
    end: dict[str, object] = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    usages = [_dumped(chunk) for chunk in stream.chunks]
    last = max((place for place, chunk in enumerate(stream.chunks) if _piece(chunk)), default=-1)
    # counts that came before the reply had ended cannot hold all of it
    if any(usages[last + 1 :]) and not any(map(_negative, usages)):
        end["usage"] = _most(usages)
    tiers = [tier for chunk in stream.chunks if isinstance(tier := getattr(chunk, "service_tier", None), str)]
    return {**end, "service_tier": tiers[-1]} if tiers else end


def _dumped(chunk: object) -> Mapping[str, object]:
    """The usage in a chunk, as plain values."""
    usage: object = getattr(chunk, "usage", None)
    dump: Callable[..., object] | None = getattr(usage, "model_dump", None)
    return as_map(usage if dump is None else dump(exclude_none=True))


def _negative(usage: Mapping[str, object]) -> bool:
    return any(value < 0 if isinstance(value, int) else _negative(as_map(value)) for value in usage.values())


def _most(usages: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """The largest of every count: some providers count input at the beginning and output at the end."""
    found: dict[str, object] = {}
    for usage in usages:
        for name, value in usage.items():
            before = found.get(name)
            if isinstance(value, dict):
                found[name] = _most((as_map(before), as_map(value)))  # pyright: ignore[reportUnknownArgumentType]  # JSON
            elif isinstance(value, int) and not isinstance(value, bool):
                found[name] = max(value, before) if isinstance(before, int) else value
    return found
