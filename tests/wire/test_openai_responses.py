"""Responses on the real SDK: what comes, what goes back byte for byte, and what each failure proves."""

import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from runner.errors import LostError, ModelError, NeverSentError, UnbilledError
from runner.events.codec import decode, encode
from runner.events.facts import CallSettled
from runner.models.openai_responses import OpenAIResponses
from runner.models.recording import Recording
from runner.ports import Answered, Completion, Interrupt, Message, SystemText, ToolDefinition, ToolText, UserText
from runner.pricing.book import Entry
from runner.pricing.cost import Asks, Price
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import CallId, Opaque, Reply, ToolCall, Usage
from tests.wire.once import Once, refusing, streaming

KEY = "sk-test-0123456789abcdef"
NAME = "openai/gpt-5-mini"
CALL = CallId(1, 1, 1)
TOOL = ToolDefinition(name="run", description="Run a program.", parameters={"type": "object"})
RECORDING = Recording.parse(
    """\
{"recording": 1, "model": "openai/gpt-5-mini"}
{"iteration": 1, "step": 1, "text": "Let me look – now.", "tools": [{"name": "run", "arguments": {"argv": ["ls", "ä"]}}], "usage": {"input": 40, "output": 12, "cached": 30}}
{"iteration": 1, "step": 2, "text": "cut here", "cut": true}
{"otherwise": true, "text": "Done."}
""",
    Path("r"),
)
PROMPT: list[Message] = [SystemText("Be good."), UserText("Iteration 1\nDo it.")]
FREE = Entry(
    name="desk/m",
    price=Price(input=0, output=0, cached=0, cache_write=0),
    max_output=1000,
    context=9000,
    as_of=date(2026, 11, 1),
    source="here",
    local=True,
)


def model(url: str, name: str = NAME, *, idle_s: float = 10.0, entry: Entry | None = None) -> OpenAIResponses:
    return OpenAIResponses(
        name, base_url=url, api_key=KEY, max_output=128_000, tools=(TOOL,), timeout_s=20, idle_s=idle_s, entry=entry
    )


def send(
    responses: OpenAIResponses, messages: list[Message] = PROMPT, *, interrupt: Interrupt | None = None
) -> Completion:
    body = responses.body([responses.encode(one) for one in messages], 5000)
    return responses.complete(CALL, body, interrupt=interrupt or Interrupt(), on_text=lambda _: None)


def items_of(body: bytes) -> list[Mapping[str, object]]:
    listed: list[Mapping[str, object]] = json.loads(body)["input"]
    return listed


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script(recording=RECORDING, key=KEY)) as running:
        yield running


def test_a_reply_comes_whole_with_its_true_usage(provider: ScriptedProvider):
    responses, pieces = model(provider.url), list[str]()
    body = responses.body([responses.encode(one) for one in PROMPT], 5000)
    done = responses.complete(CALL, body, interrupt=Interrupt(), on_text=pieces.append)
    assert replace(done.reply, opaque=()) == Reply(
        text="Let me look – now.", tool_calls=(ToolCall("call_1_1_1", "run", '{"argv":["ls","ä"]}'),)
    )
    assert [(one.provider, one.chars, one.calls) for one in done.reply.opaque] == [(NAME, 0, 0)]
    assert done.usage == Usage(40, 12, 30)
    assert done.request_id == "req_1"
    assert "".join(pieces) == done.reply.text
    assert len(pieces) > 1
    assert provider.bodies == [body]


def test_a_request_asks_for_no_more_than_it_should(provider: ScriptedProvider):
    send(model(provider.url))
    asked = json.loads(provider.bodies[0])
    assert {key: asked[key] for key in asked if key not in {"input", "tools"}} == {
        "model": "gpt-5-mini",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 5000,
    }
    assert asked["tools"] == [
        {
            "type": "function",
            "name": "run",
            "description": "Run a program.",
            "parameters": {"type": "object"},
            "strict": False,
        }
    ]


def test_only_openai_itself_is_told_which_class_of_service_to_bill():
    def service(url: str | None, asks: Asks) -> object:
        responses = OpenAIResponses(NAME, base_url=url, api_key=KEY, max_output=9, asks=asks)
        return json.loads(responses.body([], 9)).get("service_tier")

    assert service(None, Asks()) == "default"
    assert service(None, Asks(service="standard")) == "default"
    assert service("https://elsewhere.example/v1", Asks()) is None
    assert service("https://elsewhere.example/v1", Asks(service="standard")) is None
    assert service("https://api.openai.com.example/v1", Asks()) is None
    assert service(None, Asks(service="flex")) == "flex"
    assert service("https://elsewhere.example/v1", Asks(service="flex")) == "flex"


