"""`runner approvals serve`: a process that knows who answers, by a Unix socket or a signed link, and tells of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from runner.app.announcing import Announcer
from runner.app.answerpage import Pages, handler
from runner.app.answers import Answers
from runner.app.clock import SystemClock
from runner.app.drive import Access
from runner.app.links import LinkKey, key_at
from runner.app.places import State
from runner.app.socketside import Bounded, SocketServer, can_tell
from runner.errors import ConfigError, RunnerError, StateError
from runner.notify.webhook import Webhook
from runner.store.lease import Lease

PORT = 8733
LOOK_S = 1.0
_LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to serve: the socket's file, and the address of links. `url` is what people are given, as links begin.

    Raises ConfigError for an address that others could listen in on.
    """

    socket: Path
    host: str = "127.0.0.1"
    port: int = PORT
    url: str = ""

    def __post_init__(self) -> None:
        outside = self.host not in _LOCAL
        public = urlsplit(self.url)
        if outside and public.scheme != "https":
            msg = f"links at {self.host} without TLS would show everybody on the way who may answer"
            hint = "listen at 127.0.0.1 behind a proxy with TLS, and say what people type: --url https://…"
            raise ConfigError(msg, hint=hint)
        if self.url and (public.scheme not in {"http", "https"} or not public.netloc):
            raise ConfigError(f"--url {self.url}: not an address", hint="--url https://approve.example.com")


def socket_of(state: State) -> Path:
    """Where the socket is unless somebody says otherwise."""
    return state.approvals / "socket"


def key_of(state: State) -> LinkKey:
    """The key of links; made if there is none."""
    state.approvals.mkdir(mode=0o700, exist_ok=True)
    return key_at(state.approvals / "key")


class _Links(Bounded, HTTPServer):
    """A server of pages."""

    def __init__(self, place: Place, pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        try:
            super().__init__((place.host, place.port), handler(pages))
        except OSError as error:
            msg = f"cannot listen at {place.host} port {place.port}: {error.strerror or error}"
            raise StateError(msg, hint="name another: --listen 127.0.0.1:PORT (0 takes any)") from error


@dataclass(frozen=True, slots=True)
class Served:
    """A server at work: `url` is how links begin, `socket` where the other door is."""

    url: str
    socket: Path | None
    announcer: Announcer
    answers: Answers

    def work(self, stop: threading.Event, look_s: float = LOOK_S) -> None:
        """Tell of what waits until somebody stops it."""
        while not stop.is_set():
            try:
                for question in self.answers.open():
                    self.announcer.announce(question, SystemClock().now())
            except RunnerError as error:
                self.announcer.say(f"warning: {error.message}")
            stop.wait(look_s)


@contextmanager
def serving(
    access: Access, place: Place, *, programs: Iterable[Webhook] = (), chats: Iterable[Webhook] = ()
) -> Generator[Served]:
    """Serve both doors while the block runs. Raises BusyError (75) where another one serves this state directory."""
    with ExitStack() as held:
        lease = Lease(access.state.approvals / "lease", "the server of approvals")
        held.callback(lease.release)
        key = key_of(access.state)
        answers = Answers(access.database)
        mask = access.vault.mask
        links = _Links(place, Pages(answers, key, mask))
        held.callback(links.server_close)
        _run(held, links)
        shown = f"[{place.host}]" if ":" in place.host else place.host
        url = place.url.rstrip("/") or f"http://{shown}:{links.server_address[1]}"
        if can_tell():
            door = SocketServer(place.socket, answers, mask)
            held.callback(place.socket.unlink, missing_ok=True)
            held.callback(door.server_close)
            _run(held, door)
        announcer = Announcer(
            database=access.database,
            programs=tuple(programs),
            chats=tuple(chats),
            key=key,
            base=url,
            mask=mask,
            say=access.say,
        )
        yield Served(url, place.socket if can_tell() else None, announcer, answers)


def _run(held: ExitStack, server: HTTPServer | SocketServer) -> None:
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    held.callback(server.shutdown)
