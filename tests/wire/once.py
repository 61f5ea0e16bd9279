"""A server that answers every connection with the same bytes, and keeps what it was sent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from typing import Self


class Once:
    """Serves while the `with` block runs. `received` are the whole requests, `url` has no path."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.received: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.received.append(_request(connection))
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass


def _request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got and (more := connection.recv(65536)):
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]) and (more := connection.recv(65536)):
        body += more
    return head + b"\r\n\r\n" + body


def refusing(status: int, error: object, headers: Mapping[str, str] | None = None) -> bytes:
    """An answer with a status and a JSON body."""
    body = json.dumps(error).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def streaming(*data: bytes, headers: str = "") -> bytes:
    """An answer with a stream of events, each with its data as it is."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{headers}connection: close\r\n\r\n"
    return head.encode() + b"".join(b"data: %s\n\n" % one for one in data)
