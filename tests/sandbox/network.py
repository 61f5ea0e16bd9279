"""Attempts to talk to somebody outside."""

from __future__ import annotations

import select
import socket

from tests.sandbox.scene import Scene, attempt

_FASTOPEN = 0x20000000
_MPTCP = 262


def _ask(kind: int, address: tuple[str, int] | str, *, protocol: int = 0) -> str:
    """Connect, and print what the server says: the secret."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, kind, protocol) as caller:
        caller.settimeout(1)
        caller.connect(address)
        caller.send(b"?")
        return caller.recv(100).decode()


@attempt("connects to a server of this machine")
def connect_loopback(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, ("127.0.0.1", scene.ports["odd"]))


@attempt("connects to a server of this machine that listens where development servers do")
def connect_dev_port(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, ("127.0.0.1", scene.ports["dev"]))


@attempt("connects to an address of the network")
def connect_network(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, (scene.address, scene.ports["odd"]))


@attempt("connects to an address of the network, to a port of development servers")
def connect_network_dev_port(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, (scene.address, scene.ports["dev"]))


@attempt("connects over another protocol of streams (MPTCP)")
def connect_mptcp(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, ("127.0.0.1", scene.ports["odd"]), protocol=_MPTCP)


@attempt("connects by sending at once (TCP fast open)")
def connect_fast_open(scene: Scene) -> str:
    with socket.socket() as caller:
        # without waiting it would only begin to connect
        caller.setblocking(True)
        caller.sendto(b"?", _FASTOPEN, ("127.0.0.1", scene.ports["odd"]))
        return caller.recv(100).decode()


@attempt("sends a datagram to a server of this machine")
def send_datagram(scene: Scene) -> str:
    return _ask(socket.SOCK_DGRAM, ("127.0.0.1", scene.ports["udp"]))


@attempt("sends a datagram to an address of the network")
def send_datagram_to_network(scene: Scene) -> str:
    return _ask(socket.SOCK_DGRAM, (scene.address, scene.ports["udp"]))


@attempt("talks to a unix socket outside (docker.sock, a session bus)")
def connect_unix(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, str(scene.outside / "socket"))


@attempt("talks to an abstract unix socket")
def connect_abstract(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, f"\0{scene.name}")


@attempt("answers the socket that approvals are given by")
def connect_approvals(scene: Scene) -> str:
    return _ask(socket.SOCK_STREAM, str(scene.state / "approvals" / "socket"))


@attempt("listens where others can reach it", lambda _, printed: "was reached" in printed)
def listen(scene: Scene) -> str:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", scene.ports["listen"]))
        server.listen()
        # somebody outside tries it all the time
        reached, _, _ = select.select([server], [], [], 1)
    return "was reached" if reached else ""


@attempt("listens on a port of the system, where others can reach it", lambda _, printed: "was reached" in printed)
def listen_odd(scene: Scene) -> str:
    with socket.socket() as server:
        server.bind(("0.0.0.0", scene.ports["listen-odd"]))
        server.listen()
        reached, _, _ = select.select([server], [], [], 1)
    return "was reached" if reached else ""