def test_what_was_thought_goes_back_byte_for_byte_where_it_stood(provider: ScriptedProvider):
    responses = model(provider.url)
    first = send(responses).reply
    went_on: list[Message] = [*PROMPT, Answered(first), ToolText("call_1_1_1", "ok")]
    # the provider refuses what it did not seal itself, or what lost its place
    assert send(responses, went_on).reply == Reply(text="cut here", cut=True)
    assert [item.get("type", item.get("role")) for item in items_of(provider.bodies[1])] == [
        "system",
        "user",
        "reasoning",
        "assistant",
        "function_call",
        "function_call_output",
    ]
    assert first.opaque[0].data.encode() in provider.bodies[1]


def test_another_models_thoughts_are_left_out():
    responses = model("http://unused.invalid/v1", "openai/other")
    thought = Opaque(provider=NAME, chars=0, calls=0, data='{"type":"reasoning","id":"rs_1"}')
    sent = json.loads(b"[" + responses.encode(Answered(Reply(text="Hm.", opaque=(thought,)))) + b"]")
    assert sent == [{"role": "assistant", "content": "Hm."}]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="half", cut=True),
        Reply(text="no", ending="refused"),
        # thoughts at the very end led to nothing, and the provider refuses thoughts without what they led to
        Reply(text="half"),
    ],
)
def test_thoughts_that_led_to_nothing_are_left_out(reply: Reply):
    responses = model("http://unused.invalid/v1")
    last = Opaque(provider=NAME, chars=len(reply.text), calls=0, data='{"type":"reasoning","id":"rs_1"}')
    sent = json.loads(b"[" + responses.encode(Answered(replace(reply, opaque=(last,)))) + b"]")
    assert sent == [{"role": "assistant", "content": reply.text}]


def test_each_thought_stays_before_the_call_it_led_to():
    responses = model("http://unused.invalid/v1")
    thoughts = [f'{{"type":"reasoning","id":"rs_{number}","encrypted_content":"\\ud83d"}}' for number in (1, 2)]
    reply = Reply(
        text="One, two.",
        tool_calls=(ToolCall("a", "run", "{}"), ToolCall("b", "run", "{}")),
        opaque=tuple(
            Opaque(provider=NAME, chars=9 * number, calls=number, data=data) for number, data in enumerate(thoughts)
        ),
    )
    sent = responses.encode(Answered(reply))
    assert [item.get("id") or item.get("call_id") or item["content"] for item in json.loads(b"[" + sent + b"]")] == [
        "rs_1",
        "One, two.",
        "a",
        "rs_2",
        "b",
    ]
    assert all(data.encode() in sent for data in thoughts)


def test_a_message_keeps_its_phase():
    done = _completed(
        {"type": "message", "phase": "commentary", "content": [{"type": "output_text", "text": "First I look."}]},
        {"type": "function_call", "call_id": "a", "name": "run", "arguments": "{}"},
    )
    with Once(streaming(done)) as once:
        responses = model(once.url)
        reply = send(responses).reply
    assert json.loads(b"[" + responses.encode(Answered(reply)) + b"]") == [
        {"role": "assistant", "content": "First I look.", "phase": "commentary"},
        {"type": "function_call", "call_id": "a", "name": "run", "arguments": "{}"},
    ]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.is_free])
