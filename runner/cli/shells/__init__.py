"""Completion for shells: one script each, made from what the commands say of themselves.

A script knows commands, flags and fixed words by itself, so a Tab starts no program for them. Names that change (runs,
models, checkpoints) it asks of `runner _complete KIND`, see `runner.cli.shells.asked`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.cli.pages import Page

SHELLS = ("bash", "zsh", "fish")


def script(shell: str, root: Page) -> str:
    """Make the script of one of SHELLS for the program `root` describes."""
    from runner.cli.shells import bash, fish, zsh

    makers = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}
    return makers[shell](root)
