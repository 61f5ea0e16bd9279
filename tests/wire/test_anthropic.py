"""The real anthropic SDK against a provider that bills: every failure gets the name that its proof allows."""

import json
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import ConfigError, LostError, ModelError, NeverSentError, UnbilledError
from runner.models.anthropic_messages import AnthropicMessages
from runner.models.recording import Recording
from runner.ports import Answered, Completion, Interrupt, SystemText, ToolDefinition, ToolText, UserText
from runner.pricing.book import Book
from runner.pricing.cost import Asks
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import CallId, Opaque, Reply, ToolCall, Usage
from tests.wire.once import Once, refusing, streaming

KEY = "sk-ant-test-0123456789abcdef"
CALL = CallId(1, 1, 1)
NAME = "anthropic/claude-haiku-4-5"
ENTRY = replace(Book.load().lookup(NAME), thinking="budget")
TOOL = ToolDefinition(name="run", description="Run a program.", parameters={"type": "object"})
REPLIES = """\
{"recording": 1, "model": "anthropic/claude-haiku-4-5"}
{"iteration": 1, "step": 1, "text": "Let me look – now.", "tools": [{"name": "run", "arguments": {"argv": ["ls", "ä"]}}, {"name": "list_files"}], "usage": {"input": 40, "output": 12, "cached": 30}}
{"iteration": 1, "step": 2, "text": "cut here", "cut": true}
{"otherwise": true, "text": "Done."}
"""
RECORDING = Recording.parse(REPLIES, Path("r"))


def script(*faults: Fault | None) -> Script:
    return Script(recording=RECORDING, faults=faults, key=KEY)


def model(
    url: str,
    *,
    key: str = KEY,
    timeout_s: float = 20,
    idle_s: float = 10,
    asks: Asks | None = None,
    thinking: str = "off",
) -> AnthropicMessages:
    return AnthropicMessages(
        NAME,
        base_url=url,
        api_key=key,
        max_output=64_000,
        tools=(TOOL,),
        timeout_s=timeout_s,
        idle_s=idle_s,
        entry=ENTRY,
        asks=asks or Asks(),
        thinking=thinking,
    )


def body(chat: AnthropicMessages, text: str = "Iteration 1\nDo it.", max_output: int = 5000) -> bytes:
    return chat.body([chat.encode(SystemText("Be good.")), chat.encode(UserText(text))], max_output)


def send(chat: AnthropicMessages, sent: bytes | None = None, interrupt: Interrupt | None = None) -> Completion:
    return chat.complete(CALL, sent or body(chat), interrupt=interrupt or Interrupt(), on_text=lambda _: None)


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(script()) as running:
        yield running


def test_a_reply_comes_whole_with_its_true_usage(provider: ScriptedProvider):
    chat = model(provider.root)
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


def test_the_provider_gets_the_very_bytes_that_were_counted(provider: ScriptedProvider):
    chat = model(provider.url)  # with the /v1 that other servers want
    sent = body(chat, 'Iteration 1\nÄ – 漢字 🙂 \ud800 \x00 "quoted"')
    send(chat, sent)
    assert provider.bodies == [sent]
    top = json.loads(sent)
    assert (top["max_tokens"], top["stream"], top["service_tier"]) == (5000, True, "standard_only")
    assert top["tools"] == [{"name": "run", "description": "Run a program.", "input_schema": {"type": "object"}}]
    assert "thinking" not in top


def test_a_conversation_goes_on_with_the_reply_put_back(provider: ScriptedProvider):
    chat = model(provider.root)
    first = send(chat)
    answered = [chat.encode(ToolText(call.id, "")) for call in first.reply.tool_calls]
    parts = [chat.encode(SystemText("x")), chat.encode(UserText("Iteration 1")), chat.encode(Answered(first.reply))]
    assert send(chat, chat.body([*parts, *answered], 100)).reply == Reply(text="cut here", cut=True)
    entry = provider.billed[-1]
    assert (entry.iteration, entry.step) == (1, 2)


REFUSALS = {
    Fault.REFUSE_400: ("request", False, None),
    Fault.REFUSE_401: ("auth", False, None),
    Fault.REFUSE_402: ("billing", False, None),
    Fault.REFUSE_403: ("auth", False, None),
    Fault.REFUSE_404: ("model", False, None),
    Fault.REFUSE_413: ("size", False, None),
    Fault.REFUSE_422: ("request", False, None),
    Fault.REFUSE_429: ("rate", True, 1.0),
    Fault.RATE_BARE: ("rate", True, None),
    Fault.REFUSE_503: ("overload", True, 1.0),
    Fault.REFUSE_529: ("overload", True, None),
}


