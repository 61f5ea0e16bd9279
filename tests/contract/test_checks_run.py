"""Checks as processes: they end, leave nothing, keep secrets, and need what they say they need."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.checks import SpecChecks
from runner.ports import Interrupt, Verdict
from runner.spec.model import Check, Service, Spec
from runner.workspace import ShadowWorkspace

PATH = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"


class Vault:
    def mask(self, text: str) -> str:
        return text.replace("hunter2", "[secret:KEY]")


@dataclass
class Bench:
    root: Path
    scratch: Path
    workspace: ShadowWorkspace
    interrupt: Interrupt = field(default_factory=Interrupt)
    base: str = ""

    def checks(self) -> SpecChecks:
        return SpecChecks(self.workspace, self.scratch, env={"PATH": PATH}, vault=Vault())

    def start(self, files: Mapping[str, str]) -> SpecChecks:
        self.write(files)
        self.base = self.workspace.snapshot().tree
        return self.checks()

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text, "utf-8")

    def verdict(self, checks: SpecChecks, *wanted: Check, **more) -> Verdict:
        return checks.run(
            Spec(path="spec.md", text="", body="", title="", checks=wanted, **more),
            tree=self.workspace.snapshot().tree,
            base=self.base,
            accepted={},
            interrupt=self.interrupt,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    root = tmp_path / "workspace"
    root.mkdir()
    return Bench(root, tmp_path / "scratch", ShadowWorkspace(root, tmp_path / "state"))


def sh(text: str, **more) -> Check:
    return Check(name=more.pop("name", "c"), argv=("/bin/sh", "-c", text), **more)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_a_check_runs_in_the_view_without_input_or_anothers_code(bench: Bench, tmp_path: Path) -> None:
    checks = bench.start({"a": ""})
    verdict = bench.verdict(
        checks, sh(f'test "$PWD" = "{tmp_path}/scratch/view" && ! read line && test -z "$PYTHONPATH"')
    )
    assert verdict.score == 1.0


def test_results_is_a_fresh_private_directory_that_goes_away(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    check = sh("echo {results}; stat -c %a {results}; ls -A {results}; touch {results}/x; false")
    tails = [bench.verdict(checks, check).results[0].tail.splitlines() for _ in range(2)]
    assert [tail[1:] for tail in tails] == [["700"], ["700"]]
    assert tails[0][0] != tails[1][0]
    assert not any(Path(tail[0]).exists() or Path(tail[0]).is_relative_to(bench.root) for tail in tails)


def test_a_program_that_does_not_exist_is_zero_and_named(bench: Bench) -> None:
    result = bench.verdict(bench.start({"a": ""}), Check(name="c", argv=("no-such-program",))).results[0]
    assert (result.score, result.exit_code, result.tail) == (0.0, 127, "no-such-program: was not found on PATH")


@pytest.mark.parametrize(
    "mess",
    [
        "mkdir {results}/r.xml",
        "mkfifo {results}/r.xml",
        "rm -rf {results}",
        "rm -rf {results}; ln -s x {results}",
        "chmod 0 {results}",
        'rm -rf "$PWD"; ln -s "$PWD" "$PWD"',
        'rm -rf "$PWD"; touch "$PWD"',
        "yes | head -c 17000000 > {results}/r.xml",
    ],
)
def test_a_check_that_makes_a_mess_is_red_and_nothing_worse(bench: Bench, mess: str) -> None:
    checks = bench.start({"a": ""})
    messy = sh(mess, name="messy", parse="junit", report="{results}/r.xml")
    assert [result.score for result in bench.verdict(checks, messy, sh("test -e nothing")).results] == [0.0, 0.0]
    assert bench.verdict(checks, sh("test -f a")).score == 1.0
    assert [path.name for path in bench.scratch.iterdir() if path.name.startswith("results-")] == []


def test_a_check_that_hangs_is_ended_with_all_it_started(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    check = sh("sleep 600 & echo $!; setsid sleep 600 & echo $!; sleep 600", timeout_s=1)
    result = bench.verdict(checks, check).results[0]
    pids = [int(line) for line in result.tail.splitlines() if line.isdigit()]
    assert (result.score, result.exit_code, result.tail.splitlines()[-1]) == (0.0, None, "runner: timed out after 1 s")
    assert [alive(pid) for pid in pids] == [False, False]


def test_a_daemon_left_behind_is_ended_and_said(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    result = bench.verdict(checks, sh("setsid sleep 600 >/dev/null 2>&1 & echo $!")).results[0]
    pid, said = result.tail.splitlines()
    assert (result.score, said, alive(int(pid))) == (1.0, "runner: left 1 process behind, ended", False)


def test_a_hundred_megabytes_of_output_are_read_and_not_kept(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    check = Check(name="c", argv=("python", "-c", "print(('x' * 1_000_000 + chr(10)) * 100); print('end'); exit(1)"))
    result = bench.verdict(checks, check).results[0]
    assert result.exit_code == 1
    assert result.tail.endswith("x\n\nend")
    assert len(result.tail) <= 4_001


def test_secrets_are_masked_in_what_a_check_printed(bench: Bench) -> None:
    assert bench.verdict(bench.start({"a": ""}), sh("echo hunter2; false")).results[0].tail == "[secret:KEY]"


def test_an_interrupt_ends_a_check_at_once_and_is_said(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    started = bench.scratch / "view" / "started"

    def fire() -> None:
        while not started.exists():
            time.sleep(0.01)
        bench.interrupt.fire()

    thread = threading.Thread(target=fire)
    thread.start()
    begin = time.monotonic()
    verdict = bench.verdict(checks, sh("touch started; sleep 600"), sh("touch second", name="d"))
    thread.join()
    assert time.monotonic() - begin < 60
    assert (verdict.score, verdict.notes) == (0.0, ("interrupted",))
    assert [result.exit_code for result in verdict.results] == [None, None]
    assert not (bench.scratch / "view" / "second").exists()


def test_tap_and_numbers_are_read_from_standard_output_alone(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    verdict = bench.verdict(
        checks,
        sh("echo 1..2; echo ok 1; echo not ok 2; echo ok 3 >&2; exit 1", name="tap", parse="tap"),
        sh("echo 30; echo 99 >&2", name="number", parse="number", out_of=40.0),
    )
    assert [result.score for result in verdict.results] == [0.5, 0.75]
    assert verdict.score == 0.625


DRIVER = """\
import sys
from pathlib import Path
from runner.checks import SpecChecks
from runner.ports import Interrupt
from runner.spec.model import Check, Spec
from runner.workspace import ShadowWorkspace

