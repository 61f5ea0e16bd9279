"""What a scripted provider does with each request: which reply, which usage, which fault. Deterministic by seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from runner.models.recording import Recording
from runner.models.replay import Request, answer
from runner.ports import Completion
from runner.values import Reply, ToolCall, Usage


class Fault(StrEnum):
    """A way not to answer as usual. Those a real provider does not bill are not billed here either."""

    REFUSE_400 = "refuse-400"
    REFUSE_401 = "refuse-401"
    REFUSE_402 = "refuse-402"
    REFUSE_403 = "refuse-403"
    REFUSE_404 = "refuse-404"
    REFUSE_413 = "refuse-413"
    REFUSE_422 = "refuse-422"
    REFUSE_429 = "refuse-429"  # with retry-after
    RATE_RESET = "refuse-reset-429"  # with the provider's own reset headers instead
    RATE_BARE = "refuse-bare-429"  # with neither
    REFUSE_503 = "refuse-503"
    REFUSE_529 = "refuse-529"
    ERROR_500 = "error-500"
    BARE_502 = "bare-502"
    BARE_503 = "bare-503"
    BARE_429 = "bare-429"
    DROP_BEFORE = "drop-before"  # the request was read, nothing was generated; the client cannot know
    DROP = "drop"  # generated and billed, and no header came
    DROP_MIDSTREAM = "drop-midstream"
    STALL = "stall"
    STALL_MIDSTREAM = "stall-midstream"
    GARBAGE = "garbage"
    NO_USAGE = "no-usage"
    ZERO_USAGE = "zero-usage"
    BAD_USAGE = "bad-usage"
    ERROR_IN_STREAM = "error-in-stream"
    OVER = "over"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    PAUSED = "paused"
    THINKING = "thinking"

    @property
    def status(self) -> int | None:
        """The HTTP status it answers with, when it is one."""
        _, _, digits = self.value.rpartition("-")
        return int(digits) if digits.isdecimal() else None

    @property
    def is_free(self) -> bool:
        """Whether the request is refused, and said to be, before anything is generated."""
        return self.value.startswith("refuse-")

    @property
    def is_billed(self) -> bool:
        """Whether the provider charges for the request."""
        return not self.is_free and self is not Fault.DROP_BEFORE

    @property
    def is_answer(self) -> bool:
        """Whether a whole reply comes with its true usage: odd, but nothing failed."""
        return self in {Fault.OVER, Fault.REFUSAL, Fault.TRUNCATED, Fault.PAUSED, Fault.THINKING}


LOSSES: tuple[Fault, ...] = (Fault.ERROR_500, Fault.DROP, Fault.DROP_MIDSTREAM, Fault.NO_USAGE, Fault.ERROR_IN_STREAM)
"""Faults that are billed and answer at once."""

_REFUSED = "I cannot help with that."


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How a provider behaves.

    `recording` None answers at random from `seed`. `random_usage` bills a random amount up to the bounds
    whatever the recording says. `faults` fail the first requests in turn (None: this one is fine); after them
    each request fails with probability `fault_rate`, by one of `fault_kinds`. `key` is the API key asked for.
    `count_ratio` are the input tokens of a byte (real text has 0.2 to 0.4), for every request the same; None leaves
    it to the recording or the dice. `retry_after_s` is what a 429 or 503 asks to wait. `cache` keeps prefixes and
    bills what it reads and writes. `provider` is what models are priced as (`openai/…`); "" goes by the API spoken.
    """

    recording: Recording | None = None
    seed: int = 0
    random_usage: bool = False
    faults: tuple[Fault | None, ...] = ()
    fault_rate: float = 0.0
    fault_kinds: tuple[Fault, ...] = LOSSES
    key: str | None = None
    delay_s: float = 0.0
    count_ratio: float | None = None
    retry_after_s: int = 1
    cache: bool = False
    provider: str = ""

    def fault(self, number: int) -> Fault | None:
        """What goes wrong with a request; the same for the same script and number (from 1 on)."""
        if number <= len(self.faults):
            return self.faults[number - 1]
        dice = random.Random(f"{self.seed}:{number}:fault")
        return dice.choice(self.fault_kinds) if dice.random() < self.fault_rate else None

    def reply(
        self, number: int, request: Request, tools: Sequence[str], lives: Sequence[str] = (), *, thinks: bool = False
    ) -> Completion:
        """The reply and its usage, before any fault; raises NoReplyError from a recording.

        `lives` are the lives of cached prefixes the request may write: without one, nothing is written.
        """
        dice = random.Random(f"{self.seed}:{number}:reply")
        if self.recording is not None:
            completion = answer(self.recording, request)[0]
        else:
            calls = (ToolCall(f"call_{number}", "list_files", "{}"),) if "list_files" in tools and number % 4 else ()
            reply = Reply(text=f"Looking around ({dice.randrange(10**6)}).", tool_calls=calls)
            completion = Completion(reply=reply, usage=self._any_usage(dice, request))
        if self.random_usage:
            completion = replace(completion, usage=self._any_usage(dice, request))
        if self.random_usage or self.recording is None:
            completion = replace(completion, usage=_split(completion.usage, dice, lives, thinks=thinks))
        if self.count_ratio is None or self.random_usage or self.recording is None:
            return completion
        # what a recording says of a cache belongs to its own count
        counted = Usage(self.count(request.size), completion.usage.output_tokens)
        return replace(completion, usage=counted)

    def count(self, size: int) -> int:
        """The input tokens of so many bytes: a provider counts the same words the same way every time."""
        told = 0.25 if self.recording is not None and not self.random_usage else self._share()
        return max(1, math.ceil(size * (told if self.count_ratio is None else self.count_ratio)))

    def _share(self) -> float:
        return random.Random(f"{self.seed}:tokenizer").uniform(0.05, 1.0)

    def _any_usage(self, dice: random.Random, request: Request) -> Usage:
        """Anything up to the bounds, by one tokenizer."""
        tokens = self.count(request.size)
        # whoever says a word has counted at least one token for it
        return Usage(tokens, dice.randint(1, max(1, request.granted)), dice.randint(0, tokens))


def _split(usage: Usage, dice: random.Random, lives: Sequence[str], *, thinks: bool) -> Usage:
    """The same tokens, divided at random over the classes they may be billed in."""
    left = usage.input_tokens - usage.cached_tokens
    written = dice.randint(0, left) if lives else 0
    return replace(
        usage,
        cache_write_tokens=written,
        cache_write_1h_tokens=0 if "1h" not in lives else written if len(lives) == 1 else dice.randint(0, written),
        reasoning_tokens=dice.randint(0, usage.output_tokens) if thinks else 0,
    )


def altered(completion: Completion, fault: Fault | None, granted: int) -> Completion:
    """The reply that comes instead, where the fault is another reply; its usage is what is billed."""
    reply, usage = completion.reply, completion.usage
    match fault:
        case Fault.OVER:
            # breaks the promise to honour the output limit
            return replace(completion, usage=replace(usage, output_tokens=granted * 4))
        case Fault.REFUSAL:
            return replace(completion, reply=Reply(text=_REFUSED, ending="refused"))
        case Fault.TRUNCATED:
            half = tuple(replace(call, arguments=call.arguments[:1]) for call in reply.tool_calls[-1:])
            cut = Reply(text=reply.text or "Cut", tool_calls=half, cut=True)
            return replace(completion, reply=cut, usage=replace(usage, output_tokens=granted))
        case Fault.PAUSED:
            return replace(completion, reply=Reply(text=reply.text or "Wait.", ending="paused"))
        case _:
            return completion
