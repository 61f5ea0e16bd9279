"""`runner prices`: what a model costs in full, and newer prices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.flags import EnvFile, Prices
from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.priced import Priced
    from runner.pricing.compare import Change
    from runner.pricing.cost import Price

_HEADS = {
    "input": "IN",
    "cached": "CACHED",
    "cache_write": "WRITE",
    "cache_write_1h": "WRITE 1H",
    "cache_write_12h": "WRITE 12H",
    "output": "OUT",
    "reasoning": "REASONING",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Show what a model costs in every class, or take newer prices in.",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("show")(show)
    group.command("update")(update)
    app.add_typer(group, name="prices")


def show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, or a part of its name that only it has.")],
    env_file: EnvFile = None,
    prices: Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """Show every price of a model.

    By class of service, by size of the request and by kind of token, in US dollars per million tokens. A request
    with more input tokens than a line's ABOVE is billed whole at that line.

    Exit codes: 0 shown, 2 no one model with a price has that name.

    Example:
      runner prices show openai/gpt-6.1-sol
    """
    from runner.app.plan import Asked
    from runner.app.presence import held
    from runner.app.priced import one_of
    from runner.cli.output import document, say, table
    from runner.config import Flags
    from runner.pricing.compare import tiers
    from runner.secrets import Keys

    asked = Asked(
        cwd=here(),
        environ=os.environ,
        keys=held(os.environ, context.obj if isinstance(context.obj, Keys) else None),
        flags=Flags(prices=prices),
        env_file=env_file,
    )
    found, one = one_of(asked, model)
    if as_json:
        document({**_document(one), "digest": found.book.digest, "notes": list(found.notes)})
        return 0
    rows = tiers(one.entry.price)
    kinds = [kind for kind in _HEADS if any(getattr(row.price, kind) is not None for row in rows)]
    say(one.entry.name, "")
    table(
        ["CLASS", "ABOVE", *(_HEADS[kind] for kind in kinds)],
        [[row.service or "standard", f"{row.above:,}", *_amounts(row.price, kinds)] for row in rows],
        right=frozenset(range(1, 2 + len(kinds))),
    )
    say("", *_facts(one))
    return 0


def _amounts(price: Price, kinds: list[str]) -> list[str]:
    from runner.app.priced import dollars

    found = [getattr(price, kind) for kind in kinds]
    return ["-" if value is None else f"{dollars(value):f}" for value in found]


def _facts(one: Priced) -> list[str]:
    from runner.app.priced import dollars
    from runner.cli.columns import near, triples, width
    from runner.values import written_usd

    entry = one.entry
    # millionths, as a price in pico-dollars is of one per million tokens
    times = f"{dollars(entry.multiplier):f} of the list price"
    holds = "also on holds" if entry.multiplier_on_holds else "holds at no less than the list price"
    adds = [(entry.allowance, ""), (entry.tools_allowance, " with tools"), (entry.thinking_allowance, " thinking")]
    rows = [
        *(
            (f"in {place}", f"{factor / 1000:g} of these prices", "")
            for place, factor in sorted(entry.price.geo.items())
        ),
        *((kind, f"{written_usd(fee)} a use", "") for kind, fee in sorted(entry.price.fees.items())),
        *([("contract", times, holds)] if entry.multiplier != 1_000_000 else []),
        ("billing", str(entry.billing), ""),
        ("as of", f"{entry.as_of} ({one.age})", entry.source),
        ("price from", near(one.place), ""),
        ("input is bounded by", "12 x its bytes" if entry.tokenizer == "normalises" else "its bytes", ""),
        ("the provider adds", " + ".join(f"{count}{when}" for count, when in adds if count) or "nothing", ""),
        ("its counts of input", _COUNTS[entry.count], ""),
    ]
    return triples(rows, wide=width())


_COUNTS = {
    "all": "trusted",
    "fresh": "without what was cached",
    "untrusted": "not trusted: bytes bound every request",
}


def _document(one: Priced) -> dict[str, object]:
    from runner.pricing.compare import KINDS, tiers

    entry = one.entry
    return {
        "model": entry.name,
        "prices": [
            {
                "service": row.service or "standard",
                "above": row.above,
                **{f"{kind}_pico_usd": getattr(row.price, kind) for kind in KINDS},
            }
            for row in tiers(entry.price)
        ],
        "geo_per_mille": dict(entry.price.geo),
        "fees_nano_usd": dict(entry.price.fees),
        "multiplier_millionths": entry.multiplier,
        "multiplier_on_holds": entry.multiplier_on_holds,
        "billing": str(entry.billing),
        "api": one.api,
        "max_output": entry.max_output,
        "context": entry.context,
        "allowance": entry.allowance,
        "tools_allowance": entry.tools_allowance,
        "thinking_allowance": entry.thinking_allowance,
        "tokenizer": entry.tokenizer,
        "count": entry.count,
        "thinking": entry.thinking,
        "as_of": str(entry.as_of),
        "age": one.age,
        "source": entry.source,
        "from": one.place,
    }


def update(
    source: Annotated[Path, typer.Option("--from", metavar="FILE", help="Prices: TOML, or JSON as runner writes it.")],
    lower: Annotated[bool, typer.Option("--lower", help="Take lower prices in, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """Take newer prices in, for all runs from now on.

    They stand over the built-in ones, and under your own file. What changes is shown. A price that goes down needs
    --lower, and nothing in such a file is free. A file in a directory where an agent works is refused.

    Exit codes: 0 done, 1 refused as said, 2 the file cannot be used.

    Example:
      runner prices update --from prices.toml
    """
    from runner.app import reach
    from runner.app.updating import update as take_in
    from runner.cli.output import document, say
    from runner.config import load

    settings = load(os.environ)
    found = take_in(source, settings, reach.state_of(settings), lower=lower)
    if as_json:
        changed = {name: [_changed(one) for one in every] for name, every in found.changed.items()}
        document({"changed": changed, "written": str(found.place), "digest": found.digest})
        return 0
    for name, every in found.changed.items():
        say(*(f"{name} {one.what}: {_said(one, one.before)} -> {_said(one, one.after)}" for one in every))
        if not every:
            say(f"{name}: new")
    say(f"wrote {found.place}" if found.changed else "nothing differs; nothing was written")
    say(f"the book is {found.digest}")
    return 0


def _changed(one: Change) -> dict[str, object]:
    return {"what": one.what, "before": one.before, "after": one.after, "lowers": one.lowers}


def _said(one: Change, value: int | str | None) -> str:
    from runner.app.priced import dollars
    from runner.pricing.compare import KINDS
    from runner.values import written_usd

    if value is None:
        return "none"
    if isinstance(value, int) and any(kind in one.what.split() for kind in KINDS):
        return f"${dollars(value):f}"
    return written_usd(value) if isinstance(value, int) and one.what.startswith("fee ") else str(value)