def test_a_structured_refusal_is_unbilled(provider: ScriptedProvider, fault: Fault):
    provider.script = Script(recording=RECORDING, faults=(fault,), key=KEY)
    with pytest.raises(UnbilledError, match=f"HTTP status {fault.status}") as caught:
        send(model(provider.url))
    assert caught.value.retryable == (fault.status in {429, 503, 529})
    assert caught.value.cause
    assert provider.total == 0


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault.ERROR_500, "server"),
        (Fault.BARE_502, "server"),
        (Fault.BARE_503, "overload"),
        (Fault.DROP, "dropped"),
        (Fault.DROP_BEFORE, "dropped"),
        (Fault.DROP_MIDSTREAM, "dropped"),
        (Fault.GARBAGE, "garbled"),
        (Fault.NO_USAGE, "usage"),
        (Fault.ZERO_USAGE, "usage"),
        (Fault.BAD_USAGE, "usage"),
        (Fault.ERROR_IN_STREAM, "server"),
        (Fault.STALL, "timeout"),
        (Fault.STALL_MIDSTREAM, "timeout"),
    ],
)
def test_whatever_proves_nothing_is_lost_after_one_request(provider: ScriptedProvider, fault: Fault, cause: str):
    provider.script = Script(recording=RECORDING, faults=(fault,), key=KEY)
    with pytest.raises(LostError) as caught:
        send(model(provider.url, idle_s=0.3 if "stall" in fault.value else 10.0))
    assert caught.value.cause == cause
    assert caught.value.retryable
    assert len(provider.billed) == 1


def test_a_lost_call_keeps_the_name_the_provider_gave_it(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(Fault.DROP_MIDSTREAM,), key=KEY)
    with pytest.raises(LostError) as caught:
        send(model(provider.url))
    assert caught.value.request_id == "req_1"


def test_a_cut_reply_runs_no_call_and_settles(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(Fault.TRUNCATED,), key=KEY)
    done = send(model(provider.url))
    assert done.reply.cut
    assert done.reply.opaque == ()
    assert done.usage.output_tokens > 0


def test_a_refusal_is_an_ending_of_its_own(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(Fault.REFUSAL,), key=KEY)
    reply = send(model(provider.url)).reply
    assert (reply.ending, reply.tool_calls, reply.opaque) == ("refused", (), ())
    assert reply.text


def test_output_above_the_limit_is_told_as_it_is(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(Fault.OVER,), key=KEY)
    assert send(model(provider.url)).usage.output_tokens == 20_000


def test_after_a_stop_nothing_is_sent(provider: ScriptedProvider):
    interrupt = Interrupt()
    interrupt.fire()
    with pytest.raises(NeverSentError) as caught:
        send(model(provider.url), interrupt=interrupt)
    assert (caught.value.cause, provider.billed) == ("stopped", [])


def _completed(*output: object, kind: str = "completed", usage: object = None, **more: object) -> bytes:
    counts = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    response = {"status": kind, "output": output, "usage": counts if usage is None else usage, **more}
    return json.dumps({"type": f"response.{kind}", "response": response}).encode()


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hi."}]}


@pytest.mark.parametrize(
    ("tier", "service"), [("default", ""), ("auto", ""), (None, ""), ("priority", "priority"), ("flex", "flex")]
)
def test_the_class_of_service_is_the_replys_own(tier: str | None, service: str):
    with Once(streaming(_completed(MESSAGE, service_tier=tier))) as once:
        assert send(model(once.url)).usage == Usage(9, 3, service=service)


def test_a_place_and_a_service_that_the_reply_does_not_name_are_those_asked_for():
    price = Price(input=1, output=1, cached=1, cache_write=1, geo={"eu": 1100})
    known = replace(FREE, local=False, count="all", price=replace(price, services={"priority": price}))
    with Once(streaming(_completed(MESSAGE))) as once:
        asks = Asks(service="priority", geo="eu")
        one = OpenAIResponses(NAME, base_url=once.url, api_key=KEY, max_output=9, entry=known, asks=asks)
        assert send(one).usage == Usage(9, 3, service="priority", geo="eu")


def test_every_part_of_the_usage_is_kept():
    usage = {
        "input_tokens": 90,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 25},
        "total_tokens": 120,
    }
    with Once(streaming(_completed(MESSAGE, usage=usage))) as once:
        assert send(model(once.url)).usage == Usage(90, 30, 40, 20, reasoning_tokens=25)


