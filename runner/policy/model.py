"""What a run is held to besides its limits: completion, stall, retries. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

from runner.values import NanoUsd

MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one run. `promise` None = no claim is needed; times are milliseconds, outputs are tokens.

    `engines` counts the models that may be called one after the other; `can_count` and `contexts` say of each whether
    its provider counts a request's input for nothing, and how many tokens its window holds (0: nobody knows). A run
    waits `rate_wait_ms` at most for what a provider asks it to wait, and `patience_ms` in all for one that is busy.

    `on_ask` says what an unattended run does with a call that needs people: `deny`, `park` or `stop`; gates that name
    approvers always park it. `attended` = a terminal can be asked. `repeat_limit` refused calls in a row that were
    refused before are a stall; more than `asks_per_hour` questions stop the run.
    No call may cost more than `step_usd`. A score that is not `min_gain` above the best one before is no gain.
    """

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
    engines: int = 1
    can_count: tuple[bool, ...] = (False,)
    contexts: tuple[int, ...] = ()
    rate_wait_ms: int = 600_000
    patience_ms: int = 3_600_000
    on_ask: str = "deny"
    attended: bool = False
    repeat_limit: int | None = 4
    asks_per_hour: int | None = None
    step_usd: NanoUsd | None = None
    min_gain: float = 0.0

    def counts(self, engine: int) -> bool:
        """Whether the provider of this engine counts input for nothing."""
        return engine < len(self.can_count) and self.can_count[engine]

    def window(self, engine: int) -> int:
        """How many tokens the context of this engine holds, output included; 0 where nobody knows."""
        return self.contexts[engine] if engine < len(self.contexts) else 0
