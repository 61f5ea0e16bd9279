"""The fold of a run's facts: what happened, as everything that decides needs it."""

from runner.state.fold import evolve, failure_signature, pass_over
from runner.state.model import Iteration, Money, Overhead, Scored, State

__all__ = ["Iteration", "Money", "Overhead", "Scored", "State", "evolve", "failure_signature", "pass_over"]
