"""The walls of a run: which there are here, what is said where there are none, and what they let in."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from runner.app import egress, lending, wallplan
from runner.app.wallplan import Ground
from runner.config import Settings
from runner.errors import ConfigError
from runner.policy.book import Rulebook, SandboxRules
from runner.sandbox import gaps, landlock, selftest, walls
from runner.sandbox.enclosure import Enclosure
from runner.sandbox.plan import Plan
from runner.sandbox.process import Launch, unwalled
from runner.sandbox.proxy import Proxy

RECORDED = "recorded"
REGISTRIES = "registries.json"
"""In a run's directory: where this machine's packages come from."""
ACCEPTED = "unsandboxed:accepted"
"""The topic of the note that somebody at a terminal accepted a run without walls."""
UNSANDBOXED = "tools, setup and services run unsandboxed: as this user, with its network and HOME"
WEAKER = {
    walls.LANDLOCK: "tools are held by Landlock and seccomp, which hold less than bubblewrap",
    walls.SEATBELT: "tools are held by Seatbelt",
}
_QUESTION = "There is no sandbox here: commands of the model would run as this user, with its network and HOME."
_INSTALL = "install bubblewrap: apt install bubblewrap"
_FIX = f"{_INSTALL}; or run as an ordinary user"
_ACCEPT = "or accept that nothing holds them: --sandbox none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What holds the commands of a run: `bubblewrap`, `landlock`, `none`, or `recorded` (none, and only recordings).

    `accepted` says by whom it was accepted that it is none: `setting` or `terminal`, "" by nobody.
    """

    name: str
    backend: walls.Backend
    accepted: str = ""

    @property
    def walled(self) -> bool:
        return self.backend.name != walls.NONE

    def sandboxed(self, rules: SandboxRules) -> bool:
        """Whether a policy may take commands for held: they are, or are a recording's, or a person answers for them."""
        return self.walled or self.name == RECORDED or (bool(self.accepted) and rules.accept_unsandboxed)

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """What the user, and the record, must be told, by topic."""
        if self.name == RECORDED:
            return (("unsandboxed", "unsandboxed: recorded commands only"),)
        if self.walled:
            left = gaps.said(self.backend.name, own=os.geteuid() != 0, abi=landlock.abi())
            why = f" ({self.backend.missing})" if self.backend.missing else ""
            return (("sandbox", f"{WEAKER[self.backend.name]}{why}; {left}"),) if left else ()
        asked = self.accepted == "terminal"
        accepted = ((ACCEPTED, "accepted at the terminal: no sandbox for this run"),) if asked else ()
        return (("unsandboxed", UNSANDBOXED), *accepted)


def choose(
    settings: Settings,
    rules: SandboxRules,
    workspace: Path,
    *,
    recorded: bool,
    accepted: bool = False,
    ask: Callable[[str], bool] | None = None,
) -> Choice:
    """What holds the commands of a run here. Raises ConfigError (exit 2) with the fix where nothing does.

    `recorded` = only recordings answer; `accepted` = the run was accepted without a sandbox before; `ask` asks somebody
    at this terminal, None where nobody is.
    """
    wanted = settings.sandbox
    if wanted.value == walls.NONE:
        if rules.required:
            msg = f"the policy requires a sandbox, and {wanted.place} says none"
            raise ConfigError(msg, hint=_INSTALL)
        return Choice(name=walls.NONE, backend=walls.Backend(name=walls.NONE), accepted="setting")
    among = [name for name in walls.BACKENDS if name in rules.backends and wanted.value in {"auto", name}]
    if not among:
        allowed = " or ".join(rules.backends) or "none at all"
        raise ConfigError(f"the policy allows no sandbox but {allowed}, and {wanted.place} says {wanted.value}")
    env = settings.tool_env()
    probe = Plan(
        workspace=workspace.resolve(),
        user_home=wallplan.user_home(env),
        run_as=settings.sandbox_user.value or rules.run_as,
    )
    backend = walls.choose(probe, settings.environ.get("PATH", os.defpath), among)
    if backend.name != walls.NONE:
        if broken := selftest.attempt(backend, probe):
            raise ConfigError(f"the sandbox does not hold: {'; '.join(broken)}", hint="runner doctor sandbox says more")
        return Choice(name=backend.name, backend=backend)
    if wanted.value == "auto" and not rules.required:
        if recorded:
            return Choice(name=RECORDED, backend=backend)
        if accepted or (ask is not None and ask(f"{_QUESTION} ({backend.missing})")):
            return Choice(name=walls.NONE, backend=backend, accepted="terminal")
    fix = _FIX if rules.required else f"{_FIX}; {_ACCEPT}"
    raise ConfigError(f"nothing here can hold the model's commands: {backend.missing}", hint=fix)


@contextmanager
def way_out(
    choice: Choice, settings: Settings, rulebook: Rulebook, workspace: Path, directory: Path
) -> Generator[Proxy | None]:
    """The proxy to whom the policy lets tools reach, while the block runs; None where that is nobody."""
    if not choice.walled or not rulebook.network.egress:
        yield None
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = egress.reach(rulebook.network.egress, settings.tool_env(), workspace=workspace, kept=directory / REGISTRIES)
    with Proxy(known.hosts, directory) as proxy:
        yield proxy


class Walls:
    """The walls of one run. Their plan is made once, when the first command is wanted; `proxy` is the way out."""

    def __init__(
        self,
        choice: Choice,
        settings: Settings,
        rulebook: Rulebook,
        ground: Callable[[], Ground],
        proxy: Proxy | None = None,
    ) -> None:
        self.choice = choice
        self._settings, self._rulebook, self._ground, self._proxy = settings, rulebook, ground, proxy

    @property
    def name(self) -> str:
        """As a run records it."""
        return self.choice.name

    @property
    def _run_as(self) -> str:
        return self._settings.sandbox_user.value or self._rulebook.sandbox.run_as

    @property
    def user(self) -> tuple[int, int] | None:
        """User and group that everything runs as, where that is not whoever runs runner."""
        other = self.choice.backend.name == walls.LANDLOCK and os.geteuid() == 0
        return lending.account(self._run_as) if other else None

    @cached_property
    def plan(self) -> Plan:
        """What commands may see and do."""
        ground, env = self._ground(), self._settings.tool_env()
        if ground.home is not None:
            wallplan.furnish(ground.home, env, self.user)
        made = wallplan.plan(ground, env, self._rulebook.sandbox, self._rulebook.paths)
        made = replace(made, run_as=self._run_as)
        if self._proxy is None:
            return made
        return replace(made, network="proxy", proxy=self._proxy.path, proxy_port=self._proxy.port)

    def enclosure(self, directory: Path) -> Enclosure:
        """The walls of what a run starts beside its tools; `directory` is one of this user's alone."""
        env = self._settings.tool_env()
        return Enclosure(
            name=self.name,
            backend=self.choice.backend,
            plan=lambda: self.plan,
            reach=lambda: egress.reach(
                self._rulebook.network.setup, env, workspace=self.plan.workspace, kept=directory / REGISTRIES
            ),
            directory=directory,
            user=self.user,
        )

    def launch(self, env: Mapping[str, str]) -> Launch:
        """How the host of the run's commands is started."""
        return self.choice.backend.launch(self.plan, env) if self.choice.walled else unwalled(env)
