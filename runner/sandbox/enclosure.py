"""The walls of what a run starts beside its tools: checks and services in their view, and setup with its way out."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runner.sandbox.plan import Plan
from runner.sandbox.process import Launch, unwalled
from runner.sandbox.proxy import Proxy
from runner.sandbox.registries import Registries
from runner.sandbox.walls import NONE, Backend

_NOTHING = Backend(name=NONE)
Launcher = Callable[[Mapping[str, str]], Launch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """Makes other walls out of those of the tools.

    `name` is how a verdict names them; `plan` gives what the tools may see and do, asked for when it is first wanted;
    `reach` gives whom setup may reach. `directory` is one of this user's alone, for the proxy's socket. `user` are the
    user and group that everything runs as, where that is not whoever runs runner.
    """

    name: str = NONE
    backend: Backend = _NOTHING
    plan: Callable[[], Plan] | None = None
    reach: Callable[[], Registries] = Registries
    directory: Path = Path()
    user: tuple[int, int] | None = None

    def hand_over(self, path: Path) -> None:
        """Let whoever everything runs as write in a directory. Only one that is fresh: another's links would count."""
        if self.user is None:
            return
        os.chown(path, *self.user, follow_symlinks=False)
        for folder, inner, files in os.walk(path):
            for name in (*inner, *files):
                os.chown(Path(folder, name), *self.user, follow_symlinks=False)

    def of_view(self, view: Path, writable: Sequence[Path]) -> Launcher:
        """The walls of checks: the view and `writable` can be written, the workspace only read, nobody be reached."""
        plan = self._in_view(view, writable)
        return unwalled if plan is None else self._launcher(replace(plan, network="none", proxy=None))

    @contextmanager
    def of_setup(self, view: Path | None = None) -> Generator[tuple[Launcher, Sequence[str]]]:
        """The walls of setup, in the workspace or in a view, and whom it asked for and may not reach.

        Caches are its own, unless the policy lets them be written: a package manager that finds one it cannot write
        gives up.
        """
        plan = self._plan() if view is None else self._in_view(view, ())
        if plan is None:
            yield unwalled, ()
            return
        known = self.reach()
        caches = plan.caches if plan.caches_writable else ()
        with Proxy(known.hosts, self.directory) as proxy:
            opened = replace(plan, network="proxy", proxy=proxy.path, proxy_port=proxy.port, caches=caches)
            told = replace(opened, read_only=(*plan.read_only, *sorted(known.paths)), given=known.variables)
            yield self._launcher(told), proxy.refused

    def _plan(self) -> Plan | None:
        return None if self.plan is None or self.backend.name == NONE else self.plan()

    def _in_view(self, view: Path, writable: Sequence[Path]) -> Plan | None:
        """HOME is new each time: no check leaves anything there for the next verdict."""
        plan = self._plan()
        if plan is None:
            return None
        read_only = (*plan.read_only, plan.workspace)
        return replace(plan, workspace=view, writable=tuple(writable), read_only=read_only, home=None)

    def _launcher(self, plan: Plan) -> Launcher:
        return lambda env: self.backend.launch(plan, env)


UNWALLED = Enclosure()
