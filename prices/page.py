"""The page that shows where the two lists disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from prices.merge import Row

_HEAD = """\
The built-in prices of {models} models are made from two published lists, {named}, compared on
{as_of}. Each price is taken from both; where they differ, the higher is the book's. A price that only one of them has
is taken as it is. A cached token that neither prices counts as plain input, and a token written to a cache is never
cheaper than one. Prices that depend on the time of day count at their dearest. Of a context litellm's list has the
input alone; the book has the whole window.
"""


def page(rows: Sequence[Row], alone: Sequence[str], models: int, *, as_of: date, sources: Mapping[str, str]) -> str:
    """The page, whole."""
    named = " and ".join(f"{name} {version}" for name, version in sources.items())
    count = len({row.model for row in rows})
    return "\n".join(
        [
            "# Where price lists disagree",
            "",
            "<!-- Made by `python -m prices`. -->",
            "",
            *_HEAD.format(models=models, named=named, as_of=as_of).splitlines(),
            "",
            "## Where the lists differ",
            "",
            f"They differ in {len(rows)} places of {count} models. US dollars per million tokens; a context in tokens.",
            "",
            "| model | what | genai-prices | litellm | the book has | why |",
            "|---|---|---|---|---|---|",
            *(_row(row) for row in rows),
            "",
            f"Known to litellm alone, {len(alone)}:",
            "",
            ", ".join(f"`{name}`" for name in alone) + ".",
            "",
        ]
    )


def _row(row: Row) -> str:
    said = [_amount(row, value) for value in (row.genai, row.litellm, row.taken)]
    return f"| `{row.model}` | {row.dimension} | {' | '.join(said)} | {row.why} |"


def _amount(row: Row, value: int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if row.dimension == "context" else f"{(Decimal(value) / 10**6).normalize():f}"
