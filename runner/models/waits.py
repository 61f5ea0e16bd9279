"""How long a provider asks to wait, from the headers of its refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_WAIT_S = 86_400.0
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z")
_OPENAI_RESET = re.compile(r"x-ratelimit-reset-([a-z-]+)\Z")
_ANTHROPIC_RESET = re.compile(r"anthropic-ratelimit-([a-z-]+)-reset\Z")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to wait, at most a day; None when it does not say. Names of `headers` are lower case.

    Reads `retry-after-ms`, then `retry-after` (seconds or a date). Without them the resets of those limits of which
    nothing remains: `x-ratelimit-reset-*` (`1m30s`, `250ms` or seconds) and `anthropic-ratelimit-*-reset` (RFC 3339).
    Dates are held against the provider's own `date`, so our clock does not matter.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, _LONGEST_WAIT_S)
    now = _http_date(headers.get("date"))
    if (after := headers.get("retry-after")) is not None:
        seconds = _number(after)
        seconds = _between(now, _http_date(after)) if seconds is None else seconds
        return None if seconds is None else min(seconds, _LONGEST_WAIT_S)
    resets = list(_resets(headers, now))
    return min(max(resets), _LONGEST_WAIT_S) if resets else None


def _resets(headers: Mapping[str, str], now: datetime | None) -> Iterator[float]:
    """Seconds until each limit of which nothing remains is whole again."""
    for name, value in headers.items():
        if found := _OPENAI_RESET.match(name):
            remaining, seconds = f"x-ratelimit-remaining-{found[1]}", _span(value)
        elif found := _ANTHROPIC_RESET.match(name):
            remaining, seconds = f"anthropic-ratelimit-{found[1]}-remaining", _between(now, _iso_date(value))
        else:
            continue
        if seconds is not None and _number(headers.get(remaining, "0")) == 0:
            yield seconds


def _number(text: str | None) -> float | None:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*", text or "")
    return float(found[1]) if found else None


def _between(now: datetime | None, then: datetime | None) -> float | None:
    return None if now is None or then is None else max(0.0, (then - now).total_seconds())


def _http_date(text: str | None) -> datetime | None:
    try:
        return _aware(parsedate_to_datetime(text or ""))
    except (ValueError, TypeError):
        return None


def _iso_date(text: str) -> datetime | None:
    try:
        return _aware(datetime.fromisoformat(text.strip()))
    except ValueError:
        return None


def _aware(found: datetime) -> datetime:
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _span(text: str) -> float | None:
    """Seconds, bare or with units as in `6m0s`."""
    text = text.strip()
    if (seconds := _number(text)) is not None:
        return seconds
    found = _SPAN.match(text)
    if not text or found is None:
        return None
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000
