"""The claim an agent makes when it thinks it is done. A claim is not yet done: the checks decide that."""

from __future__ import annotations

from runner.spec.model import DEFAULT_PROMISE

# the other mark people's prompts ask for; it counts where the default one does
_ALIASES = {DEFAULT_PROMISE: ("LOOP_COMPLETE",)}


def claims(final_message: str, promise: str) -> bool:
    """Whether the last line that is not blank is exactly `promise`, white space at its end aside.

    Only the agent's final message may be given: what a tool printed or a file says is never a claim. Where the
    promise is the default one, `LOOP_COMPLETE` counts as well.
    """
    lines = final_message.rstrip().replace("\r", "\n").rsplit("\n", 1)
    return bool(promise) and lines[-1] in (promise, *_ALIASES.get(promise, ()))
