"""What refusals prove, provider by provider, and how long they ask to wait."""

import itertools
import json
from collections.abc import Mapping

import pytest

from runner.errors import LostError, ModelError, UnbilledError
from runner.models.openai_chat import OpenAIChat
from runner.models.outcomes import CODES, TABLES, outcome, retry_after
from runner.ports import Interrupt, UserText
from runner.values import CallId
from tests.wire.once import Once, refusing

OPENAI = {"error": {"message": "m", "type": "t", "param": None, "code": None}}
ANTHROPIC = {"type": "error", "error": {"type": "t", "message": "m"}, "request_id": "req_body"}
CAUSES = frozenset(
    [
        "rate",
        "overload",
        "connect",
        "auth",
        "billing",
        "model",
        "request",
        "context",
        "size",
        "timeout",
        "dropped",
        "garbled",
        "usage",
        "stopped",
        "server",
    ]
)


def judged(provider: str, status: int, body: object, headers: Mapping[str, str] | None = None) -> ModelError:
    return outcome(provider, status, body, headers or {}, secret="sk-secret")


def said(**fields: object) -> object:
    return {"error": {"message": "m", **fields}}


@pytest.mark.parametrize("provider", TABLES)
def test_every_rule_names_a_known_cause_and_a_source(provider: str):
    rules = TABLES[provider]
    assert len({rule.status for rule in rules}) == len(rules)
    told = [(rule.cause, rule.source) for rule in rules] + [(code.cause, code.source) for code in CODES[provider]]
    for cause, source in told:
        assert cause in CAUSES
        assert source


@pytest.mark.parametrize(
    ("provider", "status"), [(provider, rule.status) for provider in TABLES for rule in TABLES[provider]]
)
def test_a_rule_decides_only_with_the_providers_own_error(provider: str, status: int):
    rule = next(rule for rule in TABLES[provider] if rule.status == status)
    proven = judged(provider, status, ANTHROPIC if provider == "anthropic" else OPENAI)
    assert isinstance(proven, UnbilledError if rule.unbilled else LostError)
    assert (proven.cause, proven.retryable) == (rule.cause, rule.retry)
    bodies: list[object] = [None, {}, [], "no", {"error": {}}, {"error": {"message": 1}}, {"error": {"code": "t"}}]
    for body in bodies:
        assert isinstance(judged(provider, status, body), LostError)


@pytest.mark.parametrize("status", [500, 502, 504, 520, 599, 100, 301, 418, 451])
@pytest.mark.parametrize("provider", TABLES)
def test_no_other_status_proves_anything(provider: str, status: int):
    lost = judged(provider, status, OPENAI)
    assert isinstance(lost, LostError)
    assert lost.retryable == (status >= 500)


@pytest.mark.parametrize(
    ("provider", "status", "fields", "cause", "retryable"),
    [
        ("openai", 429, {"type": "insufficient_quota", "code": "project_spend_limit_exceeded"}, "billing", False),
        ("openai", 429, {"type": "insufficient_quota", "code": "a code of next year"}, "billing", False),
        ("openai", 429, {"type": "tokens", "code": "rate_limit_exceeded"}, "rate", True),
        ("openai", 429, {"code": "slow_down"}, "rate", True),
        ("openai", 400, {"type": "invalid_request_error", "code": "context_length_exceeded"}, "context", False),
        ("openai", 403, {"code": "model_not_found"}, "model", False),
        ("openai", 402, {}, "billing", False),
        ("anthropic", 429, {"type": "rate_limit_error"}, "rate", True),
        (
            "anthropic",
            429,
            {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},
            "billing",
            False,
        ),
        ("anthropic", 402, {"type": "billing_error"}, "billing", False),
        ("anthropic", 413, {"type": "request_too_large"}, "size", False),
        ("anthropic", 529, {"type": "overloaded_error"}, "overload", True),
        ("compatible", 429, {"code": "1113"}, "billing", False),
        ("compatible", 400, {"code": 400, "type": "exceed_context_size_error"}, "context", False),
        ("compatible", 413, {"type": "tokens", "code": "rate_limit_exceeded"}, "size", False),
        ("litellm", 429, {"code": 429, "status": "RESOURCE_EXHAUSTED"}, "rate", True),
        ("litellm", 529, {"type": "overloaded_error"}, "overload", True),
    ],
)
def test_a_code_says_more_than_its_status(
    provider: str, status: int, fields: Mapping[str, object], cause: str, retryable: bool
):
    found = judged(provider, status, said(**fields))
    assert isinstance(found, UnbilledError)
    assert (found.cause, found.retryable) == (cause, retryable)


