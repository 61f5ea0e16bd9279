"""Checks, services and setup behind walls: what they can reach, what the next verdict finds, and what still works."""

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.app.setup import run_setup
from runner.checks import SpecChecks
from runner.events.facts import SetupFinished
from runner.ports import Interrupt, Verdict
from runner.sandbox import places
from runner.sandbox.enclosure import Enclosure
from runner.sandbox.plan import Plan
from runner.sandbox.proxy import Destination
from runner.sandbox.registries import Registries
from runner.sandbox.walls import BUBBLEWRAP, Backend
from runner.secrets import Vault
from runner.spec.model import Check, Service, Spec
from runner.workspace import ShadowWorkspace
from tests.contract.walled import BWRAP, needs_bubblewrap

pytestmark = needs_bubblewrap
ENV = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": "/home/somebody"}


@dataclass
class Bench:
    root: Path
    scratch: Path
    workspace: ShadowWorkspace
    hosts: set[Destination] = field(default_factory=set)
    hidden: tuple[Path, ...] = ()

    @property
    def enclosure(self) -> Enclosure:
        home = Path(ENV["HOME"])
        return Enclosure(
            name=BUBBLEWRAP,
            backend=Backend(name=BUBBLEWRAP, program=BWRAP),
            plan=lambda: Plan(
                workspace=self.root,
                user_home=home,
                prefixes=places.prefixes(ENV["PATH"], home, workspace=self.root),
                hidden=self.hidden,
            ),
            reach=lambda: Registries(frozenset(self.hosts)),
            directory=self.scratch,
        )

    def checks(self) -> SpecChecks:
        return SpecChecks(self.workspace, self.scratch, env=ENV, vault=Vault({}), enclosure=self.enclosure)

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text, "utf-8")

    def verdict(
        self,
        *wanted: Check,
        checks: SpecChecks | None = None,
        setup: tuple[tuple[str, ...], ...] = (),
        services: tuple[Service, ...] = (),
    ) -> Verdict:
        tree = self.workspace.snapshot().tree
        spec = Spec(path="spec.md", text="", body="", title="", checks=wanted, setup=setup, services=services)
        return (checks or self.checks()).run(spec, tree=tree, base=tree, accepted={}, interrupt=Interrupt())

    def set_up(self, *setup: tuple[str, ...]) -> SetupFinished:
        spec = Spec(path="spec.md", text="", body="", title="", setup=setup)
        return run_setup(
            spec, root=self.root, env=ENV, vault=Vault({}), interrupt=Interrupt(), enclosure=self.enclosure
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    root = tmp_path / "workspace"
    root.mkdir()
    scratch = tmp_path / "state" / "scratch"
    scratch.mkdir(parents=True, mode=0o700)
    return Bench(root, scratch, ShadowWorkspace(root, tmp_path / "state"))


def sh(text: str, parse: str = "exit") -> Check:
    return Check(name=text, argv=("/bin/sh", "-c", text), parse=parse)


@pytest.fixture
def server() -> Generator[int]:
    """A server of this machine, outside the walls."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_port
        made.shutdown()


def test_the_verdict_names_what_it_was_reached_under(bench: Bench) -> None:
    bench.write({"a": ""})
    verdict = bench.verdict(sh("test -f a && touch here"))
    assert (verdict.score, verdict.sandbox) == (1.0, "bubblewrap")


def test_a_check_reaches_nothing_but_its_view(bench: Bench, tmp_path: Path, server: int) -> None:
    bench.write({"a": "", ".gitignore": ".env\n", ".env": "KEY=1\n"})
    bench.hidden = (bench.root / ".env",)
    outside = tmp_path / "outside"
    outside.mkdir()
    connect = f'import socket; socket.create_connection(("127.0.0.1", {server}), 2)'
    wanted = [
        f"touch {bench.root}/b",
        f"touch {outside}/b",
        f"ls {bench.scratch}/started.json",
        f"test -s {bench.root}/.env",
        f"python -c '{connect}'",
    ]
    verdict = bench.verdict(*(sh(text) for text in wanted), sh(f"test -f {bench.root}/a"))
    assert [result.name for result in verdict.results[:-1] if result.score] == []
    assert verdict.results[-1].score == 1.0
    assert list(outside.iterdir()) == []


def test_reports_and_what_is_printed_come_out(bench: Bench) -> None:
    bench.write({"test_a.py": "def test_a(): pass\ndef test_b(): assert False\n"})
    report = "{results}/r.xml"
    verdict = bench.verdict(
        Check(name="tests", argv=("pytest", "-q")),
        Check(name="report", argv=("pytest", "-q", f"--junitxml={report}"), parse="junit", report=report),
        sh("echo 1..2; echo ok 1; echo not ok 2; echo ok 3 >&2; exit 1", parse="tap"),
        Check(name="none", argv=("no-such-program",)),
    )
    counted = [(result.score, result.passed, result.total) for result in verdict.results[:3]]
    assert counted == [(0.0, 1, 2), (0.5, 1, 2), (0.5, 1, 2)]
    assert "was not found on PATH" in verdict.results[3].tail


def test_checks_of_a_verdict_share_what_they_write_and_the_next_verdict_begins_anew(bench: Bench) -> None:
    bench.write({"a": ""})
    checks = bench.checks()
    first = bench.verdict(sh("echo x > ~/left; echo x > /tmp/left"), sh("cat ~/left /tmp/left"), checks=checks)
    assert first.score == 1.0
    assert bench.verdict(sh("test ! -e ~/left -a ! -e /tmp/left"), checks=checks).score == 1.0


SERVICE = (
    "import http.server, sys\n"
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
)


def test_a_service_answers_behind_the_walls_whoever_has_its_port_outside(bench: Bench, server: int) -> None:
    bench.write({"serve.py": SERVICE, "mine": "of the service"})
    service = Service(name="web", argv=("python", "serve.py", str(server)), ready_port=server)
    ask = f'import urllib.request as u; print(u.urlopen("http://127.0.0.1:{server}/mine").read())'
    verdict = bench.verdict(sh(f"python -c '{ask}' | grep 'of the service'"), services=(service,))
    assert (verdict.score, verdict.notes) == (1.0, ())


def test_a_service_that_does_not_come_up_is_said(bench: Bench) -> None:
    bench.write({"a": ""})
    broken = Service(name="web", argv=("/bin/sh", "-c", "echo no config; exit 3"), ready_port=7)
    tail = bench.verdict(sh("true"), services=(broken,)).results[0].tail
    assert "no config" in tail
    assert "before it ended" in tail


def test_folders_of_the_workspace_that_the_view_links_to_are_there(bench: Bench) -> None:
    bench.write({"a": "", ".gitignore": "vendor/\n", "vendor/module.py": "x = 1\n"})
    assert bench.verdict(sh("grep x vendor/module.py && touch vendor/cache")).score == 1.0
    assert (bench.root / "vendor" / "cache").exists()


FETCH = """\
import http.client, os, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
connection.set_tunnel(sys.argv[1], int(sys.argv[2]))
connection.request("GET", "/")
open("fetched", "wb").write(connection.getresponse().read())
"""
ELSEWHERE = ("python", "fetch.py", "elsewhere.invalid", "443")


def test_setup_reaches_the_hosts_of_its_list_and_checks_do_not(bench: Bench, server: int) -> None:
    bench.write({"fetch.py": FETCH})
    bench.hosts = {Destination("localhost", server)}
    fetch = ("python", "fetch.py", "localhost", str(server))
    verdict = bench.verdict(sh('grep hello fetched && test -z "$HTTPS_PROXY"'), setup=(fetch,))
    assert (verdict.score, verdict.notes) == (1.0, ("setup ran in the scoring view",))


def test_whom_setup_may_not_reach_is_named(bench: Bench) -> None:
    bench.write({"fetch.py": FETCH})
    verdict = bench.verdict(sh("true"), setup=(ELSEWHERE,))
    assert verdict.score == 0.0
    assert "elsewhere.invalid:443 is not on the list of hosts that may be reached" in verdict.results[0].tail


def test_setup_of_the_workspace_has_the_same_walls(bench: Bench, server: int, tmp_path: Path) -> None:
    bench.write({"fetch.py": FETCH})
    bench.hosts = {Destination("localhost", server)}
    tried = f"touch {tmp_path}/outside; test ! -e {bench.scratch}/started.json; echo done"
    finished = bench.set_up(("python", "fetch.py", "localhost", str(server)), ("/bin/sh", "-c", tried))
    assert (finished.ok, finished.sandbox) == (True, "bubblewrap")
    assert (bench.root / "fetched").read_bytes() == b"hello"
    assert not (tmp_path / "outside").exists()
    refused = bench.set_up(ELSEWHERE)
    assert not refused.ok
    assert "elsewhere.invalid:443 is not on the list" in refused.tail


DRIVER = """\
import subprocess
import sys
from pathlib import Path
from tests.contract.test_checks_walled import Bench, sh
from runner.workspace import ShadowWorkspace

root, scratch, token = sys.argv[1:]
bench = Bench(Path(root), Path(scratch), ShadowWorkspace(Path(root), Path(scratch).parent))
bench.verdict(sh(f"setsid sleep 600.{token} & touch started; sleep 600.{token}"))
"""


def _alive(token: str) -> int:
    found = 0
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += process.read_bytes().startswith(b"sleep\0") and token.encode() in process.read_bytes()
    return found


def test_after_kill_9_nothing_behind_the_walls_is_left(bench: Bench) -> None:
    bench.write({"a": ""})
    token = str(os.getpid())
    words = [sys.executable, "-c", DRIVER, str(bench.root), str(bench.scratch), token]
    driver = subprocess.Popen(words, cwd=Path(__file__).parents[2])
    while not (bench.scratch / "view" / "started").exists() or _alive(token) < 2:
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    end = time.monotonic() + 30
    while _alive(token) and time.monotonic() < end:
        time.sleep(0.02)
    assert _alive(token) == 0
    assert bench.verdict(sh("true")).score == 1.0
