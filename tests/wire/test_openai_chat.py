"""The real SDK against a provider that bills: every failure gets the name that its proof allows."""

import json
import socket
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from runner.errors import LostError, ModelError, NeverSentError, UnbilledError
from runner.models.openai_chat import OpenAIChat
from runner.models.recording import Recording
from runner.ports import Answered, Completion, Interrupt, SystemText, ToolDefinition, ToolText, UserText
from runner.testing.provider import ScriptedProvider, read_ledger
from runner.testing.script import Fault, Script
from runner.values import CallId, Reply, ToolCall, Usage

KEY = "sk-test-0123456789abcdef"
CALL = CallId(1, 1, 1)
TOOL = ToolDefinition(name="run", description="Run a program.", parameters={"type": "object"})
REPLIES = """\
{"recording": 1, "model": "openai/gpt-5-mini"}
{"iteration": 1, "step": 1, "text": "Let me look – now.", "tools": [{"name": "run", "arguments": {"argv": ["ls", "ä"]}}, {"name": "list_files"}], "usage": {"input": 40, "output": 12, "cached": 30}}
{"iteration": 1, "step": 2, "text": "cut here", "cut": true}
{"otherwise": true, "text": "Done."}
"""
RECORDING = Recording.parse(REPLIES, Path("r"))


def script(*faults: Fault | None) -> Script:
    return Script(recording=RECORDING, faults=faults, key=KEY)


def model(url: str, *, key: str = KEY, timeout_s: float = 20, idle_s: float = 10) -> OpenAIChat:
    return OpenAIChat(
        "openai/gpt-5-mini",
        base_url=url,
        api_key=key,
        max_output=128_000,
        tools=(TOOL,),
        timeout_s=timeout_s,
        idle_s=idle_s,
    )


def body(chat: OpenAIChat, text: str = "Iteration 1\nDo it.") -> bytes:
    return chat.body([chat.encode(SystemText("Be good.")), chat.encode(UserText(text))], 5000)


def send(chat: OpenAIChat, sent: bytes | None = None, interrupt: Interrupt | None = None) -> Completion:
    return chat.complete(CALL, sent or body(chat), interrupt=interrupt or Interrupt(), on_text=lambda _: None)


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(script()) as running:
        yield running


def test_a_reply_comes_whole_with_its_true_usage(provider: ScriptedProvider):
    chat = model(provider.url)
    pieces: list[str] = []
    done = chat.complete(CALL, body(chat), interrupt=Interrupt(), on_text=pieces.append)
    assert done == Completion(
        reply=Reply(
            text="Let me look – now.",
            tool_calls=(
                ToolCall("call_1_1_1", "run", '{"argv":["ls","ä"]}'),
                ToolCall("call_1_1_2", "list_files", "{}"),
            ),
        ),
        usage=Usage(40, 12, 30),
        request_id="req_1",
    )
    assert "".join(pieces) == done.reply.text
    assert len(pieces) > 1
    assert provider.total == 10 * 250 + 30 * 25 + 12 * 2000


def test_the_provider_gets_the_very_bytes_that_were_counted(provider: ScriptedProvider):
    chat = model(provider.url)
    sent = body(chat, 'Iteration 1\nÄ – 漢字 🙂 \ud800 \x00 "quoted"')
    send(chat, sent)
    assert provider.bodies == [sent]
    assert json.loads(sent)["max_completion_tokens"] == 5000
    assert json.loads(sent)["stream_options"] == {"include_usage": True}


def test_a_conversation_goes_on_with_the_reply_put_back(provider: ScriptedProvider):
    chat = model(provider.url)
    first = send(chat)
    answered = [chat.encode(ToolText(call.id, "ok")) for call in first.reply.tool_calls]
    sent = chat.body([chat.encode(UserText("Iteration 1")), chat.encode(Answered(first.reply)), *answered], 100)
    assert send(chat, sent).reply == Reply(text="cut here", cut=True)
    entry = provider.billed[-1]
    assert (entry.iteration, entry.step) == (1, 2)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.is_free])
