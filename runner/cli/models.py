"""`runner models`: what can be named with `--model`, and what it costs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.flags import EnvFile, Model, Prices
from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.priced import Listing, Priced

_HEAD = ("", "MODEL", "IN", "CACHED", "OUT", "LIMIT", "CONTEXT", "AS OF", "KEY", "FROM")
_RIGHT = frozenset({"IN", "CACHED", "OUT", "LIMIT", "CONTEXT"})
# which key is there is said below the table, too
_LEAST = ("FROM", "KEY", "CONTEXT", "CACHED", "AS OF", "LIMIT")
_AGES = {"fresh": "", "old": " old", "stale": " stale"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("models")(models)


def models(  # noqa: PLR0917  one parameter per flag is how typer declares them
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|PATTERN]", help="A model, a part of its name, or a pattern with *.")
    ] = None,
    model: Model = None,
    env_file: EnvFile = None,
    prices: Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """List the models that have a price, and which one would be used.

    Prices are US dollars per million tokens; LIMIT is the longest output. `*` marks the model that a run started here
    would use. `old` is a price of more than 60 days, `stale` one of more than 180, which holds a quarter more.

    Exit codes: 0 listed, 2 no model with a price has that name.

    Examples:
      runner models

      runner models mini

      runner models "openai/gpt-5*" --prices prices.toml
    """
    from runner.app.plan import Asked
    from runner.app.presence import held
    from runner.app.priced import listing
    from runner.cli.output import document
    from runner.config import Flags
    from runner.secrets import Keys

    asked = Asked(
        cwd=here(),
        environ=os.environ,
        keys=held(os.environ, context.obj if isinstance(context.obj, Keys) else None),
        flags=Flags(model=model, prices=prices),
        env_file=env_file,
    )
    found = listing(asked, name)
    if as_json:
        document(_document(found))
    elif name is not None and len(found.models) == 1:
        _one(found, found.models[0])
    else:
        _list(found)
    return 0


def _list(found: Listing) -> None:
    from runner.cli.columns import narrowed, near, width, wrapped
    from runner.cli.output import say, table

    wide = width()
    rows = [_cells(one) for one in found.models]
    head: list[str] = [*_HEAD]
    own = [one for one in found.models if one.place != "built-in"]
    if not own:
        head, rows = head[:-1], [row[:-1] for row in rows]
    head, rows = narrowed(head, rows, wide=wide, least=_LEAST)
    table(head, rows, right=frozenset(index for index, one in enumerate(head) if one in _RIGHT))
    said = ["US dollars per million tokens"]
    if own and "FROM" not in head:
        said += [f"{one.entry.name} is from {near(one.place)}" for one in own]
    for age in sorted({one.age for one in found.models} - {"fresh"}):
        more = "more than 180 days old: a quarter more is held" if age == "stale" else "more than 60 days old"
        said.append(f"{age}: {more}; give newer prices with --prices")
    keys = {one.key: one for one in found.models if one.key}
    said += [f"{name}: {_key(one, found)}" for name, one in keys.items()]
    said += [*_choice(found), "a recording needs no key: --model replay:FILE"]
    say("", *(line for text in said for line in wrapped(text, wide=wide, indent=2)))
    _notes(found)


def _cells(one: Priced) -> list[str]:
    from runner.app.priced import dollars
    from runner.cli.columns import near

    entry, price = one.entry, one.entry.price
    return [
        "*" if one.chosen else " ",
        entry.name,
        f"{dollars(price.input):f}",
        f"{dollars(price.cached):f}",
        f"{dollars(price.output):f}",
        _size(entry.max_output),
        _size(entry.context),
        f"{entry.as_of}{_AGES[one.age]}",
        "yes" if one.has_key else "no",
        near(one.place),
    ]


def _size(tokens: int) -> str:
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens // 1000}k" if tokens >= 1000 else str(tokens)


def _key(one: Priced, found: Listing) -> str:
    if not one.callable:
        return f"{'present' if one.has_key else 'missing'}; {one.provider} is called through litellm"
    if one.has_key:
        return "present"
    return "missing; a server of your own may need none" if found.base_url else "missing"


def _choice(found: Listing) -> list[str]:
    if found.choice.model is None:
        return [f"no model would be used now: {found.choice.why}"]
    return [f"* a run here uses {found.choice.model}: {found.choice.why}"]


def _one(found: Listing, one: Priced) -> None:
    from runner.app.priced import dollars
    from runner.cli.columns import near, triples, width, wrapped
    from runner.cli.output import say

    entry, price = one.entry, one.entry.price
    rows = [
        ("model", entry.name, ""),
        *(
            (what, f"${dollars(value):f} per million tokens", "")
            for what, value in (
                ("input", price.input),
                ("cached input", price.cached),
                ("cache write", price.cache_write),
                ("output", price.output),
            )
        ),
        ("output limit", f"{entry.max_output:,} tokens", ""),
        ("context", f"{entry.context:,} tokens", ""),
        ("as of", f"{entry.as_of}{_AGES[one.age]}", entry.source),
        ("price from", near(one.place), ""),
        ("key", f"{one.key or 'no such provider'}: {_key(one, found)}", ""),
    ]
    wide = width()
    say(*triples(rows, wide=wide))
    say(*(line for text in _choice(found) for line in wrapped(text, wide=wide, indent=2)))
    _notes(found)


def _notes(found: Listing) -> None:
    from runner.cli.columns import width, wrapped
    from runner.cli.output import say

    for note in found.notes:
        say(*wrapped(f"note: {note}", wide=width(), indent=2))


def _document(found: Listing) -> dict[str, object]:
    return {
        "models": [
            {
                "model": one.entry.name,
                "input_pico_usd": one.entry.price.input,
                "cached_pico_usd": one.entry.price.cached,
                "cache_write_pico_usd": one.entry.price.cache_write,
                "output_pico_usd": one.entry.price.output,
                "max_output": one.entry.max_output,
                "context": one.entry.context,
                "as_of": str(one.entry.as_of),
                "age": one.age,
                "key": one.key or None,
                "key_present": one.has_key,
                "supported": one.callable,
                "source": one.place,
                "chosen": one.chosen,
            }
            for one in found.models
        ],
        "chosen": {"model": found.choice.model, "why": found.choice.why},
        "digest": found.book.digest,
        "notes": list(found.notes),
    }
