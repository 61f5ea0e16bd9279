"""Errors a caller can act on: what, where, what next.

RunnerError
├── ConfigError          exit 2   flag, spec, price, key: something the user wrote (path, line, column, hint)
├── UnpricedError        exit 2   a class of billing without a price
├── NotFoundError        exit 2   a run, checkpoint or file that is not there
├── RefusedError         exit 1   asked for something runner must not do now (conflict, held, differs)
├── BusyError            exit 75  another process holds the run or the workspace
├── StateError           exit 73  state directory or database cannot be read or written
├── LeaseLostError       exit 75  another process took this run over
├── WorkspaceError       exit 1   git or the file system refused; nothing was recorded
└── ModelError                    a call that did not bring a usable reply
    ├── NeverSentError            no byte left: the hold is released
    ├── UnbilledError             the provider refused with proof that nothing was billed: released
    ├── LostError                 the outcome is unknown: the hold is kept
    └── NoReplyError              a recording has no reply for this request: the run ends with 1
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def closest(word: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The one of `names` that somebody who wrote `word` most likely meant, for a hint; None when none is near."""
    from difflib import get_close_matches

    # nobody misspells a name at great length, and comparing costs the product of both
    return next(iter(get_close_matches(word[:80], list(names), n=1, cutoff=cutoff)), None)


class RunnerError(Exception):
    """Base of every error a user sees: one sentence of what happened, and what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigError(RunnerError):
    """Something the user wrote cannot be used. Shown with its place, the line there, and the hint.

    `line` and `column` are 1-based, `length` counts characters from there (0: not known). `quotable` is False where
    the line may hold a key: then it is not shown. `more` are further faults that were found in the same look.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        column: int | None = None,
        length: int = 0,
        hint: str = "",
        quotable: bool = True,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path, self.line, self.column, self.length = path, line, column, length
        self.quotable = quotable
        self.more: tuple[ConfigError, ...] = ()

    @classmethod
    def joined(cls, faults: Sequence[ConfigError]) -> ConfigError:
        """One error that tells of all `faults` (one at least), in the order of their places."""
        every = list(dict.fromkeys(one for fault in faults for one in (fault, *fault.more)))
        every.sort(key=lambda one: (one.line or 0, one.column or 0))
        first, *rest = every
        for one in every:
            one.more = ()
        first.more = tuple(rest)
        return first

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class UnpricedError(RunnerError):
    """A call would be, or was, billed in a class that the price book has no price for."""

    exit_code = 2


class NotFoundError(RunnerError):
    """A run, checkpoint or file that is not there."""

    exit_code = 2


class RefusedError(RunnerError):
    """What was asked would lose something or break a promise; nothing was changed."""


class BusyError(RunnerError):
    """Another process holds the run or the workspace. Try again later."""

    exit_code = 75


class LeaseLostError(BusyError):
    """Another process took this run over; this one must not write another event."""


class StateError(RunnerError):
    """The state directory or its database cannot be read or written. Nothing more was sent; the run stays open."""

    exit_code = 73


class WorkspaceError(RunnerError):
    """git or the file system refused; nothing was recorded as done."""


class ModelError(RunnerError):
    """A call that brought no usable reply. `retryable` says whether another attempt makes sense.

    `cause` is one of "", `rate`, `overload`, `connect`, `auth`, `billing`, `model`, `request`, `context`, `size`,
    `timeout`, `dropped`, `garbled`, `usage`, `stopped` and `server`; `request_id` is the provider's, where it gave one.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
        hint: str = "",
        cause: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.cause, self.request_id = cause, request_id


class NeverSentError(ModelError):
    """No byte of the request left this machine (refused connection, name not found)."""


class UnbilledError(ModelError):
    """The provider refused before it generated, with a status its table says is not billed."""


class LostError(ModelError):
    """The request may have been billed and nobody can say how much: the hold stays."""


class NoReplyError(ModelError):
    """The recording has no reply for this request."""
