"""The commands that go on with a stopped run, with a number each that lets it go on."""

from __future__ import annotations

import shlex
from datetime import datetime

from runner.events.facts import CallRefused
from runner.spec.discover import STDIN_PATH, TEXT_PATH
from runner.state import State
from runner.store.database import Database
from runner.store.ledger import Budget
from runner.store.standing import standing
from runner.values import NANO, Ms, NanoUsd, Period, StopKind, StopReason

_CENT = NANO // 100
_MORE_ITERATIONS = 25
_DAY_MS = 86_400_000


def resume_command(run: str, stop: StopReason, state: State) -> str:
    """The command that goes on with a stopped run, with the flag that raises the limit of its own that stopped it."""
    if stop.rule == "budget.idle":
        # no flag raises it, and the time without progress stays counted
        return loop_command(state)
    raised = stop.kind in {StopKind.BUDGET, StopKind.LIMIT} and not shared_budget(run, stop)
    flag = _flag(stop.rule.partition(" of ")[0], state) if raised else ""
    return f"runner resume {run} {flag}".rstrip()


def loop_command(state: State) -> str:
    """The command that starts another run of the same spec; there is no open run that it could go on with."""
    created = state.created
    if created is None or created.spec_path == STDIN_PATH:
        return "runner loop -"
    if created.spec_path == TEXT_PATH:
        return shlex.join(["runner", "loop", "-p", created.spec_text])
    return shlex.join(["runner", "loop", created.spec_path])


def raise_command(database: Database, run: str, stop: StopReason, state: State) -> str:
    """The command that raises the shared budget that stopped a run; "" when none did, or the call fits it by now."""
    if not shared_budget(run, stop):
        return ""
    name = stop.rule.partition(" of ")[2]
    for one in standing(database, state.at):
        if str(one.budget) == name:
            return _raised(one.budget, _refusal(state))
    return ""


def shared_budget(run: str, stop: StopReason) -> bool:
    """Whether a budget stopped it that other runs share: no flag raises that, `runner budget set` does."""
    return stop.kind is StopKind.BUDGET and not stop.rule.endswith(f"run:{run}")


def _raised(row: Budget, refusal: CallRefused | None) -> str:
    if refusal is not None and (row.room or 0) >= refusal.need:
        return ""
    used = row.spent + row.unknown + row.held
    amount = _dollars(max(2 * (row.limit or 0), used + (refusal.need if refusal else 0)))
    period = "" if row.period is Period.TOTAL else f" --period {row.period}"
    return f"runner budget set {shlex.quote(str(row.scope))} {amount}{period}"


def _refusal(state: State) -> CallRefused | None:
    return state.exhausted or (state.iteration.refused if state.iteration else None)


def _flag(rule: str, state: State) -> str:
    """Twice the old limit, and no less than what is used and needed."""
    limits, money = state.limits, state.money
    refusal = _refusal(state)
    need = refusal.need if refusal else 0
    match rule:
        case "budget.usd":
            used = money.spent + money.unknown + money.held
            return f"--max-cost {_dollars(max(2 * (limits.usd or 0), used + need))}"
        case "budget.tokens":
            return f"--max-tokens {max(2 * (limits.tokens or 0), money.tokens + money.tokens_held + need)}"
        case "budget.calls":
            return f"--max-calls {max(limits.calls or 0, money.calls) * 2}"
        case "budget.iterations":
            return f"--max-iterations {max(limits.iterations or 0, state.iterations) + _MORE_ITERATIONS}"
        case "budget.duration":
            return f"--max-duration {_span(max(limits.duration_s or 0, -(-state.active_ms // 1000)) * 2)}"
        case "budget.deadline":
            return f"--deadline {_moment(max(limits.deadline or 0, state.at) + _DAY_MS)}"
        case _:
            return ""


def _dollars(amount: NanoUsd) -> str:
    """An amount as the flags read it, rounded up to a cent."""
    cents = -(-amount // _CENT)
    return f"{cents // 100}.{cents % 100:02}"


def _span(seconds: int) -> str:
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _moment(at: Ms) -> str:
    return datetime.fromtimestamp(at / 1000).astimezone().isoformat(timespec="minutes")
