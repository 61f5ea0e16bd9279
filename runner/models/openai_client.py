"""The openai SDK's client as runner calls with it. Imports the SDK, so it is imported with the first call."""

from __future__ import annotations

import gc
import logging
import ssl
from typing import TYPE_CHECKING, cast

import httpx
from openai import APIStatusError, DefaultHttpxClient, OpenAI, OpenAIError, Stream, Timeout

from runner.models.connection import KEPT_S, Wire
from runner.models.sending import STREAM, WHOLE, Sdk

if TYPE_CHECKING:
    from openai._types import RequestOptions

_CONNECT_S = 5.0
_GARBAGE = 4_000
"""New objects before Python looks for circles among them; its own choice is 700, and a step makes few circles."""
_NO_KEY = "none"  # the SDK insists on a key; a server of one's own ignores it


def _options(accept: str) -> RequestOptions:
    return {
        "headers": {"Content-Type": "application/json", "Accept": accept},
        # a redirect would be a second request
        "follow_redirects": False,
        # never the administrator's key, which the SDK would take from the environment
        "security": {"bearer_auth": True},
    }


_OPTIONS = {accept: _options(accept) for accept in (STREAM, WHOLE)}


class _NoCookies(httpx.Cookies):
    """A provider's cookies mean nothing to a call, and looking for them takes a while."""

    def extract_cookies(self, response: httpx.Response) -> None:
        del response


class _Client(DefaultHttpxClient):
    @property
    def cookies(self) -> httpx.Cookies:
        return _NONE

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        del cookies


_NONE = _NoCookies()


class _OpenAI(OpenAI):
    def forget(self) -> None:
        """Send nothing that the SDK took from the environment: it was meant for OpenAI, and may be secret."""
        self.organization = self.project = None
        # OPENAI_CUSTOM_HEADERS: no argument keeps the SDK from reading it
        self._custom_headers = {}


def sdk(wire: Wire, url: str, *, key: str, idle_s: float, stranger: bool = False) -> Sdk:
    """Make a client with one connection of its own, for calls to paths below `url`; a `stranger` is not OpenAI."""
    # what the SDK brought along stays as long as the process: no collection need walk it again
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)
    # OPENAI_LOG would write prompts over the screen
    for name in ("openai", "httpx"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    timeout = Timeout(idle_s, connect=min(_CONNECT_S, idle_s))
    client = _OpenAI(
        api_key=key or _NO_KEY,
        base_url=url,
        max_retries=0,
        timeout=timeout,
        http_client=_Client(
            timeout=timeout,
            verify=_trusted(url),
            limits=httpx.Limits(max_keepalive_connections=1, keepalive_expiry=KEPT_S),
            event_hooks={"request": [wire.watch]},
        ),
    )
    if stranger:
        client.forget()
    base = f"{str(client.base_url).rstrip('/')}/"  # one without a path is written without its slash

    def post(path: str, body: bytes, accept: str) -> httpx.Response:
        opened: object = client.post(
            # whole, so that the SDK need not join it for every request
            base + path,
            cast_to=httpx.Response,
            content=body,
            options=_OPTIONS[accept],
            stream=True,
            stream_cls=Stream[object],
        )
        # the SDK hands the response over as it is where that is what it should cast to, whatever the stream's class
        return cast("httpx.Response", opened)

    return Sdk(post=post, status_error=APIStatusError, errors=(OpenAIError, httpx.HTTPError))


def _trusted(url: str) -> ssl.SSLContext:
    """The certificates to trust; none at all for a plain URL, which has no use for them."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else httpx.create_ssl_context()