TELLING = (
    "maximum context length", "insufficient_quota", "overloaded_error", "rate limit", "prompt is too long", "billing", "",
)  # fmt: skip


@pytest.mark.parametrize("provider", TABLES)
def test_the_words_of_a_refusal_decide_nothing(provider: str):
    for status, words in itertools.product(range(400, 600), TELLING):
        told, plain = judged(provider, status, {"error": {"message": words}}), judged(provider, status, OPENAI)
        assert (type(told), told.cause, told.retryable) == (type(plain), plain.cause, plain.retryable)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "model 'x' not found"},
        {"detail": "Not Found"},
        {"object": "error", "message": "no", "type": "NotFoundError", "code": 404},
        [{"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}],
    ],
)
def test_servers_that_say_it_flatly_are_believed_below_500_only(body: object):
    assert isinstance(judged("compatible", 404, body), UnbilledError)
    assert isinstance(judged("litellm", 404, body), UnbilledError)
    flat = not isinstance(body, list)
    assert isinstance(judged("compatible", 503, body), LostError if flat else UnbilledError)
    assert isinstance(judged("openai", 404, body), LostError if flat else UnbilledError)


def test_a_secret_is_never_quoted_and_words_are_kept_short():
    found = judged("openai", 401, said(message="key sk-secret is wrong " + "x" * 900))
    assert "sk-secret" not in str(found)
    assert "[secret]" in found.message
    assert len(found.message) < 400
    assert "OPENAI_API_KEY" in found.hint
    assert "ANTHROPIC_API_KEY" in judged("anthropic", 401, ANTHROPIC).hint


@pytest.mark.parametrize("name", ["x-request-id", "request-id"])
@pytest.mark.parametrize("status", [400, 500])
def test_a_refusal_keeps_the_providers_name_for_it(name: str, status: int):
    assert judged("openai", status, OPENAI, {name: "req_7"}).request_id == "req_7"


def test_whoever_asks_to_wait_is_heard_whatever_it_proves():
    for status, body in itertools.product((429, 500, 503), (None, OPENAI)):
        assert judged("openai", status, body, {"retry-after": "7"}).retry_after_s == 7.0


NOW = {"date": "Sun, 22 Nov 2026 20:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 0.25 "}, 0.25),
        ({"retry-after": "9999999"}, 86_400.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 20:01:30 GMT", **NOW}, 90.0),
        ({"retry-after": "Sun, 22 Nov 2026 19:00:00 GMT", **NOW}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 20:01:30 GMT"}, None),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-tokens": "250ms", "x-ratelimit-remaining-tokens": "0"}, 0.25),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "12"}, None),
        ({"x-ratelimit-reset-tokens": "2h", "x-ratelimit-reset-requests": "1s"}, 7200.0),
        ({"x-ratelimit-reset-tokens-minute": "33.5", "x-ratelimit-remaining-tokens-minute": "0"}, 33.5),
        ({"x-ratelimit-reset-requests": "later"}, None),
        ({"x-ratelimit-reset-requests": ""}, None),
        ({"anthropic-ratelimit-input-tokens-reset": "2026-11-22T20:00:42Z", **NOW}, 42.0),
        (
            {
                "anthropic-ratelimit-requests-reset": "2026-11-22T20:05:00Z",
                "anthropic-ratelimit-requests-remaining": "7",
                "anthropic-ratelimit-output-tokens-reset": "2026-11-22T21:01:00+01:00",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                **NOW,
            },
            60.0,
        ),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-22T20:00:42Z"}, None),
        ({"anthropic-ratelimit-tokens-reset": "tomorrow", **NOW}, None),
        ({"retry-after": "5", "anthropic-ratelimit-tokens-reset": "2026-11-22T20:00:42Z", **NOW}, 5.0),
    ],
)
def test_the_wait_is_the_providers_by_its_own_clock(headers: Mapping[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


def test_a_refusal_says_when_to_come_back_whatever_the_case_of_its_headers():
    headers = {"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "3s", "X-Request-Id": "req_9"}
    with Once(refusing(429, OPENAI, headers)) as once:
        chat = OpenAIChat("openai/m", base_url=once.url, api_key="k", max_output=9, timeout_s=20, idle_s=10)
        with pytest.raises(UnbilledError) as caught:
            chat.complete(
                CallId(1, 1, 1), chat.body([chat.encode(UserText("Hi."))], 9), interrupt=Interrupt(), on_text=print
            )
    assert (caught.value.retry_after_s, caught.value.request_id, caught.value.cause) == (3.0, "req_9", "rate")
    assert json.loads(once.received[0].partition(b"\r\n\r\n")[2])["max_completion_tokens"] == 9
