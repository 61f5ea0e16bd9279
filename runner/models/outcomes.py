"""What a provider's refusal proves about the bill, a table for each. Reads structured fields only, never a message.

A refusal is unbilled when its status is in the provider's table and its body is the provider's own error: then it was
refused before anything was generated. Every other answer, 500 above all, may follow generation, and keeps its hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runner.errors import LostError, ModelError, UnbilledError
from runner.models.fields import as_list, as_map
from runner.models.waits import retry_after

__all__ = ["CODES", "TABLES", "Code", "Rule", "cause_of", "outcome", "retry_after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an HTTP status says of a request: `unbilled` with the provider's own error in the body, else unknown.

    `retry` says whether another attempt can succeed, `cause` is ModelError's, `source` where the provider says so.
    """

    status: int
    unbilled: bool
    retry: bool
    cause: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code or type inside an error that says more than the status it comes with."""

    code: str
    retry: bool
    cause: str
    source: str


def _codes(source: str, cause: str, *codes: str, retry: bool = False) -> tuple[Code, ...]:
    return tuple(Code(code=code, retry=retry, cause=cause, source=source) for code in codes)


_OPENAI = "OpenAI API guides, 'Error codes' and 'Rate limits'"
_ANTHROPIC = "Anthropic API reference, 'Errors' and 'Rate limits'"
_COMPATIBLE = "error pages of OpenRouter, DeepSeek, Together and Z.ai"

_REFUSED = (
    (400, False, "request"),
    (401, False, "auth"),
    (402, False, "billing"),
    (403, False, "auth"),
    (404, False, "model"),
    (413, False, "size"),
    (422, False, "request"),
    (429, True, "rate"),
    (503, True, "overload"),
    (529, True, "overload"),
)
_UNKNOWN = (
    (408, True, "timeout"),
    (409, True, "server"),
    (425, True, "server"),
    (500, True, "server"),
    (502, True, "server"),
    (504, True, "timeout"),
)


def _table(source: str, *documented: int) -> tuple[Rule, ...]:
    """The rules of a provider whose own pages, `source`, name the statuses that are `documented`."""

    def where(status: int) -> str:
        if status in documented:
            return source
        if status == 529:
            return "Anthropic's 'overloaded', which others copied"
        return "RFC 9110: the server did not take the request on"

    refused = (
        Rule(status=status, unbilled=True, retry=retry, cause=cause, source=where(status))
        for status, retry, cause in _REFUSED
    )
    unknown = (
        Rule(status=status, unbilled=False, retry=retry, cause=cause, source="nobody says that it is free")
        for status, retry, cause in _UNKNOWN
    )
    return (*refused, *unknown)


TABLES: Mapping[str, tuple[Rule, ...]] = {
    "openai": _table(_OPENAI, 401, 403, 429, 503),
    "anthropic": _table(_ANTHROPIC, 400, 401, 402, 403, 404, 413, 429, 529),
    "compatible": _table(_COMPATIBLE, 400, 401, 402, 403, 404, 422, 429, 503),
    "litellm": _table("the provider's own status, which litellm's errors carry", *(rule[0] for rule in _REFUSED)),
}
"""Rules by provider. `compatible` is any other server that speaks OpenAI's dialects."""

_OPENAI_CODES = (
    *_codes(
        _OPENAI,
        "billing",
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ),
    *_codes(_OPENAI, "context", "context_length_exceeded"),
    *_codes(_OPENAI, "model", "model_not_found"),
    *_codes(_OPENAI, "auth", "invalid_api_key", "account_deactivated"),
    *_codes(_OPENAI, "overload", "server_is_overloaded", retry=True),
    *_codes(_OPENAI, "rate", "rate_limit_exceeded", "rate_limit_error", "slow_down", retry=True),
    *_codes("openai SDK, ResponseError", "request", "invalid_prompt", "bio_policy", "data_residency_mismatch"),
)
_ANTHROPIC_CODES = (
    *_codes(
        _ANTHROPIC,
        "billing",
        "billing_error",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
    ),
    *_codes(_ANTHROPIC, "size", "request_too_large", "request_body_too_large_after_decoding"),
    *_codes(_ANTHROPIC, "auth", "authentication_error", "permission_error"),
    *_codes(_ANTHROPIC, "model", "not_found_error"),
    *_codes(_ANTHROPIC, "overload", "overloaded_error", retry=True),
)
_COMPATIBLE_CODES = (
    *_OPENAI_CODES,
    *_codes("Z.ai API reference, 'Error codes'", "billing", "1113"),
    *_codes("Z.ai API reference, 'Error codes'", "auth", "1110", "1111", "1112", "1121"),
    *_codes("Z.ai API reference, 'Error codes'", "model", "1211"),
    *_codes("Z.ai API reference, 'Error codes'", "context", "1261"),
    *_codes("llama.cpp server, error types", "context", "exceed_context_size_error"),
)

