"""Carries connections from a port of loopback to the unix socket of the proxy: the only way out from behind the walls.

Run as a script, `forward.py PORT SOCKET [SCRIPT ARGUMENT…]`: with a script, the host, it forks to serve and becomes
that. The proxy outside imports what both need from here.
"""

# pathlib would be most of its start; it exists to start the host
# ruff: noqa: PTH119, PTH120, S606

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
from collections.abc import Callable

MOST = 64
"""Connections at a time; further ones wait."""
IDLE_S = 300
_PIECE = 65_536


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both have said all, one breaks off, or nothing is said for IDLE_S seconds."""
    one.settimeout(0)
    other.settimeout(0)
    partner = {one: other, other: one}
    unsent = {one: b"", other: b""}  # to each
    talking = {one, other}
    with contextlib.suppress(OSError):
        while talking or any(unsent.values()):
            # Who still has to be sent something is not asked for more by its partner.
            wanted = [each for each in talking if not unsent[partner[each]]]
            readable, writable, _ = select.select(wanted, [each for each, data in unsent.items() if data], [], IDLE_S)
            if not readable and not writable:
                return
            for each in writable:
                unsent[each] = unsent[each][each.send(unsent[each]) :]
            for each in readable:
                unsent[partner[each]] = data = each.recv(_PIECE)
                if not data:
                    talking.discard(each)
                    partner[each].shutdown(socket.SHUT_WR)


def serve(server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Answer every caller in a thread of its own, MOST at a time, until `server` is closed."""
    room = threading.Semaphore(MOST)

    def one(caller: socket.socket) -> None:
        try:
            with caller, contextlib.suppress(OSError):
                answer(caller)
        finally:
            room.release()

    while True:
        room.acquire()
        try:
            caller, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=one, args=(caller,), daemon=True).start()


def main(port: int, path: str, script: list[str]) -> None:
    """Serve for ever; where there is a script, beside it. It is started when the port is open already."""
    with socket.create_server(("127.0.0.1", port), backlog=MOST) as server:
        if script:
            if os.fork():
                os.execv(sys.executable, [sys.executable, "-I", "-S", *script])
            # Its standard input is the host's, by which runner sees whether that is there.
            os.dup2(1, 0)

        def answer(caller: socket.socket) -> None:
            with socket.socket(socket.AF_UNIX) as proxy:
                proxy.connect(os.path.basename(path))
                relay(caller, proxy)

        # A socket's path may have 107 bytes; this way only the name counts.
        os.chdir(os.path.dirname(path))
        serve(server, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
