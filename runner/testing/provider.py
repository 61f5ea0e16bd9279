"""A provider for tests: Chat Completions on loopback, answering from a recording or at random, billing for real.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Self, cast

from runner.errors import ConfigError, NoReplyError
from runner.models.recording import Recording
from runner.models.replay import Request, pieces
from runner.models.wire import as_json
from runner.ports import Completion
from runner.pricing.book import Book
from runner.pricing.cost import cost
from runner.testing.script import LOSSES, Fault, Script
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
    """Serves a script on a free loopback port while the `with` block runs."""

    def __init__(self, script: Script | None = None, *, ledger: Path | None = None, book: Book | None = None) -> None:
        self.script = script or Script()
        self.bodies: list[bytes] = []
        self.billed: list[Billed] = []
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

    def wait_for(self, requests: int, *, timeout_s: float = 30.0) -> bool:
        """Wait until so many requests have come and are in the ledger."""
        with self._came:
            return self._came.wait_for(lambda: len(self.billed) >= requests, timeout_s)

    def rest(self, seconds: float) -> bool:
        """Wait, but not beyond the end of the block; say whether it has ended."""
        return self._closing.wait(seconds)

    def accept(self, body: bytes) -> tuple[int, Fault | None, Completion | NoReplyError]:
        """Judge one request and bill it, on disk when this returns. Raises ValueError for a body that is none."""
        at = time.time_ns() // 1_000_000
        request = Request.read(body)
        top = cast("Mapping[str, object]", json.loads(body))  # Request.read found it to be an object
        model = f"openai/{top.get('model')}"
        with self._came:
            number = len(self.billed) + 1
            fault = self.script.fault(number)
            outcome: Completion | NoReplyError
            usage: Usage | None = None
            try:
                outcome = self.script.reply(number, request, _tools(top))
                if fault is Fault.OVER:
                    # breaks the promise to honour the output limit
                    over = Usage(outcome.usage.input_tokens, request.granted * 4, outcome.usage.cached_tokens)
                    outcome = Completion(reply=outcome.reply, usage=over)
                usage = None if fault is not None and fault.is_free else outcome.usage
            except NoReplyError as error:
                outcome = error
            entry = Billed(
                number=number,
                at=at,
                model=model,
                iteration=request.iteration,
                step=request.step,
                usage=usage,
                billed_nano_usd=cost(self._book.lookup(model).price, usage) if usage else 0,
                fault=fault.value if fault else "",
            )
            self._write(entry)
            self.bodies.append(body)
            self.billed.append(entry)
            self._came.notify_all()
        return number, fault, outcome

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


def _tools(top: Mapping[str, object]) -> list[str]:
    """Names of the tools a request offers."""
    listed = cast("list[Mapping[str, Mapping[str, object]]]", top.get("tools") or [])  # encode_tools made it
    return [str(tool["function"]["name"]) for tool in listed]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was killed is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: ScriptedProvider

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Print nothing."""

    def do_POST(self) -> None:  # the base class looks it up by this name
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.path.endswith("/chat/completions"):
            self._refuse(404, "not_found", f"no such path: {self.path}")
            return
        wanted = self.provider.script.key
        if wanted is not None and not hmac.compare_digest(
            (self.headers.get("authorization") or "").encode(), f"Bearer {wanted}".encode()
        ):
            self._refuse(401, "invalid_api_key", "incorrect API key provided")
            return
        try:
            number, fault, outcome = self.provider.accept(body)
        except (ValueError, ConfigError) as error:
            self._refuse(400, "invalid_request_error", str(error))
            return
        if isinstance(outcome, NoReplyError):
            self._refuse(422, "no_reply", str(outcome))
            return
        self.provider.rest(self.provider.script.delay_s)
        if fault is not None and self._failed(fault):
            return
        if json.loads(body).get("stream"):
            self._stream(number, outcome, fault)
        else:
            self._send(200, "application/json", as_json(_whole(number, outcome, fault)))

    def _failed(self, fault: Fault) -> bool:
        """Fail before the reply, if that is the fault's way."""
        match fault:
            case Fault.BARE_429 | Fault.BARE_502:
                self._send(fault.status or 500, "text/html", b"<html>upstream said no</html>")
            case Fault.DROP:
                self._hang_up()
            case Fault.STALL:
                self.provider.rest(600)
                self._hang_up()
            case _ if fault.status is not None:
                code = "rate_limit_exceeded" if fault.status == 429 else f"error_{fault.status}"
                self._refuse(fault.status, code, "as the script says")
            case _:
                return False
        return True

    def _stream(self, number: int, completion: Completion, fault: Fault | None) -> None:
        chunks = list(_chunks(number, completion, fault))
        half = max(1, len(chunks) // 2)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("x-request-id", f"req_{number}")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for place, chunk in enumerate(chunks):
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
                self._event({"error": {"type": "server_error", "message": "as the script says"}})
                break
            self._event(chunk)
        self._piece(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, chunk: object) -> None:
        self._piece(b"data: " + as_json(chunk) + b"\n\n")

    def _piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _refuse(self, status: int, code: str, message: str) -> None:
        error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        self._send(status, "application/json", as_json(error), {"retry-after": "1"} if status in (429, 503) else {})

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


def _usage(completion: Completion, fault: Fault | None) -> dict[str, object]:
    usage = completion.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": -1 if fault is Fault.BAD_USAGE else usage.output_tokens,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
    }


def _finish(reply: Reply) -> str:
    return "length" if reply.cut else "tool_calls" if reply.tool_calls else "stop"


def _chunks(number: int, completion: Completion, fault: Fault | None) -> Iterator[dict[str, object]]:
    """The stream's events, as OpenAI sends them: role, text, calls in parts, finish, usage."""
    reply = completion.reply

    def chunk(delta: Mapping[str, object], finish: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "choices": [choice], "usage": None}

    yield chunk({"role": "assistant", "content": ""})
    for part in pieces(reply.text):
        yield chunk({"content": part})
    for index, call in enumerate(reply.tool_calls):
        start = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield chunk({"tool_calls": [start]})
        for part in pieces(call.arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, _finish(reply))
    if fault is not Fault.NO_USAGE:
        yield {**chunk({}), "choices": [], "usage": _usage(completion, fault)}


def _whole(number: int, completion: Completion, fault: Fault | None) -> dict[str, object]:
    reply = completion.reply
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]
    message = {"role": "assistant", "content": reply.text, **({"tool_calls": calls} if calls else {})}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply)}],
        **({} if fault is Fault.NO_USAGE else {"usage": _usage(completion, fault)}),
    }


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
