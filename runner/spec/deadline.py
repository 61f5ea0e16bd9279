"""Wall-clock deadlines: `07:00`, `2026-03-01`, `2026-03-01 07:00`, `2026-03-01T07:00:00+01:00`."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, tzinfo

from runner.values import Ms

_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?\Z", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def deadline_at(text: str, *, now: Ms, zone: tzinfo | None = None) -> Ms:
    """When `text` is next true, in milliseconds since the epoch; raise ValueError when it is no time.

    A time of day is the next one after `now`. Times without an offset are in `zone`, by default this machine's.
    """
    text = text.strip()
    if found := _TIME.match(text):
        hour, minute, second = (int(part or 0) for part in found.groups())
        today = datetime.fromtimestamp(now / 1000, tz=zone).date()
        # two days on for the night in which a clock change swallows the hour
        for day in range(3):
            at = _ms(datetime.combine(today + timedelta(days=day), time(hour, minute, second)), zone)
            if at > now:
                return at
    try:
        if not _DATE.match(text):
            raise ValueError
        return _ms(datetime.fromisoformat(text), zone)
    except (ValueError, OverflowError, OSError):
        msg = f"not a time: {text[:40]!r} (write 07:00 or 2030-01-31T07:00)"
        raise ValueError(msg) from None


def _ms(moment: datetime, zone: tzinfo | None) -> Ms:
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.timestamp() * 1000)
