"""What a Chat Completions provider's refusal proves about the bill. Reads structured fields only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import cast

from runner.errors import LostError, ModelError, UnbilledError

# Statuses that, with the provider's own JSON error in the body, say nothing was generated and nothing is billed;
# and whether another attempt can succeed. Source: OpenAI, "Error codes" and "Rate limits" of the API guides
# (authentication, permission, invalid request, rate limit, overload: all before generation). 529 is "overloaded"
# at providers that copied Anthropic's statuses. Every other status, 500 above all, may follow generation.
UNBILLED: Mapping[int, bool] = {
    400: False,
    401: False,
    403: False,
    404: False,
    413: False,
    422: False,
    429: True,
    503: True,
    529: True,
}

# 429 codes that waiting does not cure. Source: as above, "You exceeded your current quota".
_NO_USE_WAITING = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})

_RETRYABLE_LOST = frozenset({408, 409, 425})
_MESSAGE_LENGTH = 300
_LONGEST_WAIT_S = 86_400.0
_RESET = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z")

_HINTS: Mapping[int, str] = {
    401: "Check OPENAI_API_KEY, and that it belongs to the server at OPENAI_BASE_URL.",
    403: "The key may not use this model or this server.",
    404: "Check the model's name and the base URL (it usually ends in /v1).",
}


def as_map(value: object) -> Mapping[str, object]:
    """A JSON object, or an empty one for anything else."""
    # JSON makes every key a str
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def refusal(status: int, body: object, headers: Mapping[str, str], *, secret: str) -> ModelError:
    """The error for an HTTP status outside 2xx; `body` is its parsed JSON, None when it had none.

    Nothing of the request, and never `secret`, is in the message.
    """
    error = as_map(as_map(body).get("error"))
    message, code = error.get("message"), error.get("code") or error.get("type")
    if status not in UNBILLED or not isinstance(message, str):
        return LostError(
            f"the provider answered with HTTP status {status} and no proof that nothing was billed",
            retryable=status >= 500 or status in _RETRYABLE_LOST,
            hint=_HINTS.get(status, "The call's hold is kept."),
        )
    said = f"{code}: {message}" if isinstance(code, str) else message
    if secret:
        said = said.replace(secret, "[secret]")
    return UnbilledError(
        f"the provider refused with HTTP status {status}, {said[:_MESSAGE_LENGTH]}",
        retryable=UNBILLED[status] and code not in _NO_USE_WAITING,
        retry_after_s=retry_after(headers),
        hint=_HINTS.get(status, ""),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to wait, at most a day. Names of `headers` are lower case.

    Reads `retry-after-ms`, `retry-after` (seconds or a date) and, without them, of `x-ratelimit-reset-*` those
    whose `x-ratelimit-remaining-*` is 0.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, _LONGEST_WAIT_S)
    if (after := headers.get("retry-after")) is not None:
        seconds = _number(after)
        seconds = _until(after, headers.get("date")) if seconds is None else seconds
        return None if seconds is None else min(seconds, _LONGEST_WAIT_S)
    resets = [
        seconds
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "0") == "0"
        and (seconds := _reset(headers.get(f"x-ratelimit-reset-{kind}"))) is not None
    ]
    return min(max(resets), _LONGEST_WAIT_S) if resets else None


def _number(text: str | None) -> float | None:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*", text or "")
    return float(found[1]) if found else None


def _until(text: str, now: str | None) -> float | None:
    """Seconds from one HTTP date to another: the provider's own clock, so ours does not matter."""
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(now or "")).total_seconds())
    except (ValueError, TypeError):
        return None


def _reset(text: str | None) -> float | None:
    found = _RESET.match((text or "").strip())
    if not text or found is None:
        return None
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000
