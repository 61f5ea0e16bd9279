"""The spec's checks, run on a scoring view and never on the workspace."""

from __future__ import annotations

import os
import secrets
import shlex
import stat
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runner.checks import names
from runner.checks.junit import LARGEST_REPORT
from runner.checks.process import INTERRUPTED, Program, knocking
from runner.checks.protect import Protection
from runner.checks.results import Evidence, Masks, Outcome, judge, tail_of, total_score
from runner.checks.setup import Products, run_setup
from runner.checks.view import View, ViewBuilder, remove
from runner.errors import WorkspaceError
from runner.ports import Interrupt, Verdict, Workspace
from runner.sandbox import leftovers
from runner.sandbox.enclosure import UNWALLED, Enclosure, Launcher
from runner.sandbox.process import Commands, unwalled
from runner.spec.model import Check, Service, Spec
from runner.values import CheckResult

SETUP_TIMEOUT_S = 1_800
RESULTS = "{results}"

# They name code, or options, from outside the view.
_DROPPED = frozenset(
    {"PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONUSERBASE", "PYTEST_ADDOPTS", "PYTEST_PLUGINS"}
)
_SERVICE_GRACE_S = 2.0
_TICK_S = 0.02


class SpecChecks:
    """Implements `ports.Checks`.

    `scratch` is a directory of this run alone, outside the workspace, kept between iterations; make the object
    before the agent starts: it notes which ignored folders the workspace has. `env` is the whole environment of the
    checks. `normalise` gives a spec's text with every checkbox open. `enclosure` holds all that is run.

    When `interrupt` fires, `run` ends everything and returns soon; its verdict then has a note `interrupted` and is
    no judgement of the tree: look at `interrupt.fired` before recording it.
    """

    def __init__(
        self,
        workspace: Workspace,
        scratch: Path,
        *,
        env: Mapping[str, str],
        vault: Masks,
        normalise: Callable[[str], str] = str,
        enclosure: Enclosure = UNWALLED,
    ) -> None:
        self._enclosure = enclosure
        self._env = {name: value for name, value in env.items() if name not in _DROPPED}
        # The view is thrown away; byte code would only be written through links, into the workspace.
        self._env["PYTHONDONTWRITEBYTECODE"] = "1"
        self._vault = vault
        self._workspace = workspace
        self._views = ViewBuilder(workspace, scratch, env=self._env, normalise=normalise)
        self._scratch = scratch.resolve()
        self._products = Products(workspace, self._scratch)
        self._commands = _commands(self._scratch, self._env)

    def protection(self, spec: Spec, base: str) -> Protection:
        """What is protected under `spec` and checkpoint 0, for a `WorkspaceGuard`."""
        return self._views.protection(spec, base)

    def run(self, spec: Spec, *, tree: str, base: str, accepted: Mapping[str, str], interrupt: Interrupt) -> Verdict:
        if not spec.checks:
            return Verdict(results=(), score=None)
        # A runner that was killed may have left programs that hold a port or write into the old view.
        self._commands.end_leftovers()
        for old in self._scratch.glob("results-*"):
            remove(old)
        key = self._products.key(spec, tree) if spec.setup else ""
        fresh = not (spec.setup and self._products.take(self._views.path, key))
        view = self._views.build(spec, tree=tree, base=base, accepted=accepted)
        self._enclosure.hand_over(view.path)
        notes = list(view.notes)
        trouble = ""
        if spec.setup and not fresh:
            self._products.put(view.path, key)
        elif spec.setup:
            notes.append("setup ran in the scoring view")
            trouble = self._set_up(spec, view, key, interrupt)
        if trouble:
            results = tuple(self._none(check, trouble) for check in spec.checks)
        else:
            results = self._results(spec, view, interrupt, notes)
        if interrupt.fired:
            notes.append(INTERRUPTED)
        return Verdict(
            results=results,
            score=total_score(spec.checks, results),
            left_out=view.left_out,
            self_tested=view.self_tested,
            notes=tuple(self._vault.mask(note) for note in notes),
            sandbox=self._enclosure.name,
        )

    def _set_up(self, spec: Spec, view: View, key: str, interrupt: Interrupt) -> str:
        """Run the spec's setup in the view; what went wrong, or ""."""
        with self._enclosure.of_setup(view.path) as (launch, refused), self._started_by(launch):
            trouble = run_setup(spec, self._products, view, key, lambda argv: self._setup(argv, view, interrupt))
        return "\n".join([trouble, *refused]) if trouble else ""

    def _results(self, spec: Spec, view: View, interrupt: Interrupt, notes: list[str]) -> tuple[CheckResult, ...]:
        with (
            self._private_directory(self._scratch) as results,
            self._started_by(self._enclosure.of_view(view.path, (results, *view.linked))),
        ):
            return self._with_services(spec, view, results, interrupt, notes)

    @contextmanager
    def _started_by(self, launch: Launcher) -> Generator[None]:
        """Start programs this way, and end them all."""
        self._commands = _commands(self._scratch, self._env, launch)
        try:
            yield
        finally:
            self._commands.host.close()

    def _with_services(
        self, spec: Spec, view: View, results_root: Path, interrupt: Interrupt, notes: list[str]
    ) -> tuple[CheckResult, ...]:
        started: list[Program] = []
        try:
            for service in spec.services:
                try:
                    trouble = self._start(service, view, started, interrupt)
                except (OSError, WorkspaceError) as error:
                    trouble = f"the service {service.name!r} could not be started: {error}"
                if trouble:
                    return tuple(self._none(check, trouble) for check in spec.checks)
            results: list[CheckResult] = []
            for check in spec.checks:
                if interrupt.fired:
                    results.append(self._none(check, INTERRUPTED))
                    continue
                try:
                    results.append(self._check(check, view, results_root, interrupt))
                except (OSError, WorkspaceError) as error:
                    # A check may have taken the view, or its own results, from under the next step.
                    results.append(self._none(check, f"could not be run: {error}"))
                notes += [
                    f"the service {service.name!r} had ended after the check {check.name!r}"
                    for service, program in zip(spec.services, started, strict=True)
                    if program.ended and service.ready_port is not None
                ]
            return tuple(results)
        finally:
            for program in reversed(started):
                program.stop(grace_s=_SERVICE_GRACE_S)

    def _check(self, check: Check, view: View, results_root: Path, interrupt: Interrupt) -> CheckResult:
        with self._private_directory(results_root) as results:
            argv = tuple(word.replace(RESULTS, str(results)) for word in check.argv)
            program = names.program_of_tests(check.argv)
            report = check.report.replace(RESULTS, str(results))
            if check.parse == "exit" and program == "pytest":
                # Its own count tells an empty or unfinished run from a green one.
                report = str(results / "runner-junit.xml")
                argv = _with_report(argv, report)
            stated = (view.path / report) if report else None
            if stated is not None and _beneath(stated, view.path) and not stated.is_dir():
                # Whatever stands there now was not written by this check.
                remove(stated)
            outcome = self._program(argv, view, split=check.parse in {"tap", "number"}).run(
                timeout_s=check.timeout_s, interrupt=interrupt
            )
            found = [stated] if stated is not None else sorted(results.glob("*.xml")) if check.parse == "junit" else []
            reports = [data for path in found if (data := _read_report(path, (view.path, results))) is not None]
            if check.parse in {"tap", "number"} and report and not reports:
                return self._none(check, f"no report at {check.report}", outcome)
            evidence = Evidence(reports=reports, program=program, may_skip=view.may_skip)
            return judge(check, outcome, evidence, vault=self._vault)

    def _setup(self, argv: tuple[str, ...], view: View, interrupt: Interrupt) -> str:
        try:
            outcome = self._program(argv, view).run(timeout_s=SETUP_TIMEOUT_S, interrupt=interrupt)
        except (OSError, WorkspaceError) as error:
            return f"setup {' '.join(argv)!r} could not be run: {error}"
        if outcome.exit_code == 0:
            return ""
        how = outcome.trouble or f"exit code {outcome.exit_code}"
        return tail_of(outcome, [f"setup {' '.join(argv)!r} failed: {how}"], vault=self._vault)

    def _start(self, service: Service, view: View, started: list[Program], interrupt: Interrupt) -> str:
        """Start one service and wait until it answers; what went wrong, or ""."""
        port = service.ready_port
        if port is not None and self._answers(port, view, 0, interrupt):
            return f"the service {service.name!r} was not started: something answers on port {port} already"
        program = self._program(service.argv, view)
        program.begin()
        started.append(program)
        if port is None or self._answers(port, view, service.timeout_s, interrupt, program):
            return ""
        if interrupt.fired:
            return INTERRUPTED
        late = "before it ended" if program.ended else f"in {service.timeout_s} s"
        return f"{program.printed()[-2000:]}\nthe service {service.name!r} did not answer on port {port} {late}"

    def _answers(
        self, port: int, view: View, within_s: float, interrupt: Interrupt, service: Program | None = None
    ) -> bool:
        """Whether something listens on a port, or begins to in time. A service that ended is not waited for."""
        knock = self._program(knocking(port, within_s), view)
        knock.begin()
        while not knock.ended:
            if interrupt.wait(_TICK_S) or (service is not None and service.ended):
                knock.stop(grace_s=0)
        return knock.status == 0

    def _program(self, argv: tuple[str, ...], view: View, *, split: bool = False) -> Program:
        return Program(self._commands, argv, cwd=view.path, split=split)

    def _none(self, check: Check, trouble: str, outcome: Outcome | None = None) -> CheckResult:
        """The result of a check that could not be judged."""
        ran = outcome if outcome is not None else Outcome(exit_code=None, output="")
        return CheckResult(
            name=check.name,
            exit_code=ran.exit_code,
            score=0.0,
            seconds=ran.seconds,
            tail=tail_of(ran, [*([ran.trouble] if ran.trouble else []), *trouble.splitlines()], vault=self._vault),
        )

    @contextmanager
    def _private_directory(self, above: Path) -> Generator[Path]:
        """A directory nobody could know before, mode 0700, gone afterwards."""
        # A path that a shell would take apart cannot stand in a check's text.
        plain = shlex.quote(str(above)) == str(above)
        path = Path(tempfile.mkdtemp(prefix=f"results-{secrets.token_hex(8)}-", dir=above if plain else None)).resolve()
        self._enclosure.hand_over(path)
        try:
            yield path
        finally:
            remove(path)


def _with_report(argv: tuple[str, ...], report: str) -> tuple[str, ...]:
    if argv[:2] == names.SHELL:
        return (*argv[:2], f"{argv[2]} --junitxml={shlex.quote(report)}")
    return (*argv, f"--junitxml={report}")


def _read_report(path: Path, allowed: tuple[Path, ...]) -> bytes | None:
    """A report's bytes, one more than the limit at most; None unless it is a plain file where a check may write one."""
    if not any(_beneath(path, each) for each in allowed):
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(LARGEST_REPORT + 1)


def _beneath(path: Path, root: Path) -> bool:
    """Whether a path's folder, links followed, lies in `root`."""
    try:
        return path != root and path.parent.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop of links leads nowhere
        return False


def _commands(scratch: Path, env: Mapping[str, str], launch: Launcher = unwalled) -> Commands:
    """What starts the programs of one run's checks; their mark is the same after a crash."""
    return Commands(env, leftovers.tag("checks", scratch), launch=launch)
