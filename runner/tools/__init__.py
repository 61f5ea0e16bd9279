"""The built-in tools: reading, searching and writing files of the workspace, and running commands in it."""

from runner.tools.builtin import BuiltinTools, effect_of
from runner.tools.output import Masks

__all__ = ["BuiltinTools", "Masks", "effect_of"]
