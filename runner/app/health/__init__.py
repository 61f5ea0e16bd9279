"""Look a machine over: what works, what does not, and how to mend it. Nothing is changed by looking."""

from runner.app.health.finding import Finding, Mark, World
from runner.app.health.rounds import CHECKS, examine, needed

__all__ = ["CHECKS", "Finding", "Mark", "World", "examine", "needed"]
