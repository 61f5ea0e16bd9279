"""Webhooks: signed, once for each person, again at half time; one that does not answer is tried again."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from runner.app.announcing import Announcer
from runner.app.serving import Served
from runner.errors import ConfigError
from runner.notify.webhook import Webhook
from tests.contract.serving_parts import SECRET, Waiting, now, post, waiting

__all__ = ["waiting"]

KEY = b"0123456789abcdef"


@dataclass
class Receiver:
    """Somebody's program that takes webhooks; `statuses` are its next answers, then 200."""

    url: str = ""
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])
    statuses: list[int] = field(default_factory=list[int])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.came.append((dict(self.headers), body))
            status = made.statuses.pop(0) if made.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{made.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  the standard library's own name
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def announced(served: Served, later_ms: int = 0) -> Announcer:
    """Tell of everything that is due `later_ms` from now."""
    for question in served.answers.open():
        served.announcer.announce(question, now() + later_ms)
    return served.announcer


def test_each_person_gets_a_signed_message_with_a_link_of_their_own_once(waiting: Waiting, receiver: Receiver):
    hook = Webhook(url=receiver.url, secret=KEY)
    with waiting.served(programs=(hook,)) as served:
        announced(served)
        announced(served)
        documents = [json.loads(body) for _, body in receiver.came]
        assert [one["person"] for one in documents] == ["alice", "bob", "nobody"]
        assert {one["event"] for one in documents} == {"approval.asked"}
        assert SECRET not in str(documents)
        for headers, body in receiver.came:
            signed = hmac.new(KEY, headers["X-Runner-Timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
            assert headers["X-Runner-Signature"] == f"sha256={signed}"

        assert post(documents[1]["link"], answer="approve")[0] == 200
        assert [one.by for one in waiting.votes()] == ["bob"]
    with waiting.served(programs=(hook,)) as again:
        announced(again)
    assert len(receiver.came) == 3


def test_at_half_time_those_who_did_not_answer_are_told_again(waiting: Waiting, receiver: Receiver):
    with waiting.served(programs=(Webhook(url=receiver.url, secret=KEY),)) as served:
        announced(served)
        for _ in range(2):
            announced(served, later_ms=1_900_000)
        events = [json.loads(body)["event"] for _, body in receiver.came]
        assert events == ["approval.asked"] * 3 + ["approval.reminded"] * 3
        announced(served, later_ms=3_600_000)
        assert len(receiver.came) == 6


def test_a_chat_gets_text_of_its_own_form_without_links_and_mentions(waiting: Waiting, receiver: Receiver):
    with waiting.served(chats=(Webhook(url=receiver.url),)) as served:
        announced(served)
    ((headers, body),) = receiver.came
    document = json.loads(body)
    assert set(document) == {"text", "blocks"}
    assert [one["type"] for one in document["blocks"]] == ["section", "section", "context"]
    assert "&lt;b&gt;--now" in body.decode()
    assert "/a/" not in body.decode()
    assert SECRET not in body.decode()
    assert "X-Runner-Signature" not in headers


def test_who_does_not_answer_is_tried_again_later_and_keeps_nobody_waiting(waiting: Waiting, receiver: Receiver):
    receiver.statuses += [500]
    with waiting.served(chats=(Webhook(url=receiver.url),)) as served:
        for _ in range(3):
            announced(served)
        assert len(receiver.came) == 1
        assert waiting.said == ["warning: the webhook at 127.0.0.1 answered 500; the next try in 5 s"]

    with waiting.served(chats=(Webhook(url=receiver.url),)) as served:
        served.announcer.patience_s = 0.0
        receiver.statuses += [500, 503]
        for _ in range(4):
            announced(served)
        assert len(receiver.came) == 4
        assert len(waiting.said) == 3


def test_a_redirect_is_not_followed(receiver: Receiver):
    receiver.statuses += [302]
    assert Webhook(url=receiver.url).send(b"{}") == "the webhook at 127.0.0.1 answered 302"
    assert len(receiver.came) == 1


def test_an_address_that_could_be_listened_in_on_and_a_weak_secret_are_refused():
    for url in ("http://hooks.example.com/x", "ftp://127.0.0.1/", "hooks.example.com"):
        with pytest.raises(ConfigError):
            Webhook(url=url)
    with pytest.raises(ConfigError, match="could be guessed"):
        Webhook(url="https://hooks.example.com", secret=b"short")
    assert "example" not in repr(Webhook(url="https://hooks.example.com/T0/B0/secret", secret=KEY))


def test_an_address_that_is_not_there_is_said(waiting: Waiting):
    told = Webhook(url="http://127.0.0.1:9/x").send(b"{}")
    assert told == "the webhook at 127.0.0.1 cannot be reached: ConnectError"
