"""Sums of money in words, with what no sum can hold beside them: local calls cost nothing, unmetered ones nobody knows.

Calls of different billing are never added together.
"""

from __future__ import annotations

from runner.state import Money
from runner.values import NanoUsd, counted, format_usd


def apart(local: int, unmetered: int) -> str:
    """The calls that are in no sum: ` · 34 calls local · 2 calls unmetered`; "" without any."""
    kinds = ((local, "local"), (unmetered, "unmetered"))
    return "".join(f" · {counted(calls, 'call')} {kind}" for calls, kind in kinds if calls)


def spent(money: Money, limit: NanoUsd | None = None, *, of: bool = False) -> str:
    """What a run has spent: `$1.2000`, and beside other calls `$1.2000 metered · 34 calls local`; `of` its limit."""
    most = f" of {format_usd(limit)}" if of else ""
    beside = apart(money.local_calls, money.unmetered_calls)
    return f"{format_usd(money.spent)}{most}{f' metered{beside}' if beside else ''}"
