"""A spec's `setup` in the workspace: as this user, with this user's network and HOME, and never a key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from runner.checks.process import Program
from runner.events.facts import SetupFinished
from runner.ports import Interrupt
from runner.sandbox import leftovers
from runner.sandbox.process import Commands
from runner.secrets import Vault
from runner.spec.model import Spec

TIMEOUT_S = 1_800
_TAIL = 4_000


def run_setup(spec: Spec, *, root: Path, env: Mapping[str, str], vault: Vault, interrupt: Interrupt) -> SetupFinished:
    """Run every command in order; the first that does not end with 0 ends it."""
    began = time.monotonic()
    printed = ""
    commands = Commands(env, leftovers.tag("setup", root))
    commands.end_leftovers()  # of a driver that was killed
    try:
        for argv in spec.setup:
            done = Program(commands, argv, cwd=root).run(timeout_s=TIMEOUT_S, interrupt=interrupt)
            printed = f"$ {' '.join(argv)}\n{done.output}"
            if done.exit_code != 0:
                why = done.trouble or f"exit code {done.exit_code}"
                return _finished(f"{printed}\n{why}", vault, began, ok=False)
    finally:
        commands.host.close()
    return _finished(printed, vault, began, ok=True)


def _finished(text: str, vault: Vault, began: float, *, ok: bool) -> SetupFinished:
    return SetupFinished(ok=ok, tail=vault.mask(text)[-_TAIL:], seconds=round(time.monotonic() - began, 3))