def test_the_content_filter_ends_a_reply_without_its_calls():
    half = {"type": "function_call", "call_id": "a", "name": "run", "arguments": '{"argv":["r'}
    done = _completed(MESSAGE, half, kind="incomplete", incomplete_details={"reason": "content_filter"})
    with Once(streaming(done)) as once:
        reply = send(model(once.url)).reply
    assert (reply.ending, reply.tool_calls, reply.cut) == ("filtered", (), False)
    assert reply.text.startswith("Hi.")


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ([], "dropped"),
        ([b'{"type":"response.created","response":{}}'], "dropped"),
        ([b"[1]"], "garbled"),
        ([b'{"type":"error","code":"server_is_overloaded","message":"m"}'], "overload"),
        ([b'{"type":"error","error":{"type":"invalid_request_error","code":"context_length_exceeded"}}'], "context"),
        ([b'{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"}}}'], "server"),
        ([_completed(MESSAGE, kind="incomplete")], "garbled"),
        ([_completed(MESSAGE, kind="incomplete", incomplete_details={"reason": "tired"})], "garbled"),
        ([_completed({"type": "function_call", "call_id": "", "name": "run"})], "garbled"),
        ([_completed(MESSAGE, usage={"input_tokens": 0, "output_tokens": 3})], "usage"),
        ([_completed(MESSAGE, usage={"input_tokens": 3, "output_tokens": 0})], "usage"),
        ([_completed(MESSAGE, usage={"input_tokens": 3, "output_tokens": True})], "usage"),
        (
            [_completed(MESSAGE, usage={"input_tokens": 3, "output_tokens": 1,
                                        "input_tokens_details": {"cached_tokens": 4}})],
            "usage",
        ),
    ],
)  # fmt: skip
def test_what_is_no_whole_reply_is_lost(events: list[bytes], cause: str):
    with Once(streaming(*events, headers="x-request-id: req_x\r\n")) as once, pytest.raises(LostError) as caught:
        send(model(once.url))
    assert (caught.value.cause, caught.value.request_id) == (cause, "req_x")
    assert caught.value.retryable == (cause != "context")


def test_items_of_the_stream_stand_in_for_an_end_that_names_none():
    done = json.dumps({"type": "response.output_item.done", "item": MESSAGE}).encode()
    with Once(streaming(done, _completed())) as once:
        assert send(model(once.url)).reply.text == "Hi."


def test_a_server_that_costs_nothing_need_not_count():
    with Once(streaming(_completed(MESSAGE, usage={}))) as once:
        responses = model(once.url, "desk/m", entry=FREE)
        body = responses.body([responses.encode(one) for one in PROMPT], 5000)
        usage = responses.complete(CALL, body, interrupt=Interrupt(), on_text=lambda _: None).usage
    assert usage == Usage(len(body), 5000)


def test_openai_counts_a_request_before_it_is_sent(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, key=KEY, count_ratio=0.25)
    responses = model(provider.url)
    body = responses.body([responses.encode(one) for one in PROMPT], 5000)
    assert responses.can_count
    counted = responses.count(body, interrupt=Interrupt())
    assert counted is not None
    assert 0 < counted < len(body) / 2
    assert provider.total == 0


def test_the_count_is_asked_for_the_input_alone():
    answer = b'{"object":"response.input_tokens","input_tokens":11}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
    with Once(head + answer) as once:
        responses = model(f"{once.url}/v1")
        body = responses.body([responses.encode(one) for one in PROMPT], 5000)
        assert responses.count(body, interrupt=Interrupt()) == 11
    top, _, sent = once.received[0].partition(b"\r\n\r\n")
    assert top.startswith(b"POST /v1/responses/input_tokens ")
    whole, asked = json.loads(body), json.loads(sent)
    assert asked == {key: whole[key] for key in ("model", "tools", "input")}


@pytest.mark.parametrize(
    "answer",
    [
        refusing(404, {"error": {"message": "no such path"}}),
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nnot JSON",
        b'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{"input_tokens":0}',
        b"",
    ],
)
def test_a_count_that_does_not_come_is_no_failure(answer: bytes):
    with Once(answer) as once:
        assert model(once.url).count(b'{"max_output_tokens":1,"input":[]}', interrupt=Interrupt()) is None


@pytest.mark.parametrize("fault", [None, *Fault])
def test_no_error_ever_shows_the_key(fault: Fault | None, provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(fault,), key=KEY)
    try:
        send(model(provider.url, idle_s=0.2))
    except ModelError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error)
        assert KEY not in shown
    else:
        assert fault is None or fault.is_answer


def test_what_was_thought_is_byte_equal_after_the_journal(provider: ScriptedProvider):
    responses = model(provider.url)
    done = send(responses)
    settled = CallSettled(
        call=CALL, usage=done.usage, cost=1, reply=done.reply, request_id=done.request_id, seconds=0.1
    )
    again = decode("CallSettled", encode(settled))
    assert isinstance(again, CallSettled)
    assert responses.encode(Answered(again.reply)) == responses.encode(Answered(done.reply))
