"""`runner config`: every setting, its value, and who says so."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from runner.cli.flags import LimitFlags, RunFlags, Worktree, spread
from runner.cli.here import here

if TYPE_CHECKING:
    from runner.app.effective import Effective, Limit, Shared
    from runner.secrets import Keys

Row = tuple[str, str, str]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("config")(spread(config))


def config(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[SPEC] [KEY]...", help="A spec, and names of settings to show alone.")
    ] = None,
    *,
    with_: RunFlags,
    limits: LimitFlags,
    worktree: Worktree = None,
    path: Annotated[bool, typer.Option("--path", help="Print where your configuration file is, or would be.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a configuration file with every key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, see the reference's page json.")] = False,
) -> int:
    """Show every setting: its value, and who says so.

    Takes the flags of `runner loop`: what is shown is what `runner loop` with the same words would be held to. Without
    SPEC the spec's word is left out. Keys are shown as present or missing, never with their value. Nothing is made.

    Examples:
      runner config

      runner config spec.md --max-cost 3

      runner config model budget.usd
    """
    from runner.app.effective import effective
    from runner.app.plan import Asked
    from runner.config import Flags

    if example or path:
        return _file(example=example, as_json=as_json)
    spec, names = _sorted(words or [])
    asked = Asked(
        spec=spec,
        cwd=here(),
        environ=os.environ,
        keys=_keys(context),
        flags=Flags(
            model=with_.model,
            prices=with_.prices,
            unattended=with_.unattended,
            worktree=worktree,
            policy=with_.policy,
            sandbox=with_.sandbox,
        ),
        limits=limits.read(),
        no_budget=limits.no_budget,
        env_file=with_.env_file,
    )
    found = effective(asked)
    _show(found, names, as_json=as_json)
    return 0


def _file(*, example: bool, as_json: bool) -> int:
    """Print the example, or the place of the file: neither needs a file that can be read."""
    from runner.cli.output import document, say
    from runner.config.settings import user_config_path
    from runner.config.userfile import example as text

    where, _ = user_config_path(os.environ)
    if as_json:
        document({"configuration": str(where), "configuration_exists": where.is_file()})
    elif example:
        sys.stdout.write(text())
    else:
        say(str(where))
        if not where.is_file() and sys.stdout.isatty():
            sys.stderr.write("there is no such file yet; runner config --example prints one\n")
    return 0


def _sorted(words: list[str]) -> tuple[str | None, list[str]]:
    """Tell a spec from names of settings. Raises ConfigError for a word that is neither, and for two specs."""
    from runner.app.effective import NAMES, unknown
    from runner.errors import ConfigError
    from runner.models.keys import is_key

    names = [word for word in words if word in NAMES or is_key(word)]
    others = [word for word in words if word not in names]
    if len(others) > 1:
        raise ConfigError(f"two specs were named: {others[0]} and {others[1]}", hint="keep one of them")
    spec = others[0] if others else None
    if spec is not None and spec != "-" and not os.path.lexists(spec) and (error := unknown(spec)) is not None:
        raise error
    return spec, names


def _show(found: Effective, names: list[str], *, as_json: bool) -> None:
    from runner.cli.columns import near, triples, width, wrapped
    from runner.cli.output import document, say

    wide = width()
    if as_json:
        document(_document(found, names))
        return
    if names:
        wanted = dict.fromkeys(names)
        say(*triples([row for name in wanted for row in _block(found).get(name, [])], wide=wide))
        return
    none = "" if found.path.is_file() else "none yet: runner config --example prints one"
    spec = [] if found.spec is None else [("spec", near(found.spec), "")]
    say(*triples([("configuration", near(str(found.path)), none), *spec], wide=wide), "")
    blocks = _block(found)
    say(*triples([("SETTING", "VALUE", "FROM"), *(row for rows in blocks.values() for row in rows)], wide=wide))
    for one in found.shared:
        say("", *wrapped(_shared(one), wide=wide, indent=2))
    if found.spec is None:
        said = "no spec was named: what one says of budget and model comes on top (runner config spec.md)"
        say("", *wrapped(said, wide=wide, indent=2))
    for note in found.notes:
        say(*wrapped(f"note: {note}", wide=wide, indent=2))


def _block(found: Effective) -> dict[str, list[Row]]:
    """Give the rows of everything that can be named, by its name."""
    from runner.cli.columns import near

    rows: dict[str, list[Row]] = {}
    for one in found.settings:
        shown = one.default if one.value is None else _value(one.name, one.value)
        # all servers go by one word
        word = "providers" if one.name.startswith("providers.") else one.name
        rows.setdefault(word, []).append((one.name, shown, near(one.place)))
        if one.name == "model" and one.value is None:
            rows["model"] = [("model", found.model or "none can be chosen", found.why)]
        elif one.name == "model" and found.model is None:
            rows["model"].append(("", "cannot be used", found.why))
    for limit in found.limits:
        rows[limit.name] = _limit(limit)
    for key in found.keys:
        state = "missing" if key.place is None else "present"
        through = "" if key.supported else ", for litellm"
        rows[key.name] = [(key.name, state, f"{near(key.place or '')}{through}")]
    return rows


def _limit(limit: Limit) -> list[Row]:
    from runner.cli.columns import near

    first, *replaced = limit.layers
    return [
        (limit.name, amount(limit.unit, first.value), near(first.place)),
        *(("", amount(limit.unit, one.value), f"{near(one.place)}, replaced") for one in replaced),
    ]


def _shared(one: Shared) -> str:
    from runner.values import format_left, format_usd

    budget = one.line.budget
    left = format_left(budget.room or 0)
    each = "in total" if budget.period == "total" else f"per {budget.period} ({budget.bucket} {one.line.zone})"
    last = "less than budget.usd, so this one binds first" if one.binds else "more than budget.usd"
    held = f", {format_usd(budget.held)} held" if budget.held else ""
    return (
        f"shared: {_short(str(budget.scope))} {each} has {left} left of {format_usd(budget.limit)}{held}: {last}"
        " (runner budget show)"
    )


def _short(scope: str) -> str:
    kind, _, name = scope.partition(":")
    # a first commit's id says no more in full
    return f"{kind}:{name[:12]}" if len(name) == 40 and set(name) <= set("0123456789abcdef") else scope


def _value(name: str, value: object) -> str:
    from runner.config.userfile import KEYS

    match value:
        case bool():
            return "true" if value else "false"
        case int() if KEYS[name].kind == "duration":
            from runner.values import format_duration

            return format_duration(value)
        case list():
            # of a setting that is a list, the items are texts
            return json.dumps(cast("list[str]", value), ensure_ascii=False)
        case _:
            from runner.cli.columns import near

            return near(str(value))


def amount(unit: str, value: int | None) -> str:
    """A limit as people read it; `none` is unlimited."""
    from runner.cli.output import when
    from runner.values import format_duration, format_usd

    match unit, value:
        case _, None:
            return "none"
        case "nano_usd", _:
            return format_usd(value)
        case "seconds", _:
            return format_duration(value)
        case "ms", _:
            return when(value)
        case _:
            return f"{value:,}"


def _document(found: Effective, names: list[str]) -> dict[str, object]:
    def wanted(name: str) -> bool:
        return not names or name in names or (name.startswith("providers.") and "providers" in names)

    return {
        "configuration": str(found.path),
        "configuration_exists": found.path.is_file(),
        "spec": found.spec,
        "workspace": str(found.workspace),
        "chosen": {"model": found.model, "why": found.why},
        "settings": [
            {"name": one.name, "value": one.value, "source": one.place, "variable": one.variable or None}
            for one in found.settings
            if wanted(one.name)
        ],
        "limits": [
            {
                "name": one.name,
                "unit": one.unit,
                "value": one.layers[0].value,
                "source": one.layers[0].place,
                "replaced": [{"value": layer.value, "source": layer.place} for layer in one.layers[1:]],
            }
            for one in found.limits
            if wanted(one.name)
        ],
        "shared": [{**one.line.document(), "binds": one.binds} for one in found.shared],
        "keys": [
            {
                "name": one.name,
                "provider": one.provider,
                "supported": one.supported,
                "present": one.place is not None,
                "source": one.place,
            }
            for one in found.keys
            if wanted(one.name)
        ],
        "notes": list(found.notes),
    }


def _keys(context: typer.Context) -> Keys:
    from runner.app.presence import held
    from runner.secrets import Keys

    return held(os.environ, context.obj if isinstance(context.obj, Keys) else None)
