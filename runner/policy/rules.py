"""The stop rules, in the order they are asked. Each gives its evidence in words, or None."""

from __future__ import annotations

from runner.events.facts import CallRefused
from runner.policy.model import Policy
from runner.state import Scored, State
from runner.values import Ms, StopKind, StopReason, counted, format_duration, format_left, format_usd


def asked(state: State) -> StopReason | None:
    """Somebody asked for a stop."""
    match state.stop_asked:
        case None:
            return None
        case ask if ask.by == "SIGINT":
            return StopReason(kind=StopKind.INTERRUPTED, rule="interrupt", detail="Ctrl-C")
        case ask if ask.by == "SIGTERM":
            return StopReason(kind=StopKind.TERMINATED, rule="terminate", detail="SIGTERM")
        case ask if ask.by == "new":
            return StopReason(kind=StopKind.ABANDONED, rule="new", detail="a new run was started with --new")
        case ask:
            detail = "runner stop --all" if ask.by == "all" else "runner stop"
            return StopReason(kind=StopKind.OPERATOR, rule="operator", detail=detail)


def bounds(state: State) -> StopReason | None:
    """A call was billed above its hold: the assumptions behind the cap do not hold."""
    if (broken := state.violated) is None:
        return None
    detail = f"{broken.what}: held {format_usd(broken.held)}, billed {format_usd(broken.billed)}"
    return StopReason(kind=StopKind.BOUND_VIOLATED, rule="bound", detail=detail)