@pytest.mark.parametrize("fault", list(REFUSALS))
def test_a_structured_refusal_is_unbilled(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(UnbilledError, match=f"HTTP status {fault.status}") as caught:
        send(model(provider.root))
    error = caught.value
    assert (error.cause, error.retryable, error.retry_after_s) == REFUSALS[fault]
    assert error.request_id == "req_1"
    assert provider.total == 0
    assert len(provider.billed) == 1


def test_a_rate_limit_waits_until_the_moment_its_headers_name():
    headers = {
        "date": "Sun, 22 Nov 2026 10:00:00 GMT",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-11-22T10:01:30Z",
        "anthropic-ratelimit-requests-remaining": "12",
        "anthropic-ratelimit-requests-reset": "2026-11-22T11:00:00Z",
        "request-id": "req_limited",
    }
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slower"}}
    with Once(refusing(429, error, headers)) as once, pytest.raises(UnbilledError) as caught:
        send(model(once.url))
    assert (caught.value.retry_after_s, caught.value.cause) == (90.0, "rate")
    assert caught.value.request_id == "req_limited"


def test_a_spend_limit_that_comes_as_a_rate_limit_is_not_worth_waiting_for():
    details = {"error_code": "enforced_spend_limit_reached"}
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "no", "details": details}}
    with Once(refusing(429, error)) as once, pytest.raises(UnbilledError) as caught:
        send(model(once.url))
    assert (caught.value.cause, caught.value.retryable) == ("billing", False)


@pytest.mark.parametrize(
    ("fault", "retryable", "cause"),
    [
        (Fault.ERROR_500, True, "server"),
        (Fault.BARE_502, True, "server"),
        (Fault.BARE_503, True, None),
        (Fault.BARE_429, None, None),
        (Fault.DROP_BEFORE, True, "dropped"),
        (Fault.DROP, True, "dropped"),
        (Fault.DROP_MIDSTREAM, True, "dropped"),
        (Fault.GARBAGE, True, "garbled"),
        (Fault.NO_USAGE, True, "usage"),
        (Fault.BAD_USAGE, True, "usage"),
        (Fault.ZERO_USAGE, True, "usage"),
        (Fault.ERROR_IN_STREAM, True, "overload"),
    ],
)
def test_whatever_proves_nothing_is_lost_after_one_request(
    provider: ScriptedProvider, fault: Fault, retryable: bool | None, cause: str | None
):
    provider.script = script(fault)
    with pytest.raises(LostError) as caught:
        send(model(provider.root))
    assert retryable is None or caught.value.retryable == retryable
    assert cause is None or caught.value.cause == cause
    # nobody retried behind our back
    assert len(provider.billed) == 1


