"""The openai SDK's client as runner calls with it. Imports the SDK, so it is imported with the first call."""

from __future__ import annotations

import gc
import ssl
from dataclasses import dataclass

import httpx
from openai import DefaultHttpxClient, OpenAI, Timeout

from runner.models.connection import KEPT_S, Wire

_CONNECT_S = 5.0
_GARBAGE = 4_000
"""New objects before Python looks for circles among them; its own choice is 700, and a step makes few circles."""
_NO_KEY = "none"  # the SDK insists on a key; a server of one's own ignores it


@dataclass(frozen=True, slots=True)
class Way:
    """What one thread calls with. `url` is whole, so that the SDK need not join it for every request."""

    wire: Wire
    client: OpenAI
    url: str


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


def way(url: str, path: str, *, key: str, idle_s: float) -> Way:
    """Make a client with one connection of its own, for calls to `path` below `url`."""
    # what the SDK brought along stays as long as the process: no collection need walk it again
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)
    wire = Wire()
    timeout = Timeout(idle_s, connect=min(_CONNECT_S, idle_s))
    client = OpenAI(
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
    return Way(wire, client, f"{client.base_url}{path}")


def _trusted(url: str) -> ssl.SSLContext:
    """The certificates to trust; none at all for a plain URL, which has no use for them."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else httpx.create_ssl_context()