def time(state: State, now: Ms) -> StopReason | None:
    """Active time, deadline and idle time."""
    limits = state.limits
    if limits.deadline is not None and now >= limits.deadline:
        return StopReason(kind=StopKind.LIMIT, rule="budget.deadline", detail="the deadline has passed")
    if limits.duration_s is not None and active_ms(state, now) >= limits.duration_s * 1000:
        used, limit = format_duration(active_ms(state, now) // 1000), format_duration(limits.duration_s)
        detail = f"{used} of active time, limit {limit}"
        return StopReason(kind=StopKind.LIMIT, rule="budget.duration", detail=detail)
    if limits.idle_s is not None and active_ms(state, now) - state.progress_ms >= limits.idle_s * 1000:
        detail = f"no reply and no tool result for {format_duration(limits.idle_s)}"
        return StopReason(kind=StopKind.LIMIT, rule="budget.idle", detail=detail)
    return None


def active_ms(state: State, now: Ms) -> int:
    """Active time up to `now`: dead and parked time does not count."""
    return state.active_ms + (max(0, now - state.at) if state.running else 0)


def calls(state: State) -> StopReason | None:
    """The cap on model calls, every attempt counted."""
    limit = state.limits.calls
    if limit is None or state.money.calls < limit:
        return None
    return StopReason(
        kind=StopKind.LIMIT, rule="budget.calls", detail=f"{counted(state.money.calls, 'call')}, limit {limit}"
    )


def iterations(state: State) -> StopReason | None:
    """The cap on iterations."""
    limit = state.limits.iterations
    if limit is None or state.iterations < limit:
        return None
    return StopReason(
        kind=StopKind.LIMIT, rule="budget.iterations", detail=f"{counted(state.iterations, 'iteration')}, limit {limit}"
    )


def budget(refusal: CallRefused) -> StopReason:
    """Say which budget ended and what the next call would have needed."""
    if refusal.unit == "tokens":
        detail = f"the next call needs {refusal.need} tokens, {max(0, refusal.headroom)} are left"
    else:
        detail = f"the next call needs {format_usd(refusal.need)}, {format_left(refusal.headroom)} is left"
    return StopReason(kind=StopKind.BUDGET, rule=f"budget.{refusal.unit} of {refusal.scope}", detail=detail)


def done(state: State, policy: Policy) -> StopReason | None:
    """Completion: score, checklist, protected files and the promise, all of them."""
    if not state.scored:
        return None
    last = state.scored[-1]
    if missing(last, policy):
        return None
    if state.checkpoint is not None and state.checkpoint.number != last.checkpoint:
        return None  # somebody worked here since: what stands here now was never scored
    if policy.has_checks:
        detail = f"score {last.score:.2f}"
        if state.checks is not None and state.checks.self_tested:
            detail += ", self-tested: the agent wrote tests that count"
        return StopReason(kind=StopKind.DONE, rule="completion", detail=detail, verified=True)
    return StopReason(kind=StopKind.DONE, rule="completion", detail="claimed; the spec has no checks", verified=False)


def missing(last: Scored, policy: Policy) -> tuple[str, ...]:
    """What keeps an iteration from being done, in words; empty when nothing does."""
    gaps: list[str] = []
    if policy.has_checks and (last.score is None or last.score < policy.target):
        gaps.append(f"score {last.score or 0.0:.2f} is below the target {policy.target:.2f}")
    if last.unticked:
        gaps.append(f"{counted(len(last.unticked), 'checklist item')} not ticked: {'; '.join(last.unticked[:5])}")
    if last.tampered:
        gaps.append(f"the agent changed protected files: {', '.join(last.tampered[:5])}")
    if last.foreign:
        gaps.append(f"protected files were changed by somebody else: {', '.join(last.foreign[:5])}")
    if (policy.promise is not None or not policy.has_checks) and not last.claimed:
        gaps.append("the agent has not said that it is done")
    return tuple(gaps)


def false_claim(state: State, policy: Policy) -> StopReason | None:
    """Claimed done while the checks say no, where the spec wants to stop at that."""
    judged = state.scored[state.excused :]
    if policy.on_false_claim != "stop" or not judged or not judged[-1].claimed:
        return None
    if not (gaps := missing(state.scored[-1], policy)):
        return None
    return StopReason(kind=StopKind.FALSE_CLAIM, rule="completion.on_false_claim", detail="; ".join(gaps))


def stalled(state: State, policy: Policy) -> StopReason | None:
    """No better score, the same tree, or the same failure, for as many iterations as the spec allows."""
    limit = policy.stall_iterations
    judged = state.scored[max(0, state.excused - 1) :]
    if limit is None or len(judged) <= limit:
        return None
    recent, before = judged[-limit:], judged[:-limit]
    window = judged[-limit - 1 :]
    if len({one.tree for one in window}) == 1:
        return _stall("stall.tree", f"the same tree for {counted(limit, 'iteration')}")
    if recent[0].failures and len({(one.failures, one.score) for one in window}) == 1:
        return _stall("stall.failure", f"the same checks fail for {counted(limit, 'iteration')}{_failing(state)}")
    best = max((one.score for one in before if one.score is not None), default=None)
    if best is not None and not any(_gained(one.score or 0.0, best, policy.min_gain) for one in recent):
        wanted = f"{policy.min_gain:g} above {best:.2f}" if policy.min_gain else f"above {best:.2f}"
        return _stall("stall.score", f"no score {wanted} in {counted(limit, 'iteration')}")
    return None


def _gained(score: float, best: float, least: float) -> bool:
    # a hair less than asked is rounding
    return score > best and score - best > least - 1e-9


def repeating(state: State, policy: Policy) -> StopReason | None:
    """The agent asks again and again for what was refused: the same action, or variants with nothing done between."""
    limit = policy.repeat_limit
    if limit is None or not state.denied:
        return None
    again = max(state.repeats, max(state.denied.values()) - 1)
    if again < limit:
        return None
    by = f" by {state.refused_by}" if state.refused_by else ""
    return _stall("stall.repeats", f"a call that was refused{by} was asked for again {counted(again, 'time')}")


def asked_too_often(state: State, policy: Policy, now: Ms) -> StopReason | None:
    """People were asked more often within an hour than the policy allows: who is asked all the time reads nothing."""
    cap = policy.asks_per_hour
    recent = sum(1 for at in state.asks if at > now - _HOUR_MS)
    if cap is None or recent <= cap:
        return None
    detail = f"{counted(recent, 'question')} within an hour, the policy allows {cap}"
    return StopReason(kind=StopKind.DENIED, rule="approval.fatigue", detail=detail)


_HOUR_MS = 3_600_000


def _failing(state: State) -> str:
    """Which checks fail, by name: the last ones finished are those of the last scored iteration."""
    names = [one.name for one in state.checks.results if one.score < 1.0] if state.checks else []
    return f": {', '.join(names)}" if names else ""


def _stall(rule: str, detail: str) -> StopReason:
    return StopReason(kind=StopKind.STALLED, rule=rule, detail=detail)
