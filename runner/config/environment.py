"""The environment that tools, checks, setup and services get: names, not whatever happens to be set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runner.errors import ConfigError
from runner.models.keys import is_provider_key

ALWAYS = ("PATH", "HOME", "LANG", "TMPDIR")
"""Names every tool gets when they are set."""


def tool_env(environ: Mapping[str, str], listed: Iterable[str] = ()) -> dict[str, str]:
    """Choose the variables tools get: the basic ones, and those the user lists.

    Raises ConfigError for a listed provider key: a key a tool can read, the agent can read.
    """
    names = [*ALWAYS]
    for name in listed:
        refuse_key(name)
        names.append(name)
    return {name: environ[name] for name in names if name in environ}


def refuse_key(name: str) -> None:
    """Raise ConfigError when `name` holds a provider's key."""
    if is_provider_key(name) or name.startswith("RUNNER_KEYS"):
        raise ConfigError(
            f"tools.env lists {name}, a provider's key: tools never get one",
            hint="take it off the list; give tools a key of their own under another name",
        )