CODES: Mapping[str, tuple[Code, ...]] = {
    "openai": _OPENAI_CODES,
    "anthropic": _ANTHROPIC_CODES,
    "compatible": _COMPATIBLE_CODES,
    "litellm": (*_COMPATIBLE_CODES, *_ANTHROPIC_CODES),
}
"""Codes by provider; the first that an error names decides over its status."""

_BY_STATUS = {provider: {rule.status: rule for rule in rules} for provider, rules in TABLES.items()}
_BY_CODE = {provider: {one.code: one for one in codes} for provider, codes in CODES.items()}
_HINTS: Mapping[tuple[str, int], str] = {
    ("openai", 401): "Check OPENAI_API_KEY, and that it belongs to the server at OPENAI_BASE_URL.",
    ("openai", 403): "The key may not use this model or this server.",
    ("openai", 404): "Check the model's name and the base URL (it usually ends in /v1).",
    ("anthropic", 401): "Check ANTHROPIC_API_KEY, and that it belongs to the server at ANTHROPIC_BASE_URL.",
    ("anthropic", 403): "The key may not use this model.",
    ("anthropic", 404): "Check the model's name and the base URL (it ends before /v1).",
    ("compatible", 401): "Check the server's key: the variable that `key` names in your config.",
    ("compatible", 403): "The key may not use this model or this server.",
    ("compatible", 404): "Check the model's name and the server's `base_url` (it usually ends in /v1).",
    ("litellm", 401): "Check the provider's key.",
    ("litellm", 404): "Check the model's name.",
}
_MESSAGE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class _Problem:
    """A provider's own error: the codes it names, the most telling first, and its words for people."""

    codes: tuple[str, ...]
    message: str


def outcome(provider: str, status: int, body: object, headers: Mapping[str, str], *, secret: str) -> ModelError:
    """The error for an HTTP status outside 2xx; `body` is its parsed JSON, None when it had none.

    `provider` is a key of TABLES, names of `headers` are lower case. UnbilledError where the table and the body prove
    it, else LostError. Nothing of the request, and never `secret`, is in the message.
    """
    rule = _BY_STATUS[provider].get(status)
    problem = _problem(provider, status, body)
    request_id = headers.get("x-request-id") or headers.get("request-id") or ""
    hint = _HINTS.get((provider, status), "")
    if rule is None or not rule.unbilled or problem is None:
        return LostError(
            f"the provider answered with HTTP status {status} and no proof that nothing was billed",
            retryable=status >= 500 or (rule is not None and rule.retry and not rule.unbilled),
            retry_after_s=retry_after(headers),
            hint=hint or "The call's hold is kept.",
            cause=rule.cause if rule is not None else "server" if status >= 500 else "request",
            request_id=request_id,
        )
    known = _BY_CODE[provider]
    code = next((known[one] for one in problem.codes if one in known), None)
    if code is not None and code.retry and not rule.retry:
        code = None  # what waiting does not cure by its status, no code cures: Groq's 413 says `rate_limit_exceeded`
    said = ": ".join((*problem.codes[:1], problem.message))
    if secret:
        said = said.replace(secret, "[secret]")
    return UnbilledError(
        f"the provider refused with HTTP status {status}, {said[:_MESSAGE_LENGTH]}",
        retryable=rule.retry if code is None else code.retry,
        retry_after_s=retry_after(headers),
        hint=hint,
        cause=rule.cause if code is None else code.cause,
        request_id=request_id,
    )


def cause_of(provider: str, code: str) -> str:
    """The cause that a code inside a stream names; `server` for one that says no more than that it failed."""
    known = _BY_CODE[provider].get(code)
    return known.cause if known is not None else "server"


def _problem(provider: str, status: int, body: object) -> _Problem | None:
    """The provider's own error in a body; None when it holds none, so that anybody may have written it."""
    top = as_map(body)
    if not top and (listed := as_list(body)):
        top = as_map(listed[0])  # Gemini's own streams
    error = as_map(top.get("error"))
    if isinstance(error.get("message"), str):
        return _read(error)
    # servers that say it flatly; a gateway in front of one does too, so that only a refusal of the request counts
    if provider in {"compatible", "litellm"} and 400 <= status < 500:
        for words in (top.get("error"), top.get("message"), top.get("detail")):
            if isinstance(words, str) and words:
                return _read({**top, "message": words})
    return None


def _read(error: Mapping[str, object]) -> _Problem:
    details = as_map(error.get("details"))
    named = (details.get("error_code"), error.get("code"), error.get("type"), error.get("status"))
    codes = tuple(str(one) for one in named if isinstance(one, str | int) and not isinstance(one, bool) and one)
    return _Problem(codes, str(error["message"]))
