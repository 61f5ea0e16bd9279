"""What a run is held to besides its limits: completion, stall, retries. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one run. `promise` None = no claim is needed; times are milliseconds, outputs are tokens."""

    has_checks: bool = False
    target: float = 1.0
    promise: str | None = None
    stall_iterations: int | None = 3
    on_false_claim: str = "continue"
    has_setup: bool = False
    min_output: int = 1024
    max_output: int = 16_384
    budget_wait_ms: int = 600_000
    max_attempts: int = MOST_ATTEMPTS
