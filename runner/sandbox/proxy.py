"""The way out from behind the walls: a CONNECT proxy on a unix socket that knows which hosts and ports are allowed.

It runs in runner, outside the walls. It looks at names and ports alone: what is said inside a connection (TLS) it does
not read. A name is resolved once, here, and the connection goes to the address that was looked at.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.sandbox.forward import MOST, relay, serve

FORWARDER = Path(__file__).with_name("forward.py")
_HEAD_BYTES = 8_192
_HEAD_S = 10.0
_CONNECT_S = 20.0
_MOST_REFUSED = 50
_REQUEST = re.compile(rb"CONNECT ([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%]{1,60}\]):([0-9]{1,5}) HTTP/1\.[01]\r\n")
# Where clouds keep the credentials of a machine, as far as it is not link-local.
_METADATA = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """A host that may be reached at one port. `*.example.com` is every name below example.com, not itself."""

    host: str
    port: int = 443

    def allows(self, host: str, port: int) -> bool:
        if port != self.port:
            return False
        return host.endswith(self.host[1:]) and host != self.host[2:] if self.host[:2] == "*." else host == self.host

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def variables(port: int) -> dict[str, str]:
    """What makes programs ask the proxy at this port of loopback, in the spellings that they know."""
    proxy, own = f"http://127.0.0.1:{port}", "localhost,127.0.0.1,::1"
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    return {**dict.fromkeys(names, proxy), "NO_PROXY": own, "no_proxy": own}


class RefusedError(Exception):
    """A connection that is not made; the text says why."""


class Proxy:
    """Serves in threads of its own while it is entered.

    `path` is its socket, in `directory`, which must be of this user alone; `port` is a port of loopback that is free
    here, for the end behind the walls. `refused` names what was asked for and not allowed, each once.
    """

    def __init__(self, allowed: Iterable[Destination], directory: Path) -> None:
        self._allowed = tuple(sorted(set(allowed)))
        self.path = directory / f"egress-{secrets.token_hex(4)}"
        self.refused: list[str] = []
        self._server = socket.socket(socket.AF_UNIX)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]

    def __enter__(self) -> Self:
        # A socket's path may have 107 bytes; this way only the name counts.
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._server.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)
        self.path.chmod(0o600)
        self._server.listen(MOST)
        threading.Thread(target=serve, args=(self._server, self._answer), name="egress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing alone does not wake up who waits in accept.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.path.unlink(missing_ok=True)

    def _answer(self, caller: socket.socket) -> None:
        try:
            host, port, rest = _asked(caller)
            target = self._connect(host, port)
        except RefusedError as why:
            self._note(str(why))
            text = f"runner: {why}\n".encode()
            caller.sendall(
                b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(text), text)
            )
            return
        with target:
            caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if rest:
                target.sendall(rest)
            relay(caller, target)

    def _note(self, why: str) -> None:
        if len(self.refused) < _MOST_REFUSED and why not in self.refused:
            self.refused.append(why)

    def _connect(self, host: str, port: int) -> socket.socket:
        name = host.strip("[]").lower().removesuffix(".")
        if not any(each.allows(name, port) for each in self._allowed):
            raise RefusedError(f"{host}:{port} is not on the list of hosts that may be reached")
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise RefusedError(f"{host}:{port}: no such host: {error}") from error
        reason = "it has no address"
        for family, kind, protocol, _, address in found:
            if (trouble := forbidden(str(address[0]), name)) != "":
                reason = trouble
                continue
            made = socket.socket(family, kind, protocol)
            made.settimeout(_CONNECT_S)
            try:
                made.connect(address)
            except OSError as error:
                made.close()
                reason = str(error)
            else:
                return made
        raise RefusedError(f"{host}:{port}: {reason}")


def _asked(caller: socket.socket) -> tuple[str, int, bytes]:
    """Host, port and what was sent after the request."""
    caller.settimeout(_HEAD_S)
    head = b""
    while b"\r\n\r\n" not in head:
        piece = caller.recv(_HEAD_BYTES)
        if not piece or len(head) > _HEAD_BYTES:
            raise RefusedError("not a request")
        head += piece
    found = _REQUEST.match(head)
    if found is None:
        what = head.split(b"\r\n", 1)[0][:80].decode("ascii", "replace")
        raise RefusedError(f"only CONNECT is served here, not {what!r}")
    return found[1].decode(), int(found[2]), head.partition(b"\r\n\r\n")[2]


def forbidden(address: str, name: str) -> str:
    """Why the address that a listed name has is not connected to; "" when it may be.

    A private one may: companies have their registries there. This machine's only under its own name.
    """
    here = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(here, ipaddress.IPv6Address):
        inner = here.ipv4_mapped or here.sixtofour
        if here in _NAT64:
            inner = ipaddress.IPv4Address(int(here) & 0xFFFF_FFFF)
        here = inner or here
    # `0.0.0.0` is this machine as well.
    if here.is_loopback or here.is_unspecified:
        return "" if name in {"localhost", str(here)} and here.is_loopback else f"{name} is an address of this machine"
    if here.is_link_local or here.is_multicast or here.is_reserved or str(here) in _METADATA:
        return f"{name} is at {here}, which is no host of the network"
    return ""
