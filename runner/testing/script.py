"""What a scripted provider does with each request: which reply, which usage, which fault. Deterministic by seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from runner.models.recording import Recording
from runner.models.replay import Request, answer
from runner.ports import Completion
from runner.values import Reply, ToolCall, Usage


class Fault(StrEnum):
    """A way to fail. Those a real provider does not bill are not billed here: `REFUSE_*`."""

    REFUSE_400 = "refuse-400"
    REFUSE_401 = "refuse-401"
    REFUSE_403 = "refuse-403"
    REFUSE_404 = "refuse-404"
    REFUSE_413 = "refuse-413"
    REFUSE_422 = "refuse-422"
    REFUSE_429 = "refuse-429"
    REFUSE_503 = "refuse-503"
    REFUSE_529 = "refuse-529"
    ERROR_500 = "error-500"
    BARE_502 = "bare-502"
    BARE_429 = "bare-429"
    DROP = "drop"
    DROP_MIDSTREAM = "drop-midstream"
    STALL = "stall"
    STALL_MIDSTREAM = "stall-midstream"
    GARBAGE = "garbage"
    NO_USAGE = "no-usage"
    BAD_USAGE = "bad-usage"
    ERROR_IN_STREAM = "error-in-stream"
    OVER = "over"

    @property
    def status(self) -> int | None:
        """The HTTP status it answers with, when it is one."""
        _, _, digits = self.value.rpartition("-")
        return int(digits) if digits.isdecimal() else None

    @property
    def is_free(self) -> bool:
        """Whether the request is refused before anything is generated."""
        return self.value.startswith("refuse-")


LOSSES: tuple[Fault, ...] = (Fault.ERROR_500, Fault.DROP, Fault.DROP_MIDSTREAM, Fault.NO_USAGE, Fault.ERROR_IN_STREAM)
"""Faults that are billed and answer at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How a provider behaves.

    `recording` None answers at random from `seed`. `random_usage` bills a random amount up to the bounds
    whatever the recording says. `faults` fail the first requests in turn (None: this one is fine); after them
    each request fails with probability `fault_rate`, by one of `fault_kinds`. `key` is the API key asked for.
    """

    recording: Recording | None = None
    seed: int = 0
    random_usage: bool = False
    faults: tuple[Fault | None, ...] = ()
    fault_rate: float = 0.0
    fault_kinds: tuple[Fault, ...] = LOSSES
    key: str | None = None
    delay_s: float = 0.0

    def fault(self, number: int) -> Fault | None:
        """What goes wrong with a request; the same for the same script and number (from 1 on)."""
        if number <= len(self.faults):
            return self.faults[number - 1]
        dice = random.Random(f"{self.seed}:{number}:fault")
        return dice.choice(self.fault_kinds) if dice.random() < self.fault_rate else None

    def reply(self, number: int, request: Request, tools: Sequence[str]) -> Completion:
        """The reply and its usage, before any fault; raises NoReplyError from a recording."""
        dice = random.Random(f"{self.seed}:{number}:reply")
        if self.recording is not None:
            completion = answer(self.recording, request)[0]
        else:
            calls = (ToolCall(f"call_{number}", "list_files", "{}"),) if "list_files" in tools and number % 4 else ()
            reply = Reply(text=f"Looking around ({dice.randrange(10**6)}).", tool_calls=calls)
            completion = Completion(reply=reply, usage=self._any_usage(dice, request))
        if not self.random_usage:
            return completion
        return Completion(reply=completion.reply, usage=self._any_usage(dice, request))

    def _any_usage(self, dice: random.Random, request: Request) -> Usage:
        """Anything up to the bounds, by one tokenizer: a provider counts the same words the same way every time."""
        share = random.Random(f"{self.seed}:tokenizer").uniform(0.05, 1.0)
        tokens = math.ceil(request.size * share)
        return Usage(tokens, dice.randint(0, request.granted), dice.randint(0, tokens))
