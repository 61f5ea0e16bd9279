"""`runner models`: what can be named with `--model`, and what it costs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.flags import EnvFile, Model, Prices
from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.priced import Listing, Priced

_HEAD = ("", "MODEL", "IN", "CACHED", "OUT", "LIMIT", "CONTEXT", "AS OF", "API", "KEY", "BILLING", "FROM")
_RIGHT = frozenset({"IN", "CACHED", "OUT", "LIMIT", "CONTEXT"})
# which key is there is said below the table, too
_LEAST = ("FROM", "KEY", "API", "CACHED", "BILLING", "CONTEXT", "AS OF", "LIMIT")
_APIS = {
    "chat": "Chat Completions",
    "responses": "Responses",
    "messages": "Messages",
    "litellm": "litellm (an extra)",
}
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
    every: Annotated[bool, typer.Option("--all", help="Also those whose provider's key is not set.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """List the models that have a price, and which one would be used.

    Without a name: those whose provider's key is set, and your own. Prices are US dollars per million tokens, of the
    standard class and the smallest tier (runner prices show MODEL has them all); LIMIT is the longest output. `*` marks
    the model that a run started here would use. `old` is a price of more than 60 days, `stale` one of more than 180,
    which holds a quarter more.

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
    found = listing(asked, name, every=every)
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
    for name in [*([] if own else ["FROM"]), *_said_once(found)]:
        column = head.index(name)
        head, rows = [*head[:column], *head[column + 1 :]], [[*row[:column], *row[column + 1 :]] for row in rows]
    head, rows = narrowed(head, rows, wide=wide, least=_LEAST)
    if rows:
        table(head, rows, right=frozenset(index for index, one in enumerate(head) if one in _RIGHT))
    said = ["US dollars per million tokens"] if rows else []
    if found.others:
        counts = ", ".join(f"{name} {count}" for name, count in found.others.items())
        said.append(f"priced, and without a key here: {counts}; see runner models --all")
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


def _said_once(found: Listing) -> list[str]:
    """Columns that would say one thing in every row, and the usual one."""
    return [] if any(one.entry.local for one in found.models) else ["BILLING"]


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
        one.api,
        "yes" if one.has_key else "no",
        str(entry.billing),
        near(one.place),
    ]


def _size(tokens: int) -> str:
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens // 1000}k" if tokens >= 1000 else str(tokens)


def _key(one: Priced, found: Listing) -> str:
    through = "" if one.served else "; called through litellm, an extra"
    if one.has_key:
        return f"present{through}"
    own = one.provider == "openai" and found.base_url
    return "missing; a server of your own may need none" if own else f"missing{through}"


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
        *([("more prices", f"runner prices show {entry.name}", "")] if _more(one) else []),
        ("output limit", f"{entry.max_output:,} tokens", ""),
        ("context", f"{entry.context:,} tokens", ""),
        ("as of", f"{entry.as_of}{_AGES[one.age]}", entry.source),
        ("price from", near(one.place), ""),
        ("billing", str(entry.billing), ""),
        ("called with", _APIS[one.api], ""),
        ("key", f"{one.key}: {_key(one, found)}" if one.key else "none is sent", ""),
    ]
    wide = width()
    say(*triples(rows, wide=wide))
    say(*(line for text in _choice(found) for line in wrapped(text, wide=wide, indent=2)))
    _notes(found)


def _more(one: Priced) -> bool:
    price = one.entry.price
    return bool(price.above or price.services or price.geo or price.fees or price.cache_write_1h)


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
                "supported": one.served,
                "api": one.api,
                "billing": str(one.entry.billing),
                "source": one.place,
                "chosen": one.chosen,
            }
            for one in found.models
        ],
        "others": dict(found.others),
        "chosen": {"model": found.choice.model, "why": found.choice.why},
        "digest": found.book.digest,
        "notes": list(found.notes),
    }