class Vault:
    def mask(self, text):
        return text

root, state, scratch, path, tree = sys.argv[1:]
checks = SpecChecks(ShadowWorkspace(Path(root), Path(state)), Path(scratch), env={"PATH": path}, vault=Vault())
check = Check(name="c", argv=("/bin/sh", "-c", "setsid sleep 600 & echo $! $$ > pids.new; mv pids.new pids; sleep 600"))
spec = Spec(path="spec.md", text="", body="", title="", checks=(check,))
checks.run(spec, tree=tree, base=tree, accepted={}, interrupt=Interrupt())
"""


def test_after_kill_9_the_check_and_its_strays_are_dead(bench: Bench, tmp_path: Path) -> None:
    checks = bench.start({"a": ""})
    pids = bench.scratch / "view" / "pids"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, bench.root, tmp_path / "state", bench.scratch, PATH, bench.base],
        cwd=Path(__file__).parents[2],
    )
    while not pids.exists():
        assert driver.poll() is None
        time.sleep(0.01)
    stray, check = (int(pid) for pid in pids.read_text("utf-8").split())
    driver.kill()
    driver.wait()
    end = time.monotonic() + 30
    while (alive(check) or alive(stray)) and time.monotonic() < end:
        time.sleep(0.01)
    assert (alive(check), alive(stray)) == (False, False)
    assert bench.verdict(checks, sh("true")).score == 1.0


SERVER = """\
import http.server, os, sys
with open("served-by", "w") as file:
    file.write(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
CLIENT = (
    "import sys, urllib.request\nassert urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[1]}/a').status == 200\n"
)


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_service_is_up_while_checks_run_and_gone_afterwards(bench: Bench, port: int) -> None:
    checks = bench.start({"a": "", "server.py": SERVER, "client.py": CLIENT})
    service = Service(name="web", argv=("/bin/sh", "-c", f"python server.py {port} & wait"), ready_port=port)
    verdict = bench.verdict(checks, sh(f"python client.py {port}"), services=(service,))
    assert (verdict.score, verdict.notes) == (1.0, ())
    assert not alive(int((bench.scratch / "view" / "served-by").read_text("utf-8")))


def test_a_service_that_does_not_come_up_scores_nothing_and_says_why(bench: Bench, port: int) -> None:
    checks = bench.start({"a": ""})
    broken = Service(name="web", argv=("/bin/sh", "-c", "echo no config; exit 3"), ready_port=port)
    late = Service(name="web", argv=("sleep", "600"), ready_port=port, timeout_s=1)
    ended = bench.verdict(checks, sh("true"), services=(broken,))
    assert ended.score == 0.0
    assert "no config" in ended.results[0].tail
    assert "did not answer on port" in bench.verdict(checks, sh("true"), services=(late,)).results[0].tail


def test_a_port_somebody_else_answers_is_not_taken_for_the_service(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    with socket.create_server(("127.0.0.1", 0)) as other:
        service = Service(name="web", argv=("sleep", "600"), ready_port=other.getsockname()[1])
        verdict = bench.verdict(checks, sh("true"), services=(service,))
    assert verdict.score == 0.0
    assert "answers on port" in verdict.results[0].tail


def test_ignored_folders_of_the_start_are_linked_and_later_ones_are_not(bench: Bench) -> None:
    files = {
        ".gitignore": "node_modules/\nlater/\n",
        "node_modules/dep/index.js": "",
        "pkg/node_modules/x": "",
        "pkg/a": "",
    }
    checks = bench.start(files)
    bench.write({"later/thing": ""})
    check = sh("test -f node_modules/dep/index.js && test -f pkg/node_modules/x && test ! -e later")
    for each in (checks, bench.checks()):  # a resumed run remembers
        verdict = bench.verdict(each, check)
        assert verdict.score == 1.0
        assert "node_modules, pkg/node_modules;" in verdict.notes[0]


def test_a_virtual_environment_with_a_new_start_module_is_not_linked(bench: Bench) -> None:
    site = ".venv/lib/python3.11/site-packages"
    checks = bench.start({".gitignore": ".venv/\n", f"{site}/dep.py": "", "a": ""})
    bench.write({f"{site}/sitecustomize.py": "import os; os._exit(0)\n"})
    verdict = bench.verdict(checks, sh("test ! -e .venv"))
    assert verdict.score == 1.0
    assert verdict.left_out == (
        f".venv: {site}/sitecustomize.py was added or changed since the start, and Python runs it",
    )


SETUP = ("/bin/sh", "-c", "echo run >> ../setups; mkdir -p deps pkg; cp wanted.lock deps/have; echo x > pkg/built")


def setups(bench: Bench) -> int:
    return len((bench.scratch / "setups").read_text("utf-8").splitlines())


def test_setup_runs_once_and_what_it_made_is_carried_over(bench: Bench) -> None:
    checks = bench.start({"wanted.lock": "1", "pkg/a": "old", "b": ""})
    check = sh("test -f deps/have && test -f pkg/built && grep -q new pkg/? && test ! -e gone && touch gone")
    bench.write({"pkg/a": "new"})
    assert bench.verdict(checks, check, setup=(SETUP,)).score == 1.0
    bench.write({"b": "more"})
    assert bench.verdict(checks, check, setup=(SETUP,)).score == 1.0
    assert bench.verdict(bench.checks(), check, setup=(SETUP,)).score == 1.0
    assert setups(bench) == 1
    bench.write({"wanted.lock": "2"})
    assert bench.verdict(checks, sh("grep -q 2 deps/have"), setup=(SETUP,)).score == 1.0
    assert setups(bench) == 2


def test_what_setup_made_is_made_again_when_altered_and_additions_go(bench: Bench) -> None:
    checks = bench.start({"wanted.lock": "1"})
    assert bench.verdict(checks, sh("echo evil > deps/sitecustomize.py"), setup=(SETUP,)).score == 1.0
    assert bench.verdict(checks, sh("test ! -e deps/sitecustomize.py"), setup=(SETUP,)).score == 1.0
    assert setups(bench) == 1
    assert bench.verdict(checks, sh("echo evil > deps/have"), setup=(SETUP,)).score == 1.0
    assert bench.verdict(checks, sh("grep -q 1 deps/have"), setup=(SETUP,)).score == 1.0
    assert setups(bench) == 2


def test_a_setup_that_fails_scores_nothing_and_says_why(bench: Bench) -> None:
    checks = bench.start({"a": ""})
    verdict = bench.verdict(checks, sh("true"), setup=(("/bin/sh", "-c", "echo no network; exit 7"),))
    assert verdict.score == 0.0
    assert verdict.results[0].tail.splitlines()[0] == "runner: no network"
    assert "exit code 7" in verdict.results[0].tail