def test_a_structured_refusal_is_unbilled(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(UnbilledError, match=f"HTTP status {fault.status}") as caught:
        send(model(provider.url))
    assert caught.value.retryable == (fault.status in {429, 503, 529})
    named = {Fault.REFUSE_429, Fault.RATE_RESET, Fault.REFUSE_503}
    assert caught.value.retry_after_s == (1.0 if fault in named else None)
    assert provider.total == 0
    assert len(provider.billed) == 1


@pytest.mark.parametrize(
    ("fault", "cause", "retryable"),
    [
        (Fault.ERROR_500, "server", True),
        (Fault.BARE_502, "server", True),
        (Fault.BARE_503, "overload", True),
        (Fault.BARE_429, "rate", False),
        (Fault.DROP, "dropped", True),
        (Fault.DROP_MIDSTREAM, "dropped", True),
        (Fault.GARBAGE, "garbled", True),
        (Fault.NO_USAGE, "usage", True),
        (Fault.ZERO_USAGE, "usage", True),
        (Fault.BAD_USAGE, "usage", True),
        (Fault.ERROR_IN_STREAM, "server", True),
    ],
)
def test_whatever_proves_nothing_is_lost_after_one_request(
    provider: ScriptedProvider, fault: Fault, cause: str, retryable: bool
):
    provider.script = script(fault)
    with pytest.raises(LostError) as caught:
        send(model(provider.url))
    assert (caught.value.cause, caught.value.retryable) == (cause, retryable)
    # it was billed, and nobody retried behind our back
    assert provider.total > 0
    assert len(provider.billed) == 1


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_silence_ends_a_call_and_loses_it(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(LostError, match="silent for too long") as caught:
        send(model(provider.url, idle_s=0.2))
    assert caught.value.cause == "timeout"


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_a_call_ends_with_its_time(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(LostError, match=r"longer than 0\.3 s") as caught:
        send(model(provider.url, timeout_s=0.3))
    assert caught.value.cause == "timeout"


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_another_thread_can_cut_a_call_at_once(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    interrupt, ended = Interrupt(), threading.Event()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            send(model(provider.url, timeout_s=120, idle_s=120), interrupt=interrupt)
        except ModelError as error:
            errors.append(error)
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    assert provider.wait_for(1)
    interrupt.fire()
    assert ended.wait(5)
    assert [type(error) for error in errors] == [LostError]
    assert "stopped" in str(errors[0])
    assert isinstance(errors[0], LostError)
    assert (errors[0].cause, errors[0].retryable) == ("stopped", False)


def test_a_lost_call_keeps_the_name_the_provider_gave_it(provider: ScriptedProvider):
    provider.script = script(Fault.DROP_MIDSTREAM)
    with pytest.raises(LostError) as caught:
        send(model(provider.url))
    assert caught.value.request_id == "req_1"


def test_a_web_page_is_no_reply_and_not_asked_for_again():
    page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\n\r\n<html></html>"
    with _Once(page) as once, pytest.raises(LostError, match="web page") as caught:
        send(model(once.url))
    assert (caught.value.cause, caught.value.retryable) == ("garbled", False)
    assert "OPENAI_BASE_URL" in caught.value.hint


def test_after_a_stop_nothing_is_sent(provider: ScriptedProvider):
    interrupt = Interrupt()
    interrupt.fire()
    with pytest.raises(NeverSentError) as caught:
        send(model(provider.url), interrupt=interrupt)
    assert caught.value.cause == "stopped"
    assert provider.billed == []


def test_a_refused_connection_never_sent_anything():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        with pytest.raises(NeverSentError, match="refused") as caught:
            send(model(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert (caught.value.cause, caught.value.retryable) == ("connect", True)
    assert caught.value.message.endswith(": connection refused")


def test_a_name_that_does_not_exist_never_sent_anything():
    with pytest.raises(NeverSentError, match=r"no connection to no-such-host\.invalid") as caught:
        send(model("http://someone:secret@no-such-host.invalid/v1"))
    assert "secret" not in str(caught.value)


def test_a_server_that_speaks_no_tls_never_got_the_request(provider: ScriptedProvider):
    with pytest.raises(NeverSentError):
        send(model(provider.url.replace("http:", "https:")))
    assert provider.bodies == []


def test_a_key_that_is_refused_is_never_shown(provider: ScriptedProvider):
    wrong = "sk-wrong-0123456789"
    with pytest.raises(UnbilledError, match="401") as caught:
        send(model(provider.url, key=wrong))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert wrong not in shown
    assert "OPENAI_API_KEY" in caught.value.hint


@pytest.mark.parametrize("fault", [None, *Fault])
def test_no_error_ever_shows_the_key(fault: Fault | None, provider: ScriptedProvider):
    provider.script = script(fault)
    try:
        send(model(provider.url, idle_s=0.2))
    except ModelError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error)
        assert KEY not in shown
        assert "Bearer" not in shown
    else:
        assert fault is None or fault.is_answer


def test_a_redirect_is_not_followed():
    once = _Once(b"HTTP/1.1 307 Moved\r\nlocation: /v2/chat/completions\r\ncontent-length: 0\r\n\r\n")
    with once, pytest.raises(LostError, match="307"):
        send(model(once.url))
    assert once.connections == 1


def test_an_echoed_key_is_masked():
    error = json.dumps({"error": {"message": f"bad key {KEY}", "code": "invalid_api_key"}}).encode()
    with (
        _Once(b"HTTP/1.1 401 No\r\ncontent-length: %d\r\n\r\n%s" % (len(error), error)) as once,
        pytest.raises(UnbilledError, match=r"bad key \[secret\]"),
    ):
        send(model(once.url))


def test_a_used_up_quota_is_not_worth_another_attempt():
    error = json.dumps({"error": {"message": "quota", "code": "insufficient_quota"}}).encode()
    with (
        _Once(b"HTTP/1.1 429 No\r\nretry-after: 20\r\ncontent-length: %d\r\n\r\n%s" % (len(error), error)) as once,
        pytest.raises(UnbilledError) as caught,
    ):
        send(model(once.url))
    assert (caught.value.retryable, caught.value.retry_after_s) == (False, 20.0)


def test_a_stream_that_just_ends_is_lost():
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hal"}}]}\n\n'
    with (
        _Once(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + chunk) as once,
        pytest.raises(LostError, match="ended before the reply did"),
    ):
        send(model(once.url))


def test_thirty_two_clients_are_billed_each_once(tmp_path: Path):
    ledger = tmp_path / "ledger.jsonl"
    with ScriptedProvider(Script(random_usage=True, seed=7), ledger=ledger) as provider:
        results: list[Completion] = []
        threads = [threading.Thread(target=lambda: results.append(send(model(provider.url)))) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        lines = read_ledger(ledger)
        assert sorted(done.request_id for done in results) == sorted(f"req_{n}" for n in range(1, 33))
        assert [line["number"] for line in lines] == list(range(1, 33))
        assert sum(int(str(line["billed_nano_usd"])) for line in lines) == provider.total > 0


def test_random_bills_stay_within_the_bounds(provider: ScriptedProvider):
    provider.script = Script(random_usage=True, seed=3)
    chat = model(provider.url)
    for _ in range(20):
        usage = send(chat).usage
        assert 0 <= usage.cached_tokens <= usage.input_tokens <= len(body(chat))
        assert usage.output_tokens <= 5000


def test_a_provider_can_break_its_promise_to_honour_the_limit(provider: ScriptedProvider):
    provider.script = script(Fault.OVER)
    assert send(model(provider.url)).usage.output_tokens == 20_000


class _Once:
    """A server that answers every connection with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self.connections = answer, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    def __exit__(self, *_: object) -> None:
        self._socket.close()
