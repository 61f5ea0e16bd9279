"""`runner runs` and `runner show`: what ran, what it cost, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.app.look import Picture, Round
    from runner.state import State

Run = Annotated[str, typer.Argument(help="A run's id, the start or end of one, or `last`.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("runs")(runs)
    app.command("show")(show)


def runs(
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the newest N.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, see the reference's page json.")] = False,
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
        head, rows = _fitted([_row(one, now) for one in every])
        table(head, rows, right=frozenset(index for index, name in enumerate(head) if name in _RIGHT))
        if any(one["unknown_nano_usd"] for one in every):
            say("+ unknown: may have been billed")
        if any(map(_beside, every)):
            say("* beside it calls that are local or unmetered, which no sum holds")


_HEAD = ("RUN", "STATUS", "SCORE", "ITERATIONS", "SPENT", "AGE", "SPEC", "STOPPED BY")
_RIGHT = frozenset({"SCORE", "ITERATIONS", "ITER", "SPENT", "AGE"})
# what goes first where the terminal is narrow; `runner show` has all of it
_LEAST = ("ITER", "STOPPED BY", "AGE", "SCORE", "SPEC")
_SPEC = 8


def _fitted(rows: list[tuple[str, ...]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """The table as wide as it needs; on a terminal that is narrower, in shorter words, then without some columns."""
    import sys

    from runner.cli.columns import narrowed, width
    from runner.cli.live.cells import cut_left
    from runner.cli.output import harmless
    from runner.secrets import mask_patterns

    # masked before anything is cut: half a key looks like none
    rows = [tuple(harmless(mask_patterns(cell), sys.stdout) for cell in row) for row in rows]
    wide = width()
    if not sys.stdout.isatty() or _wide(_HEAD, rows) <= wide:
        return _HEAD, rows
    head = ["ITER" if name == "ITERATIONS" else name for name in _HEAD]
    short = [_shortened(row) for row in rows]
    spec = _HEAD.index("SPEC")
    least = [[*row[:spec], cut_left(row[spec], _SPEC), *row[spec + 1 :]] for row in short]
    head, least = narrowed(head, least, wide=wide, least=_LEAST)
    if "SPEC" not in head:
        return head, least
    at = head.index("SPEC")
    now = max(len(row[at]) for row in (head, *least))
    room = max(_SPEC, now + wide - _wide(head, least))
    return head, [
        [*row[:at], cut_left(whole[spec], room), *row[at + 1 :]] for row, whole in zip(least, short, strict=True)
    ]


def _shortened(row: Sequence[str]) -> list[str]:
    """A row whose run is named by the end of its id, which every command takes."""
    run, status, *between, stopped = row
    status = status.partition(" (pid")[0]
    status, until, _ = status.partition(" until ")
    status += ")" if until else ""
    return [run.rpartition("-")[2], status, *between, stopped.removesuffix(f" of run:{run}")]


def _wide(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in zip(head, *rows, strict=True)) - 2


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
        "" if run["stop_rule"] is None or run["stop_reason"] == "done" else str(run["stop_rule"]),
    )


def standing(run: Mapping[str, object]) -> str:
    """How a run stands: `running (pid 12)`, `open (crashed)`, `done`, `done, not verified` or `ended (stalled)`.

    One that waits for a time says so: `open (parked until 14:05)`.
    """
    reason = run["stop_reason"]
    if isinstance(until := run.get("resume_at_ms"), int):
        from runner.cli.output import when

        reason = f"{reason} until {when(until)}"
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

    marks = ("*" if _beside(run) else "") + ("+" if run["unknown_nano_usd"] else "")
    return format_usd(_whole(run["spent_nano_usd"])) + marks


def _beside(run: Mapping[str, object]) -> bool:
    """Whether calls of it are in no sum. A run that an older runner made has only metered ones."""
    match run.get("billing"):
        case {"local_calls": int(local), "unmetered_calls": int(unmetered)}:
            return bool(local or unmetered)
        case _:
            return False


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
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
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
    from runner.cli.output import when
    from runner.store.summary import summary
    from runner.values import format_duration

    state, created = found.state, found.state.created
    run = with_driver(summary(state), found.row, found.driver)
    detail = f" — {state.stopped.rule}: {state.stopped.detail}" if state.stopped and state.stopped.detail else ""
    yield f"run         {found.run}   {standing(run)}{detail}"
    if created is not None:
        yield f"spec        {created.spec_path}"
        yield f"workspace   {found.workspace}{f' (a copy of {created.origin})' if created.worktree else ''}"
        now = f", last called: {state.model}" if state.model not in {"", created.model} else ""
        yield f"model       {created.model} (prices as of {created.prices_as_of or 'unknown'}){now}"
        began = f"began       {when(found.row.created_at)}"
        yield f"{began}, last event {when(state.at)}, active {format_duration(state.active_ms // 1000)}"
    yield from _money(found)
    yield from _iterations(found.rounds)
    yield from _overhead(state)
    yield from _verdict(found)
    if missing := gaps(found):
        yield "missing     " + "\n            ".join(missing)
    if (last := state.checkpoint) is not None:
        yield f"checkpoint  {_among(last.number, [one.made.number for one in found.points])}"
    for text in found.warnings:
        yield f"note        {text}"
    yield f"next        {next_command(found)}"


def _among(number: int, numbers: Sequence[int]) -> str:
    """Which checkpoint the run stands at, and which there are: `4, the last of 5 (0 to 4)`."""
    if len(numbers) < 2:
        return f"{number}, the only one"
    which = "the last of" if number == numbers[-1] else "of"
    return f"{number}, {which} {len(numbers)} ({min(numbers)} to {max(numbers)})"


def _money(found: Picture) -> Iterator[str]:
    from runner.cli.output import when
    from runner.cli.sums import spent
    from runner.values import format_duration, format_usd

    state = found.state
    money, limits, sources = state.money, state.limits, state.limit_sources
    yield (
        f"money       spent {spent(money)}, unknown {format_usd(money.unknown)},"
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
        active = format_duration(state.active_ms // 1000)
        words.append(f"active time {active} of {format_duration(limits.duration_s)} ({source})")
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


def _overhead(state: State) -> Iterator[str]:
    """What an iteration begins with, on average: instructions, tools, spec and handoff note, paid for every time."""
    from runner.values import format_usd

    found = state.overhead
    if found.calls:
        tokens, cost = found.tokens // found.calls, -(-found.cost // found.calls)
        each = "an iteration begins" if found.calls == 1 else "iterations begin on average"
        paid = f": {format_usd(cost)}" if cost else ""
        yield f"            {each} with {tokens:,} tokens{paid}"


def _verdict(found: Picture) -> Iterator[str]:
    checks = found.state.checks
    for one in checks.results if checks else ():
        count = "" if one.total is None else f" ({one.passed} of {one.total})"
        yield f"check       {one.name}: {'passed' if one.score >= 1 else 'not passed'}{count}"
        for name in one.failures[:5]:
            yield f"              {name}"
    if checks is not None and checks.sandbox:
        walled = checks.sandbox not in {"none", "recorded"}
        yield f"            reached {f'under {checks.sandbox}' if walled else 'without a sandbox'}"
    if checks is not None and checks.self_tested:
        yield "            self-tested: checkpoint 0 had no tests, the agent wrote those that count"