@pytest.mark.parametrize("fault", [Fault.DROP_MIDSTREAM, Fault.ERROR_IN_STREAM, Fault.NO_USAGE])
def test_a_lost_reply_keeps_the_name_of_its_request(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(LostError) as caught:
        send(model(provider.root))
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize(
    ("kind", "cause", "retryable"), [("api_error", "server", True), ("invalid_request_error", "request", False)]
)
def test_an_error_inside_a_stream_says_whether_to_try_again(kind: str, cause: str, retryable: bool):
    error = json.dumps({"type": "error", "error": {"type": kind, "message": f"with {KEY}"}}).encode()
    with Once(streaming(START, error)) as once, pytest.raises(LostError) as caught:
        send(model(once.url))
    assert (caught.value.cause, caught.value.retryable) == (cause, retryable)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_silence_ends_a_call_and_loses_it(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(LostError, match="silent for too long") as caught:
        send(model(provider.root, idle_s=0.2))
    assert caught.value.cause == "timeout"


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_a_call_ends_with_its_time(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    with pytest.raises(LostError, match=r"longer than 0\.3 s"):
        send(model(provider.root, timeout_s=0.3))


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_another_thread_can_cut_a_call_at_once(provider: ScriptedProvider, fault: Fault):
    provider.script = script(fault)
    interrupt, ended = Interrupt(), threading.Event()
    errors: list[ModelError] = []

    def call() -> None:
        try:
            send(model(provider.root, timeout_s=120, idle_s=120), interrupt=interrupt)
        except ModelError as error:
            errors.append(error)
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    assert provider.wait_for(1)
    interrupt.fire()
    assert ended.wait(5)
    assert [type(error) for error in errors] == [LostError]
    assert "stopped" in str(errors[0])
    assert not errors[0].retryable


def test_after_a_stop_nothing_is_sent(provider: ScriptedProvider):
    interrupt = Interrupt()
    interrupt.fire()
    with pytest.raises(NeverSentError):
        send(model(provider.root), interrupt=interrupt)
    assert provider.billed == []


def test_a_refused_connection_never_sent_anything():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        with pytest.raises(NeverSentError, match="connection refused") as caught:
            send(model(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert (caught.value.retryable, caught.value.cause) == (True, "connect")
    assert "ANTHROPIC_BASE_URL" in caught.value.hint


def test_a_server_that_speaks_no_tls_never_got_the_request(provider: ScriptedProvider):
    with pytest.raises(NeverSentError):
        send(model(provider.root.replace("http:", "https:")))
    assert provider.bodies == []


def test_a_key_that_is_refused_is_never_shown(provider: ScriptedProvider):
    wrong = "sk-ant-wrong-0123456789"
    with pytest.raises(UnbilledError, match="401") as caught:
        send(model(provider.root, key=wrong))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert wrong not in shown
    assert "ANTHROPIC_API_KEY" in caught.value.hint


@pytest.mark.parametrize("fault", [None, *Fault])
def test_no_error_ever_shows_the_key(fault: Fault | None, provider: ScriptedProvider):
    provider.script = script(fault)
    try:
        send(model(provider.root, idle_s=0.2))
    except ModelError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error)
        assert KEY not in shown
        assert "Bearer" not in shown
    else:
        assert fault is None or fault.is_answer


def test_a_redirect_is_not_followed():
    once = Once(b"HTTP/1.1 307 Moved\r\nlocation: /v2/messages\r\ncontent-length: 0\r\n\r\n")
    with once, pytest.raises(LostError, match="307"):
        send(model(once.url))
    assert len(once.received) == 1


def test_a_web_page_is_no_reply():
    page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
    with Once(page) as once, pytest.raises(LostError, match="web page") as caught:
        send(model(once.url))
    assert not caught.value.retryable


def test_a_stream_that_just_ends_is_lost():
    with Once(streaming(*WHOLE[:-1])) as once, pytest.raises(LostError, match="ended before the reply did"):
        send(model(once.url))


def test_nothing_of_the_sdks_own_environment_gets_into_a_request(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "ANTHROPIC_CUSTOM_HEADERS": "x-evil: yes\nanthropic-beta: context-1m",
        "ANTHROPIC_AUTH_TOKEN": "token-of-somebody",
        "ANTHROPIC_API_KEY": "sk-of-somebody",
        "ANTHROPIC_PROFILE": "nobody",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_LOG": "debug",
    }.items():
        monkeypatch.setenv(name, value)
    with Once(streaming(*WHOLE)) as once:
        chat = model(once.url)
        send(chat)
    head, _, sent = once.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/messages HTTP/1.1")
    for word in (b"x-evil", b"anthropic-beta", b"somebody", b"nobody"):
        assert word not in head
    assert KEY.encode() in head
    assert sent == body(chat)


def test_nothing_is_imported_before_the_first_call():
    made = (
        "import sys\n"
        "from runner.models.anthropic_messages import AnthropicMessages\n"
        "from runner.ports import UserText\n"
        "from runner.pricing.book import Book\n"
        f"entry = Book.load().lookup({NAME!r})\n"
        f"made = AnthropicMessages({NAME!r}, api_key='k', max_output=9, entry=entry)\n"
        "made.body([made.encode(UserText('x'))], 9)\n"
        "print(sorted({'anthropic', 'httpx2', 'httpx', 'openai', 'pydantic'} & set(sys.modules)))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", made], text=True) == "[]\n"


def test_a_server_of_ones_own_needs_no_key_and_no_usage():
    bare = [WHOLE[0].replace(b'"usage":{"input_tokens":7,"output_tokens":1}', b'"usage":{}'), *WHOLE[1:]]
    bare[-2] = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}'
    entry = replace(ENTRY, local=True)
    with Once(streaming(*bare)) as once:
        chat = AnthropicMessages("desk/llama", api_key=None, max_output=9, base_url=once.url, entry=entry)
        sent = body(chat, max_output=9)
        # for nothing either way; what it may have used at most counts towards limits on tokens
        assert send(chat, sent) == Completion(reply=Reply(text="Hi."), usage=Usage(len(sent), 9))


# ---- thinking --------------------------------------------------------------------------------------------


def test_thinking_comes_back_byte_for_byte(provider: ScriptedProvider):
    provider.script = replace(script(), recording=None)
    chat = model(provider.root, thinking="2000")
    reply = send(chat).reply
    thinking, hidden = reply.opaque
    assert (thinking.provider, thinking.chars, thinking.calls) == ("anthropic", 0, 0)
    assert json.loads(thinking.data)["signature"]
    assert hidden.data == '{"type":"redacted_thinking","data":"hidden-1+/=ä"}'
    again = chat.encode(Answered(reply)).decode()
    assert again.startswith('{"role":"assistant","content":[' + thinking.data + "," + hidden.data + ",")
    # the provider checks every signature
    send(chat, chat.body([chat.encode(UserText("Iteration 1")), again.encode()], 5000))
    assert again.encode() in provider.bodies[-1]


def test_thinking_keeps_the_very_json_it_came_in():
    signature = rb"EqQ\/Bg\u002b=="
    pieces = (
        rb'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
        rb'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"caf\u00e9 \ud83d"}}',
        rb'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"\ude00 \"so\""}}',
        rb'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"%s"}}' % signature,
        rb'{"type":"content_block_stop","index":0}',
        rb'{"type":"content_block_start","index":1,"content_block":{ "data":"A\/b=", "type":"redacted_thinking" }}',
        rb'{"type":"content_block_stop","index":1}',
    )
    with Once(streaming(WHOLE[0], *pieces, *WHOLE[-2:])) as once:
        first, second = send(model(once.url)).reply.opaque
    assert first.data == (
        r'{"type":"thinking","thinking":"caf\u00e9 \ud83d\ude00 \"so\"","signature":"' + signature.decode() + '"}'
    )
    assert second.data == r'{ "data":"A\/b=", "type":"redacted_thinking" }'


def test_blocks_keep_their_places_between_text_and_calls():
    chat = model("http://127.0.0.1:9")
    reply = Reply(
        text="One. Two.",
        tool_calls=(ToolCall("a", "run", "{}"), ToolCall("b", "run", '{"x": 1}')),
        opaque=(
            Opaque(provider="anthropic", chars=0, calls=0, data='{"t":1}'),
            Opaque(provider="anthropic", chars=4, calls=1, data='{"t":2}'),
            Opaque(provider="openai", chars=4, calls=1, data='{"foreign":1}'),
            Opaque(provider="anthropic", chars=9, calls=2, data='{"t":3}'),
        ),
    )
    content = json.loads(chat.encode(Answered(reply)))["content"]
    assert [one.get("t") or one.get("text") or one["id"] for one in content] == [1, "One.", "a", 2, " Two.", "b", 3]


@pytest.mark.parametrize(
    ("thinking", "granted", "sent"),
    [
        ("off", 5000, None),
        ("2000", 5000, {"type": "enabled", "budget_tokens": 2000}),
        ("8000", 5000, {"type": "enabled", "budget_tokens": 3976}),
        ("8000", 2048, {"type": "enabled", "budget_tokens": 1024}),
        ("8000", 2047, None),
    ],
)
def test_the_thinking_budget_stays_below_the_granted_output(thinking: str, granted: int, sent: object):
    chat = model("http://127.0.0.1:9", thinking=thinking)
    assert json.loads(body(chat, max_output=granted)).get("thinking") == sent


# ---- endings ---------------------------------------------------------------------------------------------


def test_a_refusal_is_an_ending_and_is_settled(provider: ScriptedProvider):
    provider.script = script(Fault.REFUSAL)
    done = send(model(provider.root))
    assert (done.reply.ending, done.reply.tool_calls) == ("refused", ())
    assert done.usage == Usage(40, 12, 30)


def test_a_refusal_without_words_is_given_the_providers_own():
    ended = rb'{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":"Not this."}},"usage":{"output_tokens":0}}'
    with Once(streaming(WHOLE[0], ended, WHOLE[-1])) as once:
        done = send(model(once.url))
    assert done.reply == Reply(text="Not this.", ending="refused")
    assert done.usage == Usage(7, 1)


def test_a_refusal_in_the_middle_of_a_block_is_settled():
    ended = rb'{"type":"message_delta","delta":{"stop_reason":"refusal"},"usage":{"output_tokens":2}}'
    with Once(streaming(*WHOLE[:3], ended, WHOLE[-1])) as once:
        done = send(model(once.url))
    assert done.reply == Reply(text="Hi.", ending="refused")
    assert done.usage == Usage(7, 2)


def test_a_paused_turn_says_so(provider: ScriptedProvider):
    provider.script = script(Fault.PAUSED)
    assert send(model(provider.root)).reply == Reply(text="Let me look – now.", ending="paused")


def test_a_cut_reply_keeps_no_half_thinking():
    half = (
        rb'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
        rb'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"so"}}',
        rb'{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":9}}',
    )
    with Once(streaming(WHOLE[0], *half, WHOLE[-1])) as once:
        assert send(model(once.url)).reply == Reply(text="", cut=True)


def test_a_full_window_is_a_cut_of_its_own_kind():
    ended = (
        rb'{"type":"message_delta","delta":{"stop_reason":"model_context_window_exceeded"},"usage":{"output_tokens":9}}'
    )
    with Once(streaming(*WHOLE[:-2], ended, WHOLE[-1])) as once:
        assert send(model(once.url)).reply == Reply(text="Hi.", cut=True, ending="window")


# ---- usage -----------------------------------------------------------------------------------------------

START = b'{"type":"message_start","message":{"id":"m","usage":{"input_tokens":7,"output_tokens":1}}}'
WHOLE = (
    START,
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi."}}',
    b'{"type":"content_block_stop","index":0}',
    b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}',
    b'{"type":"message_stop"}',
)


def used(start: dict[str, object], end: dict[str, object], asks: Asks | None = None) -> Usage:
    events = [
        json.dumps({"type": "message_start", "message": {"usage": start}}).encode(),
        *WHOLE[1:-2],
        json.dumps({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end}).encode(),
        WHOLE[-1],
    ]
    with Once(streaming(*events)) as once:
        return send(model(once.url, asks=asks)).usage


def test_usage_takes_the_most_of_each_count_and_the_lives_from_the_start():
    start: dict[str, object] = {
        "input_tokens": 10,
        "cache_read_input_tokens": 400,
        "cache_creation_input_tokens": 90,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 2,
        "service_tier": "standard",
        "speed": None,
        "inference_geo": "global",
    }
    end: dict[str, object] = {
        "input_tokens": 25,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 100,
        "output_tokens": 70,
        "output_tokens_details": {"thinking_tokens": 50},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    }
    expected = Usage(525, 70, 400, 100, cache_write_1h_tokens=30, reasoning_tokens=50, fees=(("web_search", 2),))
    assert used(start, end) == expected
    # nobody said how long the ten more live: as long as what was asked for
    assert used(start, end, Asks(cache="1h")) == replace(expected, cache_write_1h_tokens=40)


@pytest.mark.parametrize(
    ("said", "asks", "service", "geo"),
    [
        ({}, Asks(), "", ""),
        ({}, Asks(service="fast"), "fast", ""),
        ({"service_tier": "priority"}, Asks(), "priority", ""),
        ({"service_tier": "standard"}, Asks(service="priority"), "", ""),
        ({"service_tier": "batch", "speed": "standard"}, Asks(), "batch", ""),
        ({"service_tier": "priority", "speed": "fast"}, Asks(), "fast+priority", ""),
        ({"inference_geo": "us"}, Asks(), "", "us"),
        ({"inference_geo": "not_available"}, Asks(), "", ""),
        ({}, Asks(geo="us"), "", "us"),
    ],
)
def test_usage_names_the_class_it_was_billed_in(said: dict[str, object], asks: Asks, service: str, geo: str):
    usage = used({"input_tokens": 5, **said}, {"output_tokens": 3}, asks)
    assert (usage.service, usage.geo) == (service, geo)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ({"input_tokens": 5}, {}),
        ({}, {"output_tokens": 3}),
        ({"input_tokens": 0}, {"output_tokens": 3}),
        ({"input_tokens": 5}, {"output_tokens": 0}),
        ({"input_tokens": "5"}, {"output_tokens": 3}),
        ({"input_tokens": True}, {"output_tokens": 3}),
        ({"input_tokens": 10**15}, {"output_tokens": 3}),
        ({"input_tokens": 5}, {"output_tokens": -3}),
    ],
)
def test_a_usage_that_cannot_be_true_is_none(start: dict[str, object], end: dict[str, object]):
    with pytest.raises(LostError) as caught:
        used(start, end)
    assert caught.value.cause == "usage"


