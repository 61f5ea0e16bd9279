"""The region at the bottom, as rows of text for a given size. Pure: the same moment gives the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.app.present import NOTHING, Streamed, doing, step
from runner.cli.lines import Tone
from runner.cli.live.cells import clean, cut, folded
from runner.cli.live.frame import Size
from runner.cli.live.rows import Row, Span, fitting, joined, row, shortened, width_of
from runner.cli.sums import apart
from runner.secrets import mask_patterns
from runner.spec.model import Item
from runner.state import State
from runner.values import Ms, NanoUsd, format_usd

_MOST_ROWS = 10
_TAIL_ROWS = 3
_BAR = 24
_SPARKS = "▁▂▃▄▅▆▇█"
_LABEL = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Everything the region shows. `target` is the score that is enough; None where nothing is scored."""

    state: State
    now: Ms
    streamed: Streamed = NOTHING
    items: tuple[Item, ...] = ()
    target: float | None = None
    driven: bool = True
    hints: tuple[str, ...] = ()


def region(moment: Moment, size: Size) -> list[Row]:
    """The rows, most important first to stay when there is room for few. Each is shorter than the terminal is wide."""
    width = max(1, size.width - 1)
    room = min(_MOST_ROWS, max(1, size.height // 2))
    head, now = _head(moment, width), _now(moment, width)
    rest = [
        (3, _money(moment.state, width)),
        (5, _score(moment, width)),
        (4, _checklist(moment.items, width)),
        (6, fitting([row(Span(one, Tone.FAINT)) for one in moment.hints], width) if moment.hints else ()),
    ]
    below = sorted((one for one in rest if one[1]), key=lambda one: one[0])[: max(0, room - 2)]
    kept = [one for one in rest if one in below]
    free = room - 2 - len(kept)
    rule = free > 1
    tail = _tail(moment, width, min(_TAIL_ROWS, free - rule)) if free - rule > 0 else []
    rows: list[Row] = [row(Span("─" * width, Tone.FAINT))] if rule else []
    rows += [head, now, *tail, *(one for _, one in kept)]
    return rows[:room]


def clock(milliseconds: int) -> str:
    """A length of time as people read it off a watch: `0:07`, `12:31`, `1:02:03`."""
    seconds = max(0, milliseconds) // 1000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def _head(moment: Moment, width: int) -> Row:
    state, limits = moment.state, moment.state.limits
    active = state.active_ms + (max(0, moment.now - state.at) if state.running and moment.driven else 0)
    now = step(state)
    most = "" if limits.duration_s is None else f" of {clock(limits.duration_s * 1000)}"

    def of(limit: int | None, mark: str) -> str:
        return "" if limit is None else f"{mark}{limit}"

    def words(iteration: str, mark: str, more: str) -> Row:
        number = row(Span(f"{iteration} {state.iterations}{of(limits.iterations, mark)}", Tone.HEAD))
        steps = () if now is None else row(f"step {now}{of(limits.steps, mark)}")
        return joined([number if state.iterations else row(Span("before the first iteration", Tone.HEAD)),
                       steps, row(clock(active) + more)])  # fmt: skip

    return fitting([words("iteration", " of ", most), words("iteration", "/", ""), words("it", "/", "")], width)


def _now(moment: Moment, width: int) -> Row:
    if not moment.driven and moment.state.stopped is None:
        return fitting([row(Span("nobody drives it (it crashed)", Tone.BAD)), row(Span("crashed", Tone.BAD))], width)
    what = doing(moment.state)
    said = what.what
    if moment.streamed.text and moment.streamed.of == what.streams:
        said = "the model writes"
    tone = Tone.NOTE if what.until is not None or moment.state.stopped is not None else Tone.PLAIN
    if what.until is not None:
        time = f"in {clock(what.until - moment.now + 999)}"
    else:
        time = "" if what.since is None else clock(moment.now - what.since)
    after = row(Span(f"  {time}", Tone.FAINT)) if time else ()
    return shortened((*shortened(row(Span(said, tone)), max(1, width - width_of(after))), *after), width)


def _tail(moment: Moment, width: int, rows: int) -> list[Row]:
    """What streams, its last rows. As many rows as there is room for, so that what is below stays where it is."""
    streamed = moment.streamed
    found: list[str] = []
    if streamed.of and streamed.of == doing(moment.state).streams:
        if streamed.output:
            lines = [one.rpartition("\r")[2] for one in streamed.output.rstrip().replace("\r\n", "\n").split("\n")]
            found = [cut(clean(one).rstrip(), width - 2) for one in lines[-rows:]]
        elif streamed.text:
            for one in reversed(streamed.text.rstrip().split("\n")):
                found = [*folded(clean(one), width - 2, rows - len(found)), *found]
                if len(found) >= rows:
                    break
    found += [""] * (rows - len(found))
    return [row(Span(f"  {one}", Tone.FAINT)) if one else () for one in found]


# ---- money -----------------------------------------------------------------------------------------------


def _money(state: State, width: int) -> Row:
    money, limit = state.money, state.limits.usd
    parts = [
        row(Span("spent ", Tone.FAINT), Span(format_usd(money.spent), Tone.GOOD)),
        row(Span("held ", Tone.FAINT), Span(format_usd(money.held), Tone.HELD)) if money.held else (),
        row(Span("unknown ", Tone.FAINT), Span(format_usd(money.unknown), Tone.NOTE)) if money.unknown else (),
    ]
    most = (
        row(Span(" of ", Tone.FAINT), format_usd(limit)) if limit is not None else row(Span(" (no limit)", Tone.FAINT))
    )
    beside = apart(money.local_calls, money.unmetered_calls)
    figures = (*joined(parts), *most)
    # what is in no sum is said where there is room for it
    told = (*figures, *row(Span(beside, Tone.NOTE))) if beside else figures
    short = (*row(Span(format_usd(money.spent), Tone.GOOD)), *most)
    label = _label("money")
    bars = [] if limit is None else [_bar(state, limit, cells) for cells in (_BAR, _BAR // 2)]
    whole = [(*label, *one, *row("  "), *told) for one in bars]
    return fitting([*whole, (*label, *told), told, figures, short], width)


def _label(text: str) -> Row:
    return row(Span(text.ljust(_LABEL), Tone.FAINT))


def _bar(state: State, limit: NanoUsd, cells: int) -> Row:
    """Spent, unknown and held as shares of the limit. Whatever is more than nothing shows."""
    money, left = state.money, cells
    spans: list[Span] = []
    for amount, mark, tone in (
        (money.spent, "█", Tone.GOOD), (money.unknown, "▓", Tone.NOTE), (money.held, "▒", Tone.HELD)
    ):  # fmt: skip
        share = min(left, -(-amount * cells // limit) if limit else left if amount else 0)
        spans.append(Span(mark * share, tone))
        left -= share
    return (*(one for one in spans if one.text), *row(Span("░" * left, Tone.FAINT)))


# ---- score and checklist ---------------------------------------------------------------------------------


def _score(moment: Moment, width: int) -> Row:
    scores = [one.score for one in moment.state.scored if one.score is not None]
    if not scores:
        return ()
    best = max(scores)
    target = "" if moment.target is None else f", target {moment.target:.2f}"
    enough = moment.target is not None and scores[-1] >= moment.target
    last = Span(f"{scores[-1]:.2f}", Tone.GOOD if enough else Tone.PLAIN)
    more = row(last, Span(f" (best {best:.2f}{target})", Tone.FAINT))
    sparks = [row(sparkline(scores[-count:]), "  ") for count in (40, 12, 5)]
    label = _label("score")
    return fitting([*((*label, *one, *more) for one in sparks), (*sparks[-1], last), (last,)], width)


def sparkline(scores: Sequence[float]) -> str:
    """Scores from 0 to 1, a character each."""
    return "".join(_SPARKS[min(7, max(0, int(one * 8)))] for one in scores)


def _checklist(items: Sequence[Item], width: int) -> Row:
    if not items:
        return ()
    still = [one.text for one in items if not one.ticked]
    count = f"{len(items) - len(still)} of {len(items)} ticked"
    label = _label("list")
    following = row(Span(" · next: ", Tone.FAINT), mask_patterns(still[0])) if still else ()
    return shortened((*label, *row(count), *following), width)


def plain(rows: Sequence[Row]) -> Iterator[str]:
    """The rows without colours."""
    for one in rows:
        yield "".join(span.text for span in one).rstrip()
