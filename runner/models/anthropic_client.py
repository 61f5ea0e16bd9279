"""The anthropic SDK's client as runner calls with it. Imports the SDK, so it is imported with the first call."""

from __future__ import annotations

import gc
import logging
import ssl
from typing import TYPE_CHECKING, cast

import httpx2
from anthropic import Anthropic, AnthropicError, APIStatusError, DefaultHttpxClient, Stream, Timeout

from runner.models.connection import KEPT_S, Wire
from runner.models.sending import STREAM, WHOLE, Sdk

if TYPE_CHECKING:
    from anthropic._types import RequestOptions

_CONNECT_S = 5.0
_GARBAGE = 4_000
"""New objects before Python looks for circles among them; its own choice is 700, and a step makes few circles."""
_NO_KEY = "none"  # the SDK insists on a key; a server of one's own ignores it


class _NoCookies(httpx2.Cookies):
    """A provider's cookies mean nothing to a call, and looking for them takes a while."""

    def extract_cookies(self, response: httpx2.Response) -> None:
        del response


class _Http(DefaultHttpxClient):
    @property
    def cookies(self) -> httpx2.Cookies:
        return _NONE

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        del cookies


_NONE = _NoCookies()


class _Client(Anthropic):
    """Sends what it is told to: nothing comes from the environment or a profile of the SDK's own."""

    def __init__(self, *, key: str, url: str, timeout: Timeout, http_client: httpx2.Client) -> None:
        super().__init__(
            # given, so that neither a key nor a token nor a profile is looked for
            api_key=key,
            base_url=url,
            max_retries=0,
            timeout=timeout,
            http_client=http_client,
            open_telemetry=False,
        )
        # the SDK has put ANTHROPIC_CUSTOM_HEADERS here, and no argument keeps it from doing so
        self._custom_headers = {}


def sdk(wire: Wire, url: str, *, key: str, idle_s: float, betas: str = "") -> Sdk:
    """Make a client with one connection of its own, for calls to paths below `url`; `betas` names those to use."""
    # what the SDK brought along stays as long as the process: no collection need walk it again
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)
    # ANTHROPIC_LOG would write prompts over the screen
    for name in ("anthropic", "httpx2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    timeout = Timeout(idle_s, connect=min(_CONNECT_S, idle_s))
    http = _Http(
        timeout=timeout,
        verify=_trusted(url),
        limits=httpx2.Limits(max_keepalive_connections=1, keepalive_expiry=KEPT_S),
        event_hooks={"request": [wire.watch]},
    )
    client = _Client(key=key or _NO_KEY, url=url, timeout=timeout, http_client=http)
    base = str(client.base_url)
    options = {accept: _options(accept, betas) for accept in (STREAM, WHOLE)}

    def post(path: str, body: bytes, accept: str) -> httpx2.Response:
        opened: object = client.post(
            # whole, so that the SDK need not join it for every request
            base + path,
            cast_to=httpx2.Response,
            content=body,
            options=options[accept],
            stream=True,
            stream_cls=Stream[object],
        )
        # the SDK hands the response over as it is where that is what it should cast to, whatever the stream's class
        return cast("httpx2.Response", opened)

    return Sdk(post=post, status_error=APIStatusError, errors=(AnthropicError, httpx2.HTTPError))


def _options(accept: str, betas: str) -> RequestOptions:
    headers = {"Content-Type": "application/json", "Accept": accept}
    return {
        "headers": {**headers, "anthropic-beta": betas} if betas else headers,
        # a redirect would be a second request
        "follow_redirects": False,
    }


def _trusted(url: str) -> ssl.SSLContext:
    """The certificates to trust; none at all for a plain URL, which has no use for them."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else httpx2.create_ssl_context()
