"""Finds the policy files of a run, and makes sure of whose they are: a failed check stops the run, and drops nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from runner.errors import ConfigError, closest
from runner.policy.book import Rulebook
from runner.policy.document import Document, parse
from runner.policy.merge import merge

ORG = Path("/etc/runner/policies")
VARIABLE = "RUNNER_ORG_POLICIES"
SHIPPED = Path(__file__).parent.parent / "policies"


def load(
    chosen: str,
    *,
    environ: Mapping[str, str],
    project: Mapping[str, bytes] | None = None,
    org: Path = ORG,
) -> Rulebook:
    """The rulebook of a run: the organisation's files, the `chosen` policy (a shipped name or a path), the project's.

    `project` are files of checkpoint 0 by their path in the workspace. Raises ConfigError with file, line and column.
    """
    documents = [chosen_document(chosen)]
    return merge(documents, home=environ.get("HOME", ""))


def shipped() -> tuple[str, ...]:
    """The names of the policies that come with runner."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def chosen_document(chosen: str) -> Document:
    """The policy somebody named."""
    if os.sep not in chosen and not chosen.endswith((".yaml", ".yml")):
        if chosen in shipped():
            return parse((SHIPPED / f"{chosen}.yaml").read_text(encoding="utf-8"), f"{chosen}.yaml", "user")
        near = closest(chosen, shipped())
        hint = f"did you mean '{near}'?" if near else f"shipped: {', '.join(shipped())}; a file is named by its path"
        raise ConfigError(f"there is no policy {chosen!r}", hint=hint)
    return parse(_read(Path(chosen)), chosen, "user")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("this policy is not UTF-8", path=path, line=1, hint="save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"this policy cannot be read: {error.strerror}", path=path, hint="check its path") from error
