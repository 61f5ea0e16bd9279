"""A provider for tests: real APIs on loopback, answering from a recording or at random, billing for real.

Every request it accepts is billed in a ledger of its own, on disk before the answer leaves: the truth a run's
own ledger is compared with. It can fail in every way a provider fails. `python -m runner.testing.provider`.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Self, cast

from runner.errors import ConfigError, NoReplyError
from runner.models.recording import Recording
from runner.models.wire import as_json
from runner.ports import Completion
from runner.pricing.book import Book
from runner.testing.bill import Listed, charge, in_nano
from runner.testing.cached import PrefixCache
from runner.testing.dialects import BadRequestError, Dialect, Turn, counter_of, dialect_of
from runner.testing.dialects.chat import Chat
from runner.testing.dialects.messages import Messages
from runner.testing.dialects.responses import Responses
from runner.testing.script import LOSSES, Fault, Script, altered
from runner.values import Reply, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """One request as the provider saw it. `at` is wall time in ms when it came, `usage` None when nothing was."""

    number: int
    at: int
    model: str
    iteration: int
    step: int
    usage: Usage | None
    billed_nano_usd: int
    fault: str


class ScriptedProvider:
    """Serves a script on a free loopback port while the `with` block runs: Chat Completions, Responses, Messages.

    It charges `prices` (by `provider/model`), else those of the book. `billed` are the requests it accepted, `counted`
    the bodies it only counted, `refused` why it would not read a request.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        ledger: Path | None = None,
        book: Book | None = None,
        prices: Mapping[str, Listed] | None = None,
    ) -> None:
        self.script = script or Script()
        self.bodies: list[bytes] = []
        self.counted: list[bytes] = []
        self.billed: list[Billed] = []
        self.refused: list[str] = []
        self._cache = PrefixCache()
        self._prices = dict(prices or {})
        self._book = book or Book.load()
        self._ledger = ledger
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def root(self) -> str:
        """The same without its path, as the anthropic SDK wants it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def total(self) -> int:
        """Everything billed so far, nano-USD."""
        with self._lock:
            return sum(entry.billed_nano_usd for entry in self.billed)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def sell(self, model: str, listed: Listed) -> None:
        """Charge these list prices for `provider/model` from now on."""
        with self._lock:
            self._prices[model] = listed

    def wait_for(self, requests: int, *, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests have come and are in the ledger."""
        with self._came:
            return self._came.wait_for(lambda: len(self.billed) >= requests, timeout_s)

    def rest(self, seconds: float) -> bool:
        """Wait, but not beyond the end of the block; say whether it has ended."""
        return self._closing.wait(seconds)

    def accept(self, body: bytes, dialect: Dialect) -> tuple[Turn, bool]:
        """Judge one request and bill it, on disk when this returns; say whether it wants a stream.

        Raises BadRequestError for a body the real provider would refuse, NoReplyError where the recording ends.
        """
        at = time.time_ns() // 1_000_000
        asked = dialect.read(body)
        request = asked.request
        model = f"{self.script.provider or dialect.provider}/{asked.model}"
        with self._came:
            number = len(self.billed) + 1
            fault = self.script.fault(number)
            thinks = asked.thinks or fault is Fault.THINKING
            missing: NoReplyError | None = None
            outcome = Completion(reply=Reply(text=""), usage=Usage(0, 0))
            try:
                outcome = self.script.reply(number, request, asked.tools, asked.lives, thinks=thinks)
                outcome = altered(outcome, fault, request.granted)
            except NoReplyError as error:
                missing = error
            usage = replace(outcome.usage, service=asked.service, geo=asked.geo)
            if self.script.cache:
                usage = self._cache.applied(usage, asked)
            charged = missing is None and (fault is None or fault.is_billed)
            entry = Billed(
                number=number,
                at=at,
                model=model,
                iteration=request.iteration,
                step=request.step,
                usage=usage if charged else None,
                billed_nano_usd=in_nano(charge(self._listed(model), usage)) if charged else 0,
                fault=fault.value if fault else "",
            )
            self._write(entry)
            self.bodies.append(body)
            self.billed.append(entry)
            self._came.notify_all()
        if missing is not None:
            raise missing
        told = Usage(0, 0) if fault is Fault.ZERO_USAGE else usage
        turn = Turn(number=number, model=asked.model, reply=outcome.reply, told=told, fault=fault, thinks=thinks)
        return turn, asked.streamed

    def count(self, body: bytes, dialect: Messages | Responses) -> int:
        """The input tokens of a request that is only counted, which costs nothing."""
        with self._lock:
            self.counted.append(body)
        return self.script.count(dialect.read(body, counting=True).request.size)

    def _listed(self, model: str) -> Listed:
        """The list prices of a model; raises BadRequestError for one that is not sold."""
        if model not in self._prices:
            try:
                self._prices[model] = Listed.read(self._book.lookup(model).price)
            except ConfigError as error:
                raise BadRequestError(str(error)) from None
        return self._prices[model]

    def _write(self, entry: Billed) -> None:
        if self._ledger is None:
            return
        line = as_json(asdict(entry)) + b"\n"
        with self._ledger.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def read_ledger(path: Path) -> list[Mapping[str, object]]:
    """The lines of a provider's ledger, as they are."""
    if not path.exists():
        return []
    # as_json wrote objects
    return [cast("Mapping[str, object]", json.loads(line)) for line in path.read_text("utf-8").splitlines()]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was killed is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a reply's pieces would wait 40 ms for each other
    provider: ScriptedProvider

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Print nothing."""

    def do_POST(self) -> None:  # the base class looks it up by this name
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        counter = counter_of(self.path)
        dialect = counter or dialect_of(self.path)
        if dialect is None:
            self._refuse(Chat(), 404, f"no such path: {self.path}")
            return
        if not self._has_key():
            self._refuse(dialect, 401, "incorrect API key provided")
            return
        try:
            if counter is not None:
                self._send(200, "application/json", counter.counted(self.provider.count(body, counter)))
                return
            turn, streamed = self.provider.accept(body, dialect)
        except NoReplyError as error:
            self._refuse(dialect, 422, str(error))
            return
        except ValueError as error:
            self.provider.refused.append(str(error))
            self._refuse(dialect, 400, str(error))
            return
        self.provider.rest(self.provider.script.delay_s)
        if turn.fault is not None and self._failed(dialect, turn.fault, turn.number):
            return
        if streamed:
            self._stream(dialect, turn)
        else:
            named = {dialect.id_header: f"req_{turn.number}"}
            self._send(200, "application/json", dialect.whole(turn), named)

    def _has_key(self) -> bool:
        wanted = self.provider.script.key
        if wanted is None:
            return True
        given = self.headers.get("x-api-key") or (self.headers.get("authorization") or "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), wanted.encode())

    def _failed(self, dialect: Dialect, fault: Fault, number: int) -> bool:
        """Fail before the reply, if that is the fault's way."""
        match fault:
            case Fault.BARE_429 | Fault.BARE_502 | Fault.BARE_503:
                self._send(fault.status or 500, "text/html", b"<html>upstream said no</html>")
            case Fault.DROP | Fault.DROP_BEFORE:
                self._hang_up()
            case Fault.STALL:
                self.provider.rest(600)
                self._hang_up()
            case Fault.RATE_RESET:
                self._refuse(dialect, 429, "as the script says", number, dialect.resets(1))
            case Fault.RATE_BARE:
                self._refuse(dialect, 429, "as the script says", number, {})
            case _ if fault.status is not None:
                self._refuse(dialect, fault.status, "as the script says", number)
            case _:
                return False
        return True

    def _stream(self, dialect: Dialect, turn: Turn) -> None:
        fault, events = turn.fault, list(dialect.stream(turn))
        half = max(1, len(events) // 2)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header(dialect.id_header, f"req_{turn.number}")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for place, event in enumerate(events):
            if place == half and fault is Fault.DROP_MIDSTREAM:
                self._hang_up()
                return
            if place == half and fault is Fault.STALL_MIDSTREAM:
                self.provider.rest(600)
                self._hang_up()
                return
            if place == half and fault is Fault.GARBAGE:
                self._piece(b'data: {"choices": [{"delta": {"cont\n\n')
            if place == half and fault is Fault.ERROR_IN_STREAM:
                self._piece(dialect.broken())
                break
            self._piece(event)
        self.wfile.write(b"0\r\n\r\n")

    def _piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _refuse(
        self, dialect: Dialect, status: int, message: str, number: int = 0, headers: Mapping[str, str] | None = None
    ) -> None:
        if headers is None:
            headers = {"retry-after": str(self.provider.script.retry_after_s)} if status in (429, 503) else {}
        named = {dialect.id_header: f"req_{number}", **headers}
        self._send(status, "application/json", dialect.error(status, message, number), named)

    def _send(self, status: int, kind: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _handler(provider: ScriptedProvider) -> type[_Handler]:
    return type("Handler", (_Handler,), {"provider": provider})


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runner.testing.provider", description=__doc__)
    parser.add_argument("--recording", type=Path, help="answer from this recording (default: at random)")
    parser.add_argument("--port-file", type=Path, required=True, help="where to write the port, once it listens")
    parser.add_argument("--ledger", type=Path, help="where to append what is billed, a JSON line each")
    parser.add_argument("--prices", type=Path, help="a price file over the built-in book")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--random-usage", action="store_true", help="bill a random amount up to the bounds")
    parser.add_argument("--faults", default="", help="comma-separated, for the first requests in turn (none: no fault)")
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--fault-kinds", default=",".join(LOSSES), help="comma-separated")
    parser.add_argument("--key", help="refuse requests without this API key")
    parser.add_argument("--delay-ms", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _arguments().parse_args(argv)
    recording: Path | None = options.recording
    prices: Path | None = options.prices
    script = Script(
        recording=Recording.parse(recording.read_text("utf-8"), recording) if recording else None,
        seed=options.seed,
        random_usage=options.random_usage,
        faults=tuple(None if name == "none" else Fault(name) for name in options.faults.split(",") if name),
        fault_rate=options.fault_rate,
        fault_kinds=tuple(Fault(name) for name in options.fault_kinds.split(",") if name),
        key=options.key,
        delay_s=options.delay_ms / 1000,
    )
    book = Book.load(prices.read_text("utf-8"), path=prices) if prices else Book.load()
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with ScriptedProvider(script, ledger=options.ledger, book=book) as provider:
        port_file: Path = options.port_file
        whole = port_file.with_name(port_file.name + ".new")
        whole.write_text(f"{provider.port}\n")
        whole.replace(port_file)
        ended.wait()


if __name__ == "__main__":
    main()