# ---- what is asked for -----------------------------------------------------------------------------------


def test_fast_mode_is_asked_for_with_its_header():
    with Once(streaming(*WHOLE)) as once:
        chat = model(once.url, asks=Asks(service="fast", geo="us", cache="1h"))
        send(chat)
    head, _, sent = once.received[0].partition(b"\r\n\r\n")
    assert b"anthropic-beta: fast-mode-2026-02-01" in head
    top = json.loads(sent)
    assert (top["speed"], top["service_tier"], top["inference_geo"]) == ("fast", "standard_only", "us")
    assert top["cache_control"] == top["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    ("name", "geo", "sent"),
    [
        # left out, the workspace's default would hold, which may cost more
        ("anthropic/claude-sonnet-5", "", "global"),
        ("anthropic/claude-sonnet-5", "us", "us"),
        # refuses the field
        (NAME, "", None),
        (NAME, "global", None),
    ],
)
def test_the_place_is_said_wherever_places_have_prices(name: str, geo: str, sent: str | None):
    entry = Book.load().lookup(name)
    chat = AnthropicMessages(name, api_key=KEY, max_output=9, entry=entry, asks=Asks(service="standard", geo=geo))
    assert json.loads(body(chat)).get("inference_geo") == sent


@pytest.mark.parametrize(
    ("name", "asks", "thinking", "fault"),
    [
        (NAME, Asks(service="flex"), "off", "no service 'flex'"),
        (NAME, Asks(cache="12h"), "off", "no prefix for '12h'"),
        (NAME, Asks(), "adaptive", "by a number of tokens"),
        (NAME, Asks(), "500", "no amount of thinking"),
        (NAME, Asks(), "much", "no amount of thinking"),
        ("anthropic/claude-sonnet-5", Asks(), "4000", "decides by itself"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_any_call(name: str, asks: Asks, thinking: str, fault: str):
    entry = Book.load().lookup(name)
    with pytest.raises(ConfigError, match=fault):
        AnthropicMessages(name, api_key=KEY, max_output=9, entry=entry, asks=asks, thinking=thinking)


@pytest.mark.parametrize(
    ("name", "thinking", "sent"),
    [
        ("anthropic/claude-sonnet-5", "adaptive", {"type": "adaptive"}),
        ("anthropic/claude-sonnet-5", "off", {"type": "disabled"}),
        # cannot be told not to
        ("anthropic/claude-sonnet-5-5", "off", None),
    ],
)
def test_models_that_decide_by_themselves_are_told_whether_to_think(name: str, thinking: str, sent: object):
    entry = Book.load().lookup(name)
    chat = AnthropicMessages(name, api_key=KEY, max_output=9, entry=entry, thinking=thinking)
    assert json.loads(body(chat)).get("thinking") == sent


def test_the_provider_counts_a_request_for_nothing(provider: ScriptedProvider):
    chat = model(provider.root, thinking="2000", asks=Asks(cache="5m"))
    sent = body(chat)
    counted = chat.count(sent, interrupt=Interrupt())
    assert counted is not None
    assert 0 < counted <= len(sent)
    [asked] = provider.counted
    everything, some = json.loads(sent), json.loads(asked)
    assert {key: everything[key] for key in some} == some
    assert set(everything) - set(some) == {"max_tokens", "stream", "service_tier"}
    assert provider.billed == []


def test_a_provider_that_will_not_count_says_nothing():
    with Once(refusing(404, {"type": "error", "error": {"type": "not_found_error", "message": "no"}})) as once:
        chat = model(once.url)
        assert chat.count(body(chat), interrupt=Interrupt()) is None
    with Once(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull") as once:
        chat = model(once.url)
        assert chat.count(body(chat), interrupt=Interrupt()) is None
