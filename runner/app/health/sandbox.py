"""What holds the commands of a run here: every backend is tried, by commands that attempt to get out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from runner.app import wallplan
from runner.app.health.finding import Finding, Mark, World
from runner.sandbox import gaps, landlock, selftest, walls
from runner.sandbox.plan import Plan

INSTALL = "apt install bubblewrap (or dnf, pacman, apk add bubblewrap)"
_FOR_ALL = 0o777
_NAMES = {walls.BUBBLEWRAP: "bubblewrap", walls.LANDLOCK: "Landlock", walls.SEATBELT: "Seatbelt"}


def sandbox(world: World) -> Iterator[Finding]:
    """Each backend, whether it works here and passes the self-test, and what a run would take."""
    wanted = world.settings.sandbox
    env = world.settings.tool_env()
    with tempfile.TemporaryDirectory(prefix="runner-doctor-") as name:
        workspace = Path(name).resolve()
        # empty, and gone in a moment; another user's commands must be able to write it
        workspace.chmod(_FOR_ALL)
        run_as = world.settings.sandbox_user.value or ""
        plan = Plan(workspace=workspace, user_home=wallplan.user_home(env), run_as=run_as)
        found = {name: _tried(name, plan, world) for name in walls.BACKENDS if name != walls.SEATBELT or _mac(plan)}
    working = [name for name, finding in found.items() if finding.mark is Mark.OK]
    taken = next((name for name in working if wanted.value in {"auto", name}), "")
    yield _taken(taken, wanted.value, wanted.place)
    for finding in found.values():
        # what is missing matters where nothing else is there
        yield replace(finding, mark=Mark.NOTE) if working and finding.mark is Mark.WARN else finding
    if left := gaps.said(taken, own=os.geteuid() != 0, abi=landlock.abi()):
        yield Finding(Mark.WARN, "not held", f"{left.removeprefix('not stopped: ')}", INSTALL)


def _mac(plan: Plan) -> bool:
    return walls.choose(plan, os.defpath, (walls.SEATBELT,)).name == walls.SEATBELT


def _tried(name: str, plan: Plan, world: World) -> Finding:
    """One backend: not there, there and not holding, or holding."""
    backend = walls.choose(plan, world.environ.get("PATH", os.defpath), (name,))
    if backend.name == walls.NONE:
        return Finding(Mark.WARN, _NAMES[name], backend.missing.partition(": ")[2])
    if broken := selftest.attempt(backend, plan):
        return Finding(Mark.FAIL, _NAMES[name], "; ".join(broken), "do not trust it: name another (sandbox = ...)")
    version = f" (ABI {landlock.abi()})" if name == walls.LANDLOCK else ""
    text = f"works{version}, and passed the self-test: no way out by file, network or signal"
    return Finding(Mark.OK, _NAMES[name], text)


def _taken(taken: str, wanted: str, place: str) -> Finding:
    """What a run would take: `taken`, or nothing."""
    if wanted == walls.NONE:
        text = f"{place} says none: runs go unsandboxed, with your rights, in your network"
        return Finding(Mark.WARN, "sandbox", text, "for a spec you do not trust, take that back: sandbox = auto")
    if taken:
        return Finding(Mark.OK, "sandbox", f"{_NAMES[taken]} holds what tools, checks and setup start")
    text = "nothing here can hold what a model starts: unattended runs end with exit code 2"
    return Finding(Mark.WARN, "sandbox", text, f"{INSTALL}; or accept it: --sandbox none")
