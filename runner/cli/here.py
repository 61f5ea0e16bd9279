"""The directory a command was started in."""

from __future__ import annotations

from pathlib import Path


def here() -> Path:
    """Give the current directory. Raises ConfigError where somebody removed it meanwhile."""
    try:
        return Path.cwd()
    except OSError as error:
        from runner.errors import ConfigError

        msg = f"the current directory cannot be used: {error.strerror}"
        raise ConfigError(msg, hint="it was removed or closed to you; cd to another one") from None
