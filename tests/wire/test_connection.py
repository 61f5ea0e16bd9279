"""One connection for calls that follow each other closely, and never a call lost for it. The real SDK, real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runner.errors import LostError, NeverSentError
from runner.models.alarms import Alarms
from runner.models.connection import KEPT_S
from runner.models.openai_chat import OpenAIChat
from runner.ports import Completion, Interrupt, UserText
from runner.values import CallId

CALL = CallId(1, 1, 1)
DELTA = {"choices": [{"index": 0, "delta": {"content": "Hello."}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
REPLY = "".join(f"data: {json.dumps(one)}\n\n" for one in (DELTA, USAGE)).encode() + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"%x\r\n%s\r\n0\r\n\r\n" % (len(REPLY), REPLY)

Serve = Callable[[socket.socket, int], bool]


class Server:
    """Accepts connections and counts them. `serve(connection, number)` answers a request; False ends the connection."""

    def __init__(self, serve: Serve) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._serve = serve
        self.connections, self.requests = 0, 0
        self.came = threading.Event()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reading:
            while reading.readline():
                length = 0
                while (header := reading.readline()) not in {b"\r\n", b""}:
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                reading.read(length)
                self.requests += 1
                self.came.set()
                if not self._serve(connection, self.requests):
                    return

    def close(self) -> None:
        self._listening.close()


@contextmanager
def serving(serve: Serve) -> Iterator[Server]:
    server = Server(serve)
    try:
        yield server
    finally:
        server.close()


def answered(connection: socket.socket, _: int) -> bool:
    connection.sendall(WHOLE)
    return True


def chat(server: Server) -> OpenAIChat:
    return OpenAIChat("openai/m", base_url=server.url, api_key="k", max_output=100, timeout_s=30, idle_s=20)


def send(model: OpenAIChat, interrupt: Interrupt | None = None) -> Completion:
    body = model.body([model.encode(UserText("Hi."))], 10)
    return model.complete(CALL, body, interrupt=interrupt or Interrupt(), on_text=lambda _: None)


def test_calls_that_follow_each_other_closely_share_a_connection():
    with serving(answered) as server:
        model = chat(server)
        assert [send(model).reply.text for _ in range(3)] == ["Hello."] * 3
        assert server.requests == 3
        assert server.connections < 3  # one, where nothing held the machine up for longer than it is kept


def test_a_connection_that_lay_idle_is_not_used_again():
    with serving(answered) as server:
        model = chat(server)
        send(model)
        time.sleep(KEPT_S + 0.2)
        send(model)
        assert server.connections == 2


def test_a_connection_the_server_has_closed_loses_no_call():
    closed = threading.Event()

    def once(connection: socket.socket, _: int) -> bool:
        connection.sendall(WHOLE)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()
        return False

    with serving(once) as server:
        model = chat(server)
        for _ in range(5):
            closed.clear()
            assert send(model).reply.text == "Hello."
            assert closed.wait(10)
        assert server.connections == 5


def test_a_stream_that_never_ends_holds_up_neither_its_reply_nor_the_next():
    def open_ended(connection: socket.socket, number: int) -> bool:
        if number > 1:
            return answered(connection, number)
        connection.sendall(HEAD + b"%x\r\n%s\r\n" % (len(REPLY), REPLY))
        time.sleep(30)
        return False

    with serving(open_ended) as server:
        model = chat(server)
        began = time.monotonic()
        assert send(model).reply.text == "Hello."
        assert time.monotonic() - began < 10
        assert send(model).reply.text == "Hello."
        assert server.connections == 2


def test_a_stop_cuts_the_call_on_a_connection_used_before():
    silent = threading.Event()

    def then_silent(connection: socket.socket, number: int) -> bool:
        if number == 1:
            return answered(connection, number)
        silent.set()
        time.sleep(30)
        return False

    with serving(then_silent) as server:
        model, interrupt = chat(server), Interrupt()
        send(model)

        def stop() -> None:
            silent.wait(20)
            interrupt.fire()

        threading.Thread(target=stop, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(LostError, match="stopped"):
            send(model, interrupt)
        assert time.monotonic() - began < 15
        assert server.connections == 1


def test_a_stop_of_one_thread_leaves_the_call_of_another_alone():
    both, go = threading.Barrier(3, timeout=20), threading.Event()

    def at_last(connection: socket.socket, number: int) -> bool:
        both.wait()
        go.wait(20)
        return answered(connection, number)

    told: dict[str, str] = {}
    with serving(at_last) as server:
        model, interrupt = chat(server), Interrupt()

        def call(name: str, by: Interrupt) -> None:
            try:
                told[name] = send(model, by).reply.text
            except LostError as error:
                told[name] = str(error)

        threads = [
            threading.Thread(target=call, args=("stopped", interrupt)),
            threading.Thread(target=call, args=("left alone", Interrupt())),
        ]
        for thread in threads:
            thread.start()
        both.wait()
        interrupt.fire()
        threads[0].join(20)
        go.set()
        threads[1].join(20)
    assert "stopped" in told["stopped"]
    assert told["left alone"] == "Hello."


def test_an_alarm_goes_off_unless_it_was_taken_back():
    alarms, heard = Alarms(), list[str]()
    first, second, again = threading.Event(), threading.Event(), threading.Event()
    with alarms.after(0.05, lambda: heard.append("taken back")):
        pass
    with alarms.after(60, lambda: heard.append("late")), alarms.after(0.2, second.set), alarms.after(0.1, first.set):
        assert first.wait(20)
        assert second.wait(20)
    with alarms.after(0.05, again.set):
        assert again.wait(20)
    assert heard == []


def test_a_call_is_cut_in_the_middle_of_a_handshake() -> None:
    interrupt = Interrupt()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def cut_then() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1)  # the handshake has begun, and gets no answer
                interrupt.fire()
                connection.recv(1 << 16)
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=cut_then, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        chat = OpenAIChat("openai/m", api_key="key", max_output=100, base_url=url)
        began = time.monotonic()
        with pytest.raises(NeverSentError, match="stopped"):
            chat.complete(CALL, b"{}", interrupt=interrupt, on_text=lambda _: None)
        # connecting alone may take five seconds
        assert time.monotonic() - began < 4
        thread.join(5)
        assert not thread.is_alive(), "the connection stayed open"


def test_a_base_url_without_a_path_is_an_address_too() -> None:
    with serving(answered) as server:
        model = OpenAIChat(
            "openai/m", base_url=server.url.removesuffix("/v1"), api_key="k", max_output=100, timeout_s=30, idle_s=20
        )
        assert send(model).reply.text == "Hello."
