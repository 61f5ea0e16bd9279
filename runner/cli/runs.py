"""`runner runs` and `runner show`: what ran, what it cost, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.app.look import Picture, Round

Run = Annotated[str, typer.Argument(help="A run's id, the beginning or end of one, or `last`.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("runs")(runs)
    app.command("show")(show)


def runs(
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the newest N.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, see docs/reference/json.md.")] = False,
) -> None:
    """List what ran: how it stands, what it reached and cost.

    The newest comes first.

    Example:
      runner runs --limit 5
    """
    import os
    from itertools import islice

    from runner.app.clock import SystemClock
    from runner.app.look import listed, look, state_of
    from runner.cli.output import document, say, table

    found = look(os.environ)
    every = [] if found is None else list(islice(listed(found), limit))
    if as_json:
        document(every)
    elif not every:
        say(f"nothing was run yet (state directory: {state_of(os.environ).root})", "start with: runner loop SPEC")
    else:
        now = SystemClock().now()
        head = ("RUN", "STATUS", "SCORE", "ITERATIONS", "SPENT", "AGE", "SPEC", "STOPPED BY")
        table(head, (_row(one, now) for one in every), right=frozenset({2, 3, 4, 5}))


def _row(run: Mapping[str, object], now: int) -> tuple[str, ...]:
    from runner.cli.output import age

    return (
        str(run["run"]),
        standing(run),
        "-" if run["score"] is None else f"{float(str(run['score'])):.2f}",
        str(run["iterations"]),
        _spent(run),
        age(now - _whole(run["created_at_ms"])),
        _short_path(str(run["spec"])),
        "" if run["stop_rule"] is None else str(run["stop_rule"]),
    )


def standing(run: Mapping[str, object]) -> str:
    """How a run stands: `running (pid 12)`, `open (crashed)`, `done`, `done, not verified` or `ended (stalled)`."""
    reason = run["stop_reason"]
    match run["status"]:
        case "running":
            return f"running (pid {run['driver']})" if run["driver"] else "running"
        case "open":
            return f"open ({reason or 'crashed'})"
        case _:
            if reason != "done":
                return f"ended ({reason})"
            return "done" if run["verified"] else "done, not verified"


def _spent(run: Mapping[str, object]) -> str:
    from runner.values import format_usd

    unknown = _whole(run["unknown_nano_usd"])
    more = f" + {format_usd(unknown)} unknown" if unknown else ""
    return format_usd(_whole(run["spent_nano_usd"])) + more


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _short_path(path: str) -> str:
    import os

    try:
        here = os.getcwd()  # noqa: PTH109  a text is shortened, no path is looked at
    except OSError:
        return path  # the directory is gone, and its runs are listed all the same
    return path.removeprefix(here + os.sep)


def show(
    run: Run = "last",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see docs/reference/json.md.")] = False,
) -> None:
    """Show one run whole: limits, money, checks, what is next.

    Each iteration has a line; what keeps the run from being done is named, and the command that goes on.

    Example:
      runner show last
    """
    import os

    from runner.app.look import document as documented
    from runner.app.look import look_or_refuse, picture
    from runner.cli.output import document, say

    found = picture(look_or_refuse(os.environ), run)
    if as_json:
        document(documented(found))
    else:
        say(*_whole_picture(found))


def _whole_picture(found: Picture) -> Iterator[str]:
    from runner.app.look import gaps, next_command, with_driver
    from runner.cli.output import age, when
    from runner.store.summary import summary

    state, created = found.state, found.state.created
    run = with_driver(summary(state), found.row, found.driver)
    detail = f" — {state.stopped.rule}: {state.stopped.detail}" if state.stopped and state.stopped.detail else ""
    yield f"run         {found.run}   {standing(run)}{detail}"
    if created is not None:
        yield f"spec        {created.spec_path}"
        yield f"workspace   {found.workspace}{f' (a copy of {created.origin})' if created.worktree else ''}"
        yield f"model       {created.model} (prices as of {created.prices_as_of or 'unknown'})"
        began = f"began       {when(found.row.created_at)}"
        yield f"{began}, last event {when(state.at)}, active {age(state.active_ms)}"
    yield from _money(found)
    yield from _iterations(found.rounds)
    yield from _verdict(found)
    if missing := gaps(found):
        yield "missing     " + "\n            ".join(missing)
    if (last := state.checkpoint) is not None:
        yield f"checkpoint  {last.number} ({last.reason}), of {len(found.points)}"
    for text in found.warnings:
        yield f"note        {text}"
    yield f"next        {next_command(found)}"


def _money(found: Picture) -> Iterator[str]:
    from runner.cli.output import age, when
    from runner.values import format_usd

    state = found.state
    money, limits, sources = state.money, state.limits, state.limit_sources
    yield (
        f"money       spent {format_usd(money.spent)}, unknown {format_usd(money.unknown)},"
        f" held {format_usd(money.held)}, limit {format_usd(limits.usd)} ({sources.get('usd', 'built-in')})"
    )
    used = (("tokens", money.tokens), ("calls", money.calls), ("iterations", state.iterations))
    stated: dict[str, int | None] = {
        "tokens": limits.tokens, "calls": limits.calls, "iterations": limits.iterations
    }  # fmt: skip
    words = [
        f"{name} {count} of {'unlimited' if stated[name] is None else stated[name]} ({sources.get(name, 'built-in')})"
        for name, count in used
    ]
    if limits.duration_s is not None:
        source = sources.get("duration_s", "built-in")
        words.append(f"active time {age(state.active_ms)} of {age(limits.duration_s * 1000)} ({source})")
    if limits.deadline is not None:
        words.append(f"deadline {when(limits.deadline)} ({sources.get('deadline', 'built-in')})")
    yield "limits      " + "\n            ".join(words)


def _iterations(rounds: tuple[Round, ...]) -> Iterator[str]:
    from runner.values import format_usd

    if rounds:
        yield "iterations    #  STEPS      COST  SCORE  CHECKPOINT"
    for one in rounds:
        scored = one.scored
        score = "-" if scored is None or scored.score is None else f"{scored.score:.2f}"
        kept = "under way" if scored is None else f"{scored.checkpoint}{'  claimed done' if scored.claimed else ''}"
        yield f"            {one.iteration:>3}  {one.steps:>5}  {format_usd(one.cost):>8}  {score:>5}  {kept}"


def _verdict(found: Picture) -> Iterator[str]:
    checks = found.state.checks
    for one in checks.results if checks else ():
        count = "" if one.total is None else f" ({one.passed} of {one.total})"
        yield f"check       {one.name}: {'passed' if one.score >= 1 else 'not passed'}{count}"
        for name in one.failures[:5]:
            yield f"              {name}"
    if checks is not None and checks.self_tested:
        yield "            self-tested: checkpoint 0 had no tests, the agent wrote those that count"
