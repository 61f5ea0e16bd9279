"""The fold of a run's facts: what happened, as everything that decides needs it."""

from runner.state.fold import evolve, failure_signature, pass_over
from runner.state.model import Asked, Iteration, Money, Overhead, Scored, State

__all__ = ["Asked", "Iteration", "Money", "Overhead", "Scored", "State", "evolve", "failure_signature", "pass_over"]
