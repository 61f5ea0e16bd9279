"""What a look at a machine is made of: the world it looks at, and what it finds there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from runner import config
from runner.config import Settings
from runner.errors import ConfigError
from runner.secrets import Keys


class Mark(StrEnum):
    """How it stands: `note` needs nothing, `warn` goes on but should be known, `FAIL` is needed to run."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact: what was looked at, what it is like, and one command or sentence that mends it ("" = nothing to)."""

    mark: Mark
    what: str
    text: str
    fix: str = ""


# not slotted: what was read once is kept
@dataclass(frozen=True, kw_only=True)
class World:
    """The surroundings: `cwd` None is a current directory that is gone."""

    environ: Mapping[str, str] = field(repr=False)
    cwd: Path | None
    keys: Keys
    network: bool = False

    @cached_property
    def _loaded(self) -> tuple[Settings, ConfigError | None]:
        try:
            return config.load(self.environ, workspace=self.cwd), None
        except ConfigError as error:
            # the rest is looked at as if there were no file
            return config.load({**self.environ, "RUNNER_CONFIG": os.devnull}), error

    @property
    def settings(self) -> Settings:
        """The settings, without the user's file where it cannot be used. Raises ConfigError for the rest."""
        return self._loaded[0]

    @property
    def broken(self) -> ConfigError | None:
        """Why the user's file cannot be used; None when it can."""
        return self._loaded[1]

    @property
    def state(self) -> Path:
        """The state directory, there or not."""
        return config.expanded(self.settings.state_dir.value).absolute()


def at(error: ConfigError) -> str:
    """A fault in one line, with its place."""
    place = ":".join(str(part) for part in (error.path, error.line, error.column) if part is not None)
    return f"{place}: {error.message}" if place else error.message
