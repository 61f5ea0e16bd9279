"""Both sides of the Unix socket of approvals: who asks is known from the kernel, never from what he says.

One line of JSON each way. Requests: `{"want": "list"}`, `{"want": "show", "approval": …}`, and
`{"want": "answer", "approval": …, "approve": true, "note": …, "scope": …, "arguments": …}`. Answers: `{"ok": true, …}`
or `{"ok": false, "error": …}`.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from runner.app import approvals, rendering
from runner.app.answers import Answers, Person, Word
from runner.app.clock import SystemClock
from runner.errors import ConfigError, RefusedError, RunnerError, StateError

_LONGEST = 1_048_576  # arguments may hold a file
_PATIENCE_S = 10.0
_MOST_AT_ONCE = 32
_CREDENTIALS = struct.Struct("3i")


def can_tell() -> bool:
    """Whether the kernel here says who is at the other end of a socket."""
    return sys.platform == "linux"


def caller(connection: socket.socket) -> Person:
    """Who is at the other end, from the kernel."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = int(_CREDENTIALS.unpack(raw)[1])
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return Person(name, "peercred", uid)


class Bounded(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """A server with a thread for each caller, and no more callers at once than it has room for."""

    daemon_threads = True

    # what a request is, is the standard library's business
    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as above
        """Begin with a caller; one for whom there is no room is hung up on."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    # as above
    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as above
        """Serve a caller, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    # as above
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as above
        """Let a caller go that hung up."""

    @cached_property
    def _room(self) -> threading.BoundedSemaphore:
        return threading.BoundedSemaphore(_MOST_AT_ONCE)


class SocketServer(Bounded, socketserver.UnixStreamServer):
    """Answers at a socket file."""

    def __init__(self, path: Path, answers: Answers, mask: Callable[[str], str]) -> None:
        self.answers, self.mask = answers, mask
        _make_room(path)
        try:
            with _address(path) as address:
                super().__init__(address, _Caller)
        except OSError as error:
            msg = f"cannot listen at {path}: {error.strerror or error}"
            raise StateError(msg, hint="name another place: --socket PATH") from error
        # whoever may enter the directory may ask: who he is decides what he is told
        path.chmod(0o666)


class _Caller(socketserver.StreamRequestHandler):
    timeout = _PATIENCE_S

    def handle(self) -> None:
        server = cast("SocketServer", self.server)  # it is made with this class by that one alone
        try:
            line = self.rfile.readline(_LONGEST)
            reply = _reply(server, caller(self.connection), line)
        except (RunnerError, OSError) as error:
            reply = {"ok": False, "error": error.message if isinstance(error, RunnerError) else "cannot be read"}
        # secrets are masked as they stand in JSON, and the mark is text there
        self.wfile.write(server.mask(json.dumps(reply)).encode() + b"\n")


def _reply(server: SocketServer, person: Person, line: bytes) -> dict[str, object]:
    request = _request(line)
    want, name = request.get("want"), str(request.get("approval", ""))
    visible = server.answers.visible(person)
    if want == "list":
        lines = [f"{one.request.approval}  {one.run}  {' '.join(one.request.shown.split())[:100]}" for one in visible]
        text = "\n".join(lines) or f"no call waits for {person.name}"
        return {"ok": True, "approvals": [approvals.document(one) for one in visible], "text": text}
    found = [one for one in visible if name and one.request.approval.startswith(name)]
    if name == "last":
        found = visible[-1:]
    if len(found) != 1:
        raise RefusedError(f"no open approval {name!r} that concerns {person.name}")
    if want == "show":
        now = SystemClock().now()
        page = rendering.page(found[0].request, missing=found[0].tally(now).missing, now=now)
        return {"ok": True, "approval": approvals.document(found[0]), "text": "\n".join(page)}
    if want != "answer" or not isinstance(request.get("approve"), bool):
        raise RefusedError("a request wants list, show or answer")
    word = Word(
        approve=request["approve"] is True,
        note=str(request.get("note", "")),
        scope=str(request.get("scope", "once")),
        arguments=str(request.get("arguments", "")),
    )
    told = server.answers.answer(found[0], person, word)
    return {"ok": True, "text": told, "by": person.name}


def _request(line: bytes) -> Mapping[str, object]:
    try:
        request: object = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise RefusedError("a request is one line with a JSON object")
    # the keys of a JSON object are text
    return cast("dict[str, object]", request)


@contextmanager
def _address(path: Path) -> Generator[str]:
    """The path in a form that is short enough for a socket, whatever its directories are called."""
    if not can_tell():
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _make_room(path: Path) -> None:
    """Remove the socket file of a server that is gone. Raises ConfigError for anything else that is there."""
    if not path.is_socket():
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path} is there already and is no socket", hint="name another: --socket PATH")
        return
    with socket.socket(socket.AF_UNIX) as probe, _address(path) as address:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise StateError(f"cannot use {path}: {error.strerror}") from error
    raise ConfigError(f"another server answers at {path}", hint="end it, or name another: --socket PATH")


# ---- the asking side ---------------------------------------------------------------------------------------


def through(path: Path, request: Mapping[str, object]) -> Mapping[str, object] | None:
    """Ask the server at a socket; None when nobody serves there. Raises RefusedError with what it refused.

    For the commands that list, show and answer approvals.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE_S)
        try:
            with _address(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except OSError as error:
            raise StateError(f"cannot ask at {path}: {error.strerror or error}") from error
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as file:
                reply = _request(file.readline())
        except OSError as error:
            raise StateError(f"the server at {path} did not answer: {error}") from error
    if reply.get("ok") is not True:
        raise RefusedError(str(reply.get("error", "it was refused")))
    return reply
