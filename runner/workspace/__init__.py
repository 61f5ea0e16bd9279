"""Checkpoints of the user's directory, and ways to bring them back."""

from runner.workspace.export import Exported, export
from runner.workspace.shadow import ShadowWorkspace
from runner.workspace.worktree import Applied, Clone, apply_back, clone_for

__all__ = ["Applied", "Clone", "Exported", "ShadowWorkspace", "apply_back", "clone_for", "export"]
