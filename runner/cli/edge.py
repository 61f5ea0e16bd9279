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
    """Run a command; errors end as `runner: what` with a hint, bugs as a report, a closed stdout as nothing."""
    try:
        code = command(keys)
        sys.stdout.flush()
    except RunnerError as error:
        sys.stderr.write(f"runner: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        _close_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001  the last edge: whatever it is, people get a report and not a traceback
        return _bug()
    return code


def _close_stdout() -> None:
    """Point a closed stdout at nothing, so that the interpreter's last flush does not complain."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _bug() -> int:
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
    sys.stderr.write(
        f"runner: this is a bug in runner; {where}\n  the run, if one was going, stays open: `runner runs`\n"
    )
    return BUG
