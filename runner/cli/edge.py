"""The one error edge: every error becomes text for a person and an exit code for a machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from runner.errors import RunnerError
from runner.secrets import Keys

BUG = 70


def guarded(command: Callable[[Keys], int], keys: Keys) -> int:
    """Run a command; errors end as `error: what`, where and what next, bugs as a report, a closed stdout as nothing.

    With `--json` on the command line an error is one JSON object on standard output too.
    """
    try:
        code = command(keys)
    except RunnerError as error:
        return _told(error, keys)
    except BrokenPipeError:
        let_go(1)
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001  the last edge: whatever it is, people get a report and not a traceback
        return _told(_bug(), keys)
    return _flushed(code)


def _told(error: RunnerError, keys: Keys) -> int:
    """Say an error; give its exit code. No key that is held shows in it, whatever it looks like."""
    from runner.cli import report
    from runner.secrets import mask_patterns

    # a command that needs no key leaves them where they are, in the environment
    vault = keys.vault(_in_environment())

    def mask(text: str) -> str:
        return mask_patterns(vault.mask(text))

    if "--json" in sys.argv:
        import json

        with contextlib.suppress(OSError):
            sys.stdout.write(json.dumps({"error": report.error_data(error, mask=mask)}, ensure_ascii=False) + "\n")
    # what was printed comes before what went wrong, also where both go to one file
    _flushed(0)
    tell(report.error_text(error, mask=mask, coloured=report.wants_colour()))
    return error.exit_code


def _in_environment() -> dict[str, str]:
    from runner.models.keys import is_key

    return {name: value for name, value in os.environ.items() if is_key(name) and value}


def _flushed(code: int) -> int:
    """Bring out what was printed. Whoever hung up wants no more; a full disk has lost something, and that is said."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        let_go(1)
    except OSError as error:
        let_go(1)
        tell(f"error: cannot write to standard output: {error.strerror}")
        return code or 1
    return code


def let_go(stream: int) -> None:
    """Point a closed standard output (1) or error (2) at nothing: nobody reads it, and nothing stumbles over it."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream)
        os.close(nothing)


def tell(text: str) -> None:
    """Say something on standard error, whether anybody listens or not."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        let_go(2)


def notice(kind: str, text: str, hint: str = "") -> None:
    """Say a `warning` or a `note` on standard error, as errors are said."""
    from runner.cli import report

    tell(report.notice_text(kind, text, hint, coloured=report.wants_colour()))


class BugError(RunnerError):
    """A fault of runner's own: nothing the user did."""

    exit_code = BUG


def _bug() -> BugError:
    import tempfile
    import traceback

    from runner.secrets import mask_patterns

    text = mask_patterns(traceback.format_exc())
    try:
        handle, name = tempfile.mkstemp(prefix="runner-bug-", suffix=".txt")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        where = f"a report is in {Path(name)}"
    except OSError:
        where = text
    msg = f"this is a bug in runner; {where}"
    return BugError(msg, hint="the run, if one was going, stays open: `runner runs`")
