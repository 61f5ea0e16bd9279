"""Run `on_stop` and `on_park` of the user's configuration. A workspace has no say in them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The commands to run when a run stops or parks (argv, no shell; None = none).

    They get the run's JSON on standard input and 30 seconds; what they print is dropped. They start in the user's
    home, never in the workspace, so that no program of the workspace is taken for the one that was meant. Their
    environment is runner's with `more` over it.
    """

    on_stop: Sequence[str] | None = None
    on_park: Sequence[str] | None = None
    more: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_s: float = TIMEOUT_S

    def stopped(self, run: Mapping[str, object]) -> str | None:
        """Tell of a stop. Returns what went wrong in a sentence, None when nothing did; never raises for it."""
        return self._tell("on_stop", self.on_stop, run)

    def parked(self, run: Mapping[str, object]) -> str | None:
        """Tell of a parked run, as `stopped` does."""
        return self._tell("on_park", self.on_park, run)

    def _tell(self, name: str, argv: Sequence[str] | None, run: Mapping[str, object]) -> str | None:
        if not argv:
            return None
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=_home(),
                env={**os.environ, **self.more},
                start_new_session=True,
            )
        except OSError as error:
            return f"{name}: cannot run {argv[0]!r}: {error.strerror}"
        with process:
            try:
                process.communicate(msgspec.json.encode(run) + b"\n", timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return f"{name}: {argv[0]!r} did not end within {self.timeout_s:g} s and was ended"
            except OSError as error:
                return f"{name}: {argv[0]!r}: {error.strerror}"
        return f"{name}: {argv[0]!r} ended with {process.returncode}" if process.returncode else None


def _home() -> Path:
    home = Path.home()
    return home if home.is_dir() else Path("/")
