"""The spec `runner init` writes."""

from __future__ import annotations

from importlib.resources import files


def starter() -> str:
    """A commented spec that works as it stands: its check is red in an empty folder, and an agent can turn it green."""
    return files("runner.spec").joinpath("starter.md").read_text("utf-8")
