"""The way to a provider: has a byte left, and how to cut a call off from any thread.

A `Wire` is one thread's client with at most one connection, kept for a moment after a call, so that steps that follow
each other closely need no new handshake. A `Line` is one call on it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, MutableMapping
from typing import Protocol, cast

KEPT_S = 1.0
"""How long an idle connection is used again. A server closes one after five seconds at the soonest: a request sent into
a connection that is just being closed would be one of which nobody knows whether it was billed."""


class _Stream(Protocol):
    """What httpcore's `trace` hands over when a connection stands."""

    def get_extra_info(self, info: str) -> object: ...


class _Request(Protocol):
    """A request of httpx or of httpx2."""

    @property
    def extensions(self) -> MutableMapping[str, object]: ...


class StoppedError(Exception):
    """Raised inside the SDK, before the first byte, when the call was stopped while it connected."""


class Wire:
    """What one thread sends on. httpx and httpx2 tell of connecting and sending through their `trace` extension."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._shaking: socket.socket | None = None
        self._line = Line(self)

    def line(self) -> Line:
        """Begin a call; the one before can be cut no more."""
        with self._lock:
            self._line = Line(self)
            return self._line

    def assume_sent(self) -> None:
        """Take it that the call under way was sent, for a way to the provider that cannot be watched."""
        with self._lock:
            self._line.sent = True

    def watch(self, request: _Request) -> None:
        """A request hook of httpx and httpx2: be told of this request's connecting and sending."""
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, info: Mapping[str, object]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            # httpcore: what a completed connect returns is its network stream
            raw = cast("_Stream", info["return_value"]).get_extra_info("socket")
            with self._lock:
                self._socket = raw if isinstance(raw, socket.socket) else None
                self._shaken()
        elif event.endswith(".start_tls.started"):
            with self._lock:
                if self._line.why:
                    raise StoppedError
                # TLS takes the connection away from its socket, and gives its own back after the handshake only
                self._shaking = None if self._socket is None else self._socket.dup()
        elif event.endswith(".start_tls.failed"):
            with self._lock:
                self._shaken()
        elif event.endswith(".send_request_headers.started"):
            with self._lock:
                if self._line.why:
                    raise StoppedError
                self._line.sent = True

    def _shaken(self) -> None:
        if self._shaking is not None:
            self._shaking.close()
            self._shaking = None

    def cut(self, line: Line, why: str) -> None:
        """End a call now, if it is the one under way; the first reason given stays."""
        with self._lock:
            line.why = line.why or why
            for one in (self._socket, self._shaking) if line is self._line else ():
                if one is not None:
                    with contextlib.suppress(OSError):  # it may be closed already
                        # the plain one: TLS would take its own state apart under the thread that reads
                        socket.socket.shutdown(one, socket.SHUT_RDWR)


class Line:
    """One call: whether a byte of it may have `sent`, and `why` it was cut, if it was."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.sent = False
        self.why = ""

    def cut(self, why: str) -> None:
        """End the call now, from whatever thread."""
        self._wire.cut(self, why)
