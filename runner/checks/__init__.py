"""Checks: what a spec's commands say of a tree, scored on a view that the agent cannot steer."""

from runner.checks.guard import WorkspaceGuard
from runner.checks.protect import Protection, protected_paths, protection
from runner.checks.results import Masks, failure_signature, total_score
from runner.checks.run import SpecChecks
from runner.checks.setup import setup_inputs

__all__ = [
    "Masks",
    "Protection",
    "SpecChecks",
    "WorkspaceGuard",
    "failure_signature",
    "protected_paths",
    "protection",
    "setup_inputs",
    "total_score",
]
