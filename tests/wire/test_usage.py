"""What Chat Completions servers say a reply used, and what of it is believed. The real SDK, real sockets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest

from runner.errors import LostError, UnbilledError
from runner.models.openai_chat import OpenAIChat
from runner.models.server import place_of_openai
from runner.ports import Answered, Completion, Interrupt, UserText
from runner.pricing.book import Entry
from runner.pricing.cost import Asks, Price
from runner.values import CallId, Usage
from tests.wire.once import Once, refusing, streaming


def entry(count: str = "all", *, local: bool = False) -> Entry:
    price = 0 if local else 1_000_000
    return Entry(
        name="desk/m",
        price=Price(input=price, output=price, cached=price, cache_write=price),
        max_output=1000,
        context=9000,
        as_of=date(2026, 11, 1),
        source="here",
        count=count,
        local=local,
    )


def chunk(delta: Mapping[str, object], finish: str | None = None, **more: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}).encode()


def send(
    *chunks: bytes, known: Entry | None = None, provider: str = "compatible", headers: str = ""
) -> tuple[Completion, bytes]:
    """Make one call on a server that answers with these chunks; give the reply and the body that was sent."""
    with Once(streaming(*chunks, b"[DONE]", headers=headers)) as once:
        chat = OpenAIChat(
            "desk/m", base_url=f"{once.url}/v1", api_key=None, max_output=1000, timeout_s=20, idle_s=10,
            entry=known, provider=provider,
        )  # fmt: skip
        body = chat.body([chat.encode(UserText("Hi."))], 700)
        done = chat.complete(CallId(1, 1, 1), body, interrupt=Interrupt(), on_text=lambda _: None)
        assert once.received[0].endswith(body)
        return done, body


def counted(usage: object, known: Entry | None = None, provider: str = "compatible") -> Usage:
    return send(chunk({"content": "Hello."}, "stop", usage=usage), known=known, provider=provider)[0].usage


def plain(prompt: int, completion: int, cached: int = 0, written: int = 0, **more: object) -> Mapping[str, object]:
    details = {"cached_tokens": cached, "cache_write_tokens": written}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details, **more}


def test_every_part_of_the_usage_is_kept():
    usage = plain(90, 30, 40, 20, total_tokens=120, completion_tokens_details={"reasoning_tokens": 25})
    assert counted(usage, provider="openai") == Usage(90, 30, 40, 20, reasoning_tokens=25)


def test_writes_to_a_cache_are_found_under_their_other_name():
    usage = {
        "prompt_tokens": 90,
        "completion_tokens": 3,
        "prompt_tokens_details": {
            "cache_creation_tokens": 60,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40},
        },
    }
    assert counted(usage, entry()) == Usage(90, 3, 0, 60, 40)


@pytest.mark.parametrize(
    ("count", "usage", "expected"),
    [
        ("all", plain(50, 9, 40), Usage(50, 9, 40)),
        ("fresh", plain(10, 9, 40), Usage(50, 9, 40)),
        ("fresh", plain(40, 9, 40), Usage(80, 9, 40)),
        ("fresh", plain(10, 9), Usage(10, 9)),
        ("untrusted", plain(50, 9, 40), Usage(90, 9, 40)),
        ("untrusted", plain(50, 9, 40, total_tokens=59), Usage(90, 9, 40)),
        ("untrusted", plain(10, 9, 40, 5), Usage(55, 9, 40, 5)),
        ("untrusted", plain(10, 9), Usage(10, 9)),
    ],
)
def test_cached_tokens_are_counted_in_as_the_price_book_says(count: str, usage: object, expected: Usage):
    assert counted(usage, entry(count)) == expected


def test_a_count_that_contradicts_itself_is_lost_where_it_should_hold_all():
    with pytest.raises(LostError, match="more cached input than input") as caught:
        counted(plain(10, 9, 40), entry("all"))
    assert caught.value.cause == "usage"


def test_without_an_entry_only_openais_own_count_is_believed():
    assert counted(plain(10, 9, 40), None, "compatible") == Usage(50, 9, 40)
    with pytest.raises(LostError):
        counted(plain(10, 9, 40), None, "openai")


@pytest.mark.parametrize("total", [0, 15, 40])
def test_reasoning_beside_the_output_is_counted_in(total: int):
    usage = plain(10, 5, total_tokens=total, completion_tokens_details={"reasoning_tokens": 25})
    assert counted(usage) == Usage(10, 30, reasoning_tokens=25)


@pytest.mark.parametrize(
    ("count", "usage", "expected"),
    [
        ("all", plain(10, 5, total_tokens=45), Usage(10, 35)),
        ("all", plain(50, 5, 40, total_tokens=95), Usage(50, 45, 40)),
        # the sum also holds what was cached
        ("fresh", plain(10, 5, 40, total_tokens=55), Usage(50, 5, 40)),
        ("fresh", plain(10, 5, 40, total_tokens=75), Usage(50, 25, 40)),
        ("fresh", plain(10, 5, 40, total_tokens=35), Usage(50, 25, 40)),
        ("untrusted", plain(10, 5, 40, total_tokens=55), Usage(50, 5, 40)),
        # either may be so: both count
        ("untrusted", plain(50, 5, 40, total_tokens=155), Usage(90, 105, 40)),
        (
            "untrusted",
            plain(10, 5, 40, total_tokens=80, completion_tokens_details={"reasoning_tokens": 25}),
            Usage(50, 30, 40, reasoning_tokens=25),
        ),
    ],
)
def test_what_only_the_sum_holds_is_output(count: str, usage: object, expected: Usage):
    assert counted(usage, entry(count)) == expected


RUNNING = plain(9, 1)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "Hel"}, usage=RUNNING), chunk({"content": "lo."}, "stop")],
        [chunk({"content": "Hel"}), chunk({}, usage=RUNNING), chunk({}, "stop")],
        [chunk({"content": "Hel"}, "stop", usage=RUNNING), chunk({"content": "lo."})],
        [chunk({"content": "Hel"}, "stop", usage=RUNNING), chunk({"reasoning": "Hm."})],
    ],
)
def test_a_running_total_from_before_the_end_is_no_usage(chunks: list[bytes]):
    with pytest.raises(LostError) as caught:
        send(*chunks, known=entry())
    assert caught.value.cause == "usage"


def test_the_last_running_total_counts():
    chunks = [chunk({"content": "Hel"}, usage=RUNNING), chunk({"content": "lo."}, "stop", usage=plain(9, 2))]
    assert send(*chunks)[0].usage == Usage(9, 2)
    assert send(*chunks, json.dumps({"choices": [], "usage": plain(9, 3)}).encode())[0].usage == Usage(9, 3)


@pytest.mark.parametrize("usage", [None, {}, plain(0, 9), plain(9, 0), plain(0, 0), plain(-1, 9), {"prompt_tokens": 9}])
def test_a_reply_that_costs_money_needs_a_believable_usage(usage: object):
    with pytest.raises(LostError) as caught:
        counted(usage, entry())
    assert caught.value.cause == "usage"


def test_a_reply_of_nothing_may_have_used_no_output():
    done, _ = send(chunk({"content": ""}, "stop", usage=plain(9, 0)), known=entry())
    assert (done.reply.text, done.usage) == ("", Usage(9, 0))


@pytest.mark.parametrize("usage", [None, {}, plain(0, 0), plain(0, 9)])
def test_a_server_that_costs_nothing_need_not_count(usage: object):
    done, body = send(chunk({"content": "Hello."}, "stop", usage=usage), known=entry(local=True))
    assert done.usage == Usage(len(body), 700)


def test_a_server_that_costs_nothing_is_believed_when_it_counts():
    assert counted(plain(9, 3), entry(local=True)) == Usage(9, 3)


@pytest.mark.parametrize(
    ("tier", "service"),
    [(None, ""), ("default", ""), ("auto", ""), ("on_demand", ""), ("flex", "flex"), ("priority", "priority")],
)
def test_the_class_of_service_is_the_replys_own(tier: str | None, service: str):
    done, _ = send(chunk({"content": "Hi."}, "stop", usage=plain(9, 3), service_tier=tier))
    assert done.usage == Usage(9, 3, service=service)


def billed_as(asks: Asks, tier: str | None, price: Price) -> tuple[str, str]:
    """Class of service and place of a call that asks for these and is answered so."""
    known = replace(entry(), price=price)
    with Once(streaming(chunk({"content": "Hi."}, "stop", usage=plain(9, 3), service_tier=tier), b"[DONE]")) as once:
        chat = OpenAIChat("desk/m", base_url=once.url, api_key=None, max_output=9, entry=known, asks=asks)
        usage = chat.complete(CallId(1, 1, 1), chat.body([], 9), interrupt=Interrupt(), on_text=lambda _: None).usage
    return usage.service, usage.geo


@pytest.mark.parametrize(
    ("asked", "tier", "service"),
    [
        ("priority", None, "priority"),
        ("priority", "auto", "priority"),
        ("priority", "default", ""),
        ("flex", None, ""),
        ("flex", "flex", "flex"),
        ("flex", "priority", "priority"),
        ("scale", None, "scale"),
    ],
)
def test_a_service_that_was_asked_for_and_is_not_named_is_the_dearer_of_it_and_the_standard(
    asked: str, tier: str | None, service: str
):
    price = entry().price
    services = {"priority": replace(price, output=2_000_000), "flex": replace(price, output=500_000)}
    assert billed_as(Asks(service=asked), tier, replace(price, services=services)) == (service, "")


@pytest.mark.parametrize(("geo", "place"), [("eu", "eu"), ("global", ""), ("", "")])
def test_the_place_is_the_one_asked_for(geo: str, place: str):
    assert billed_as(Asks(geo=geo), "default", replace(entry().price, geo={"eu": 1100})) == ("", place)


CALLS = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "run", "arguments": '{"argv":["r'}}]}


@pytest.mark.parametrize("finish", ["length", "max_tokens", "model_length"])
def test_a_reply_that_hit_its_limit_is_cut(finish: str):
    done, _ = send(chunk(CALLS), chunk({}, finish, usage=plain(9, 3)))
    assert done.reply.cut


def test_the_content_filter_ends_a_reply_without_its_calls():
    done, _ = send(chunk({"content": "Half"}), chunk(CALLS), chunk({}, "content_filter", usage=plain(9, 3)))
    assert (done.reply.ending, done.reply.tool_calls) == ("filtered", ())
    assert done.reply.text.startswith("Half\n")


def test_a_refusal_is_an_ending_of_its_own():
    done, _ = send(chunk({"refusal": "I can"}), chunk({"refusal": "not."}, "stop", usage=plain(9, 3)))
    assert (done.reply.ending, done.reply.text) == ("refused", "I cannot.")


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource"])
def test_a_reply_that_the_server_calls_failed_is_lost(finish: str):
    with pytest.raises(LostError) as caught:
        send(chunk({"content": "Hi."}, finish, usage=plain(9, 3)), headers="x-request-id: req_5\r\n")
    assert (caught.value.cause, caught.value.request_id) == ("server", "req_5")


def test_a_server_that_only_speaks_like_openai_is_told_the_limit_by_the_name_all_know():
    _, body = send(chunk({"content": "Hi."}, "stop", usage=plain(9, 3)))
    asked = json.loads(body)
    assert asked["max_tokens"] == 700
    assert "max_completion_tokens" not in asked
    assert "service_tier" not in asked


def test_only_openai_itself_is_told_which_class_of_service_to_bill():
    def service(url: str | None, asks: Asks) -> object:
        chat = OpenAIChat("openai/m", base_url=url, api_key="k", max_output=9, asks=asks)
        return json.loads(chat.body([], 9)).get("service_tier")

    assert service(None, Asks()) == service(None, Asks(service="standard")) == "default"
    assert service("https://eu.api.openai.com/v1", Asks()) == "default"
    assert service("https://api.openai.com:443/v1", Asks()) == "default"
    assert service("https://elsewhere.example/v1", Asks()) is None
    assert service("https://notapi.openai.com.example/v1", Asks()) is None
    assert service(None, Asks(service="priority")) == "priority"


@pytest.mark.parametrize(
    ("error", "cause", "retryable"),
    [
        ({"message": "m"}, "server", True),
        ({"message": "m", "code": 502}, "server", True),
        ({"message": "m", "code": "rate_limit_exceeded"}, "rate", True),
        ({"message": "m", "type": "insufficient_quota"}, "billing", False),
        ("no", "server", True),
    ],
)
def test_an_error_inside_the_stream_is_lost_and_says_whether_to_try_again(error: object, cause: str, retryable: bool):
    with pytest.raises(LostError) as caught:
        send(chunk({"content": "Hi."}), json.dumps({"error": error}).encode())
    assert (caught.value.cause, caught.value.retryable) == (cause, retryable)


WHOLE_CALL = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "run", "arguments": "{}"}}]}


@pytest.mark.parametrize("shown", ["Let me look – 🙂", ""])
def test_thoughts_that_a_server_shows_go_back_with_the_calls_they_led_to(shown: str):
    done, _ = send(
        chunk({"role": "assistant", "content": "", "reasoning_content": shown}),
        chunk(WHOLE_CALL),
        chunk({}, "tool_calls", usage=plain(9, 3)),
    )
    chat = OpenAIChat("desk/m", base_url="http://unused.invalid/v1", api_key=None, max_output=9)
    sent = json.loads(chat.encode(Answered(done.reply)))
    assert sent["reasoning_content"] == shown
    assert sent["tool_calls"][0]["id"] == "a"
    other = OpenAIChat("desk/other", base_url="http://unused.invalid/v1", api_key=None, max_output=9)
    assert "reasoning_content" not in json.loads(other.encode(Answered(done.reply)))


@pytest.mark.parametrize(
    ("chunks", "finish"),
    [
        ([chunk({"reasoning_content": "Hm."}), chunk({"content": "Done."})], "stop"),
        ([chunk({"reasoning_content": "Hm."}), chunk(CALLS)], "length"),
        ([chunk({"reasoning_content": None}), chunk(WHOLE_CALL)], "tool_calls"),
        ([chunk(WHOLE_CALL)], "tool_calls"),
    ],
)
def test_other_thoughts_are_not_kept(chunks: list[bytes], finish: str):
    done, _ = send(*chunks, chunk({}, finish, usage=plain(9, 3)))
    assert done.reply.opaque == ()


@pytest.mark.parametrize(("provider", "first", "then"), [
    ("compatible", "max_tokens", "max_completion_tokens"),
    ("openai", "max_completion_tokens", "max_tokens"),
])  # fmt: skip
def test_a_server_that_knows_the_limit_by_its_other_name_is_asked_again(provider: str, first: str, then: str):
    def limits(chat: OpenAIChat) -> set[str]:
        return json.loads(chat.body([], 9)).keys() & {first, then}

    def refused_for(param: str) -> tuple[UnbilledError, set[str], set[str]]:
        error = {"message": "m", "type": "invalid_request_error", "param": param, "code": "unsupported_parameter"}
        with Once(refusing(400, {"error": error})) as once:
            chat = OpenAIChat("desk/m", base_url=once.url, api_key=None, max_output=9, provider=provider)
            before = limits(chat)
            with pytest.raises(UnbilledError) as caught:
                chat.complete(CallId(1, 1, 1), chat.body([], 9), interrupt=Interrupt(), on_text=lambda _: None)
            return caught.value, before, limits(chat)

    error, before, after = refused_for(first)
    assert (error.retryable, error.retry_after_s, before, after) == (True, 0.0, {first}, {then})
    error, _, after = refused_for("temperature")
    assert (error.retryable, after) == (False, {first})


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://api.openai.com/v1", ""),
        ("https://API.openai.com:443/v1", ""),
        ("https://eu.api.openai.com/v1", "eu"),
        ("https://u:p@api.openai.com", ""),
        ("https://notapi.openai.com/v1", None),
        ("https://api.openai.com.example/v1", None),
        ("https://elsewhere.example?@api.openai.com/v1", None),
        ("http://[::1/v1", None),
        ("http://127.0.0.1:8080/v1", None),
    ],
)
def test_openais_own_addresses_are_told_from_all_others(url: str, place: str | None):
    assert place_of_openai(url) == place


@pytest.mark.parametrize("provider", ["compatible", "openai"])
def test_what_the_environment_says_to_openai_is_told_to_nobody_else(
    provider: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-0123456789")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-0123456789")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-gateway-secret: 0123456789")
    with Once(streaming(chunk({"content": "Hi."}, "stop", usage=plain(9, 3)))) as once:
        chat = OpenAIChat("desk/m", base_url=once.url, api_key="k", max_output=9, provider=provider)
        chat.complete(CallId(1, 1, 1), chat.body([], 9), interrupt=Interrupt(), on_text=lambda _: None)
    assert b"0123456789" not in once.received[0]
    assert capfd.readouterr() == ("", "")
