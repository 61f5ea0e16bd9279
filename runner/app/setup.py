"""A spec's `setup` in the workspace: behind the walls of the tools, with a way to package registries, and no key."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.checks.process import Program
from runner.events.facts import SetupFinished
from runner.ports import Interrupt
from runner.sandbox import leftovers
from runner.sandbox.enclosure import UNWALLED, Enclosure
from runner.sandbox.process import Commands
from runner.secrets import Vault
from runner.spec.model import Spec

TIMEOUT_S = 1_800
_TAIL = 4_000


def run_setup(
    spec: Spec,
    *,
    root: Path,
    env: Mapping[str, str],
    vault: Vault,
    interrupt: Interrupt,
    enclosure: Enclosure = UNWALLED,
) -> SetupFinished:
    """Run every command in order; the first that does not end with 0 ends it."""
    began = time.monotonic()
    tag = leftovers.tag("setup", root)
    Commands(env, tag).end_leftovers()  # of a driver that was killed

    def finished(lines: Sequence[str], *, ok: bool) -> SetupFinished:
        tail = vault.mask("\n".join(lines))[-_TAIL:]
        return SetupFinished(ok=ok, tail=tail, seconds=round(time.monotonic() - began, 3), sandbox=enclosure.name)

    printed = ""
    with enclosure.of_setup() as (launch, refused):
        commands = Commands(env, tag, launch=launch)
        try:
            for argv in spec.setup:
                done = Program(commands, argv, cwd=root).run(timeout_s=TIMEOUT_S, interrupt=interrupt)
                printed = f"$ {' '.join(argv)}\n{done.output}"
                if done.exit_code != 0:
                    why = done.trouble or f"exit code {done.exit_code}"
                    return finished([printed, *refused, why], ok=False)
        finally:
            commands.host.close()
    return finished([printed], ok=True)
