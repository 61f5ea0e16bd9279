"""One model of the price book: what it costs, how large it is, and how far its price is to be trusted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal, TypeAlias

from runner.pricing.cost import Price
from runner.values import Billing, Ms

Age: TypeAlias = Literal["fresh", "old", "stale"]

OLD_DAYS = 60
STALE_DAYS = 180
STALE_HOLD_PERCENT = 125

_DAY_MS = 86_400_000
_LIST_PRICE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model's list price and sizes.

    `max_output` and `context` are tokens. `allowance` is how many input tokens the provider may add to a request by
    itself, `tools_allowance` and `thinking_allowance` how many more with tools and with thinking. `as_of` is the day
    the price was true, `source` where it was read. `api` is `chat` or `responses`. `count` says what the server's own
    count of input holds: `all`, `fresh` (without what was cached) or `untrusted`. `tokenizer` is `bytes`, or
    `normalises` where a byte may become several tokens. `image` is the most tokens an image costs (None: not bounded,
    so refused). `thinking` is "", `budget`, `adaptive` or `always`. `multiplier` is the contract's, in millionths; it
    lowers holds as well only with `multiplier_on_holds`. `local` is a server of one's own, priced at nothing on
    purpose.
    """

    name: str
    price: Price
    max_output: int
    context: int
    as_of: date
    source: str
    allowance: int = 0
    tools_allowance: int = 0
    thinking_allowance: int = 0
    api: str = "chat"
    count: str = "all"
    tokenizer: str = "bytes"
    image: int | None = None
    thinking: str = ""
    multiplier: int = _LIST_PRICE
    multiplier_on_holds: bool = False
    local: bool = False

    @property
    def billing(self) -> Billing:
        return Billing.LOCAL if self.local else Billing.METERED

    @property
    def hold_multiplier(self) -> int:
        """What holds are made with, in millionths: never less than the list price unless the user asked for it."""
        return self.multiplier if self.multiplier_on_holds else max(_LIST_PRICE, self.multiplier)


def staleness(entry: Entry, now: Ms) -> Age:
    """How far to trust a price: `old` (over 60 days) deserves a warning, `stale` (over 180) a larger hold."""
    since = datetime(entry.as_of.year, entry.as_of.month, entry.as_of.day, tzinfo=UTC)
    days = (now - int(since.timestamp()) * 1000) // _DAY_MS
    if days > STALE_DAYS:
        return "stale"
    return "old" if days > OLD_DAYS else "fresh"


def hold_percent(entry: Entry, now: Ms) -> int:
    """What share of the price to hold, in percent: 100, or 125 when the price is stale."""
    return STALE_HOLD_PERCENT if staleness(entry, now) == "stale" else 100


def stanza(name: str) -> str:
    """The TOML a user completes to give a model a price."""
    return "\n".join(
        (
            f"[models.{json.dumps(name)}]",
            'input = "…"          # USD per million input tokens (a server of your own: "0", and local = true)',
            'output = "…"         # USD per million output tokens',
            'cache_write = "…"    # USD per million written to its cache (left out: 1.25 x input)',
            "context = 200000     # tokens",
            "max_output = 16384   # tokens",
            "as_of = 2026-01-31   # the day you looked the price up",
        )
    )
