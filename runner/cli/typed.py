"""Words of the command line as they were typed: they need no validation library.

typer hands every value to pydantic, whose import costs a command more than all its own work (60 ms). What a parameter
of ours holds is text for our own parsers, a path, a whole number or a switch, and that much is done here. Parameters
of any other kind keep typer's way, and so does everything under a typer that works in another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import typer.core

_WANTED = {str: "a text", int: "a whole number", Path: "a path", bool: "a switch"}


@dataclass(frozen=True, slots=True)
class _AsTyped:
    """Stands where typer keeps a parameter's coercion. `least` bounds a number from below."""

    kind: type
    least: int | None = None

    # typer's own types of values, parameters and contexts have no public names
    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401  as above
        """Give the value back; a text meant as a path or a number becomes one, words become a list."""
        if self.kind is list:
            return list(value or ())
        if value is None:
            return None
        try:
            given: Any = value if isinstance(value, self.kind) else self.kind(value)
        except (TypeError, ValueError) as error:
            raise typer.BadParameter(f"{value!r} is not {_WANTED[self.kind]}", ctx=ctx, param=param) from error
        if self.least is not None and given < self.least:
            raise typer.BadParameter(f"{given} is less than {self.least}", ctx=ctx, param=param)
        return given


def take_as_typed() -> None:
    """Let texts, paths, numbers and switches of every command through without pydantic, from now on."""
    typers_own = getattr(typer.core, "build_runtime_param", None)
    if typers_own is None:
        return

    def build(told: Any) -> Any:  # noqa: ANN401  as above
        info, kind = told.parameter_info, told.annotation
        demanding = info.parser or info.exists or info.resolve_path or info.allow_dash or info.path_type or info.clamp
        if not demanding and info.max is None:
            if kind in _WANTED:
                return _AsTyped(kind, info.min)
            if kind == list[str]:
                return _AsTyped(list)
        return typers_own(told)

    # there is no public place to say this at
    typer.core.build_runtime_param = build  # type: ignore[assignment, attr-defined]
