"""What `--json` and listings say of a run: documented fields, computed from its state."""

from __future__ import annotations

import msgspec

from runner.state import State


def status(state: State) -> str:
    """`running`, `open` (goes on with the next loop) or `ended`; whether a driver lives is seen at its lease."""
    if state.stopped is None:
        return "running"
    return "open" if state.stopped.is_open else "ended"


def summary(state: State) -> dict[str, object]:
    """A run in documented fields. Money is nano-USD; `limit_nano_usd` null is unlimited; `score` is the last one."""
    created, stop, best, money = state.created, state.stopped, state.best, state.money
    last = state.scored[-1] if state.scored else None
    return {
        "run": created.run if created else "",
        "spec": created.spec_path if created else "",
        "workspace": created.workspace if created else "",
        "model": state.model,
        "status": status(state),
        "stop_reason": str(stop.kind) if stop else None,
        "stop_rule": stop.rule if stop else None,
        "stop_detail": stop.detail if stop else None,
        "resume_at_ms": stop.resume_at if stop else None,
        "exit_code": stop.exit_code if stop else None,
        "verified": stop.verified if stop else False,
        "score": last.score if last else None,
        "best_score": best.score if best else None,
        "best_checkpoint": best.checkpoint if best else None,
        "iterations": state.iterations,
        "steps": state.steps,
        "calls": money.calls,
        "tokens": money.tokens,
        "spent_nano_usd": money.spent,
        "unknown_nano_usd": money.unknown,
        "held_nano_usd": money.held,
        "limit_nano_usd": state.limits.usd,
        "billing": {
            "metered_calls": money.calls - money.local_calls - money.unmetered_calls,
            "local_calls": money.local_calls,
            "local_tokens": money.local_tokens,
            "unmetered_calls": money.unmetered_calls,
        },
        "overhead": {
            "iterations": state.overhead.calls,
            "tokens": state.overhead.tokens,
            "cost_nano_usd": state.overhead.cost,
        },
        "active_seconds": state.active_ms // 1000,
        "checkpoint": state.checkpoint.number if state.checkpoint else None,
        "updated_at_ms": state.at,
    }


def encoded(state: State) -> str:
    """The summary as it is stored beside the run."""
    return msgspec.json.encode(summary(state)).decode()
