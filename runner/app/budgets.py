"""Budgets beyond one run: what is set for a project, a user or a model, and what is left of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runner.app import identity
from runner.app.clock import SystemClock
from runner.app.drive import Access
from runner.config import Settings
from runner.errors import ConfigError
from runner.store import ledger
from runner.store.ledger import Beside, Budget
from runner.values import Ms, NanoUsd, Period, Scope, ScopeKind, format_left, format_usd, parse_usd
from runner.workspace.shadow import ShadowWorkspace

NOTHING_BESIDE = Beside()
_NAMED = {ScopeKind.PROJECT, ScopeKind.USER, ScopeKind.MODEL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One budget now. `ours` says that it is of this project or this user; `zone` where its periods begin.

    `beside` counts the calls that are in none of its sums.
    """

    budget: Budget
    zone: str
    ours: bool
    beside: Beside

    def document(self) -> Mapping[str, object]:
        """The budget in documented fields, money in nano-USD; null is unlimited."""
        one = self.budget
        return {
            "scope": str(one.scope),
            "period": str(one.period),
            "bucket": one.bucket,
            "zone": self.zone,
            "limit_nano_usd": one.limit,
            "spent_nano_usd": one.spent,
            "unknown_nano_usd": one.unknown,
            "held_nano_usd": one.held,
            "overrun_nano_usd": one.overrun,
            "headroom_nano_usd": one.room,
            "local_calls": self.beside.local,
            "unmetered_calls": self.beside.unmetered,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A limit that was set: how it was, how it is, and until when a period lasts (None: it has no end)."""

    before: NanoUsd | None
    now: Budget
    zone: str
    ends: str | None
    beside: Beside


def lines(access: Access, ours: tuple[Scope, ...]) -> list[Line]:
    """Every scope's budgets as they are now: ours first, then what is limited, then the rest by name."""
    at = SystemClock().now()
    with access.database.transaction(durable=False) as tx:
        limits = ledger.limits(tx)
        rows = ledger.budgets(tx, sorted(ledger.named(tx) | set(ours), key=str), at)
        beside = ledger.beside(tx.execute(ledger.BESIDE))
    found = [
        Line(
            budget=row,
            zone=limits[row.scope, row.period].zone if (row.scope, row.period) in limits else "UTC",
            ours=row.scope in ours,
            beside=beside.get(row.id, NOTHING_BESIDE),
        )
        for row in rows
    ]
    order = list(Period)
    return sorted(
        found,
        key=lambda one: (
            not one.ours, one.budget.limit is None, str(one.budget.scope), order.index(one.budget.period)
        ),
    )  # fmt: skip


def scope(text: str, settings: Settings, access: Access, cwd: Path) -> Scope:
    """The scope a person wrote: `project`, `user`, `project:NAME`, `user:NAME` or `model:NAME`. Raises ConfigError."""
    kind, colon, name = text.partition(":")
    if kind not in _NAMED or (colon and not name.strip()) or (not colon and kind == ScopeKind.MODEL):
        raise ConfigError(
            f"no such scope: {text!r}",
            hint="project (of this directory), user (you), project:NAME, user:NAME, model:NAME; see runner budget show",
        )
    if colon:
        return Scope(ScopeKind(kind), name.strip())
    return own(settings, access, cwd)[0 if kind == ScopeKind.PROJECT else 1]


def own(settings: Settings, access: Access, cwd: Path) -> tuple[Scope, Scope]:
    """The project of a directory and the user of this process."""
    workspace = ShadowWorkspace(cwd, access.state.root)
    project = identity.project(workspace, settings.project.value)
    return Scope(ScopeKind.PROJECT, project), Scope(ScopeKind.USER, identity.user())


def amount(text: str) -> NanoUsd | None:
    """An amount of USD as written; `none` takes the limit away. Raises ConfigError."""
    if text.strip().lower() == "none":
        return None
    try:
        return parse_usd(text)
    except ValueError as error:
        raise ConfigError(str(error), hint="e.g. 20, 0.50, or none for no limit; 0 allows nothing") from None


def set_limit(access: Access, scope: Scope, limit: NanoUsd | None, *, period: Period, zone: str | None) -> Changed:
    """Give a scope a limit from now on; every run feels it at its next call. Raises ConfigError for a bad zone."""
    if zone is not None and period is Period.TOTAL:
        raise ConfigError("--zone says when a period begins, and a total has none", hint="add --period day")
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"no such time zone: {zone!r}", hint="e.g. Europe/Berlin, America/New_York, UTC") from None
    at = SystemClock().now()
    with access.database.transaction(durable=True) as tx:
        before = ledger.limits(tx).get((scope, period))
        # a limit that only changes its amount keeps its time zone
        where = zone or (before.zone if before else "UTC")
        now = ledger.set_limit(tx, scope, period, limit, zone=where, at=at)
        beside = ledger.beside(tx.execute(ledger.BESIDE)).get(now.id, NOTHING_BESIDE)
    return Changed(
        before=before.amount if before else None, now=now, zone=where, ends=_end(period, at, where), beside=beside
    )


def _end(period: Period, at: Ms, zone: str) -> str | None:
    today = dt.datetime.fromtimestamp(at / 1000, tz=ZoneInfo(zone)).date()
    if period is Period.TOTAL:
        return None
    if period is Period.MONTH:
        last = (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    else:
        last = today + dt.timedelta(days=1 if period is Period.DAY else 7 - today.weekday())
    return f"{last} 00:00 {zone}"


def told(changed: Changed) -> list[str]:
    """What a person must know of a limit that was set."""
    now = changed.now
    each = "in total" if now.period is Period.TOTAL else f"per {now.period}"
    texts = [f"{now.scope} {each}: {format_usd(now.limit)} (was {format_usd(changed.before)})"]
    if now.limit is None:
        return texts
    used = now.spent + now.unknown + now.held
    texts.append(f"  used {format_usd(used)}, headroom {format_left(now.room or 0)}")
    if now.overrun:
        until = "" if changed.ends is None else f", or the {now.period} ends ({changed.ends})"
        # a bill above what was held closes a budget that is not used up
        billed = now.limit >= used
        what = "were billed above what was held" if billed else "above it"
        needs = "it is raised" if billed else f"the limit is above {format_usd(used)} by what the call may cost"
        texts.append(f"  already {format_usd(now.overrun)} {what}: admits no call until {needs}{until}")
    elif changed.ends is not None:
        texts.append(f"  this {now.period} ends {changed.ends}")
    return texts
