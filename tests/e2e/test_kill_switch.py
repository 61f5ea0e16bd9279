"""`runner stop --all` while calls stream and tools run: in six seconds everything is gone, whatever it hid behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from tests.e2e.conftest import Runner

PROMISED_S = 6.0
SPEC = "---\nstall: none\nbudget: {usd: 100}\n---\n# Work\n\nDo the work.\n"
# a grandchild in a session of its own, with no word of its origin in its environment, and a child deaf to SIGTERM
HIDES = """\
import os, signal, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)", os.getcwd()]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        os.execve(sys.executable, [*sleep, "hidden"], {})
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.execv(sys.executable, [*sleep, "stubborn"])
"""
BUBBLEWRAP = pytest.param(
    "bubblewrap",
    marks=pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap: apt install bubblewrap"),
)


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def tools() -> ScriptedProvider:
    """A provider that asks every run for the command that hides."""
    reply = {"otherwise": True, "tools": [{"name": "run", "arguments": {"argv": ["python3", "hides.py"]}}]}
    lines = ({"recording": 1, "model": "openai/gpt-5"}, reply)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return ScriptedProvider(Script(recording=Recording.parse(text, Path("replies.jsonl"))))


def streams() -> ScriptedProvider:
    """A provider that falls silent in the middle of every reply."""
    return ScriptedProvider(Script(fault_rate=1.0, fault_kinds=(Fault.STALL_MIDSTREAM,)))


@contextmanager
def going(
    runner: Runner, provider: ScriptedProvider, name: str, sandbox: str = "none"
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """One run at work, in a directory of its own."""
    folder = runner.cwd.parent / name
    folder.mkdir()
    (folder / "spec.md").write_text(SPEC)
    (folder / "hides.py").write_text(HIDES)
    key = "sk-test-0123456789abcdef"
    env = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": key, "RUNNER_MODEL": "openai/gpt-5"}
    driver = replace(runner, cwd=folder, env={**env, "RUNNER_SANDBOX": sandbox}).start("loop", "spec.md")
    try:
        yield driver, folder
    finally:
        driver.kill()
        driver.wait()


def living(folder: Path) -> dict[str, int]:
    """The processes of the command in this folder, by name; a zombie lives no more."""
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        try:
            *_, where, name, _ = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if where.decode("utf-8", "replace") == str(folder):
            found[name.decode()] = int(entry.name)
    return found


def at_work(folder: Path) -> dict[str, int]:
    """The same, once both are there."""
    wait_until(lambda: set(living(folder)) == {"hidden", "stubborn"}, f"{folder.name} began its tool")
    return living(folder)


def stop_all(runner: Runner) -> float:
    began = time.monotonic()
    done = runner("stop", "--all")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return time.monotonic() - began


def begun_since_the_stop(runner: Runner) -> list[tuple[str, str]]:
    """Calls and tools whose start is on disk after the switch."""
    connection = sqlite3.connect(runner.state / "runner.db")
    try:
        (at,) = connection.execute("SELECT at FROM halted WHERE lifted IS NULL").fetchone()
        sql = "SELECT run, kind FROM event WHERE kind IN ('CallDispatched', 'ToolStarted') AND at > ?"
        return connection.execute(sql, (at,)).fetchall()
    finally:
        connection.close()


def test_eight_runs_in_streams_and_tools_are_gone_when_stop_all_returns(runner: Runner):
    with tools() as first, streams() as second, ExitStack() as stack:
        drivers = [stack.enter_context(going(runner, first, f"tool{number}")) for number in range(4)]
        drivers += [stack.enter_context(going(runner, second, f"stream{number}")) for number in range(4)]
        for _, folder in drivers[:4]:
            at_work(folder)
        assert second.wait_for(4, timeout_s=60)
        seconds = stop_all(runner)
        asked = len(first.billed), len(second.billed)

        assert [living(folder) for _, folder in drivers[:4]] == [{}] * 4
        assert seconds < PROMISED_S
        assert begun_since_the_stop(runner) == []
        said = [driver.communicate(timeout=20) for driver, _ in drivers]
        assert [out[-700:] for (driver, _), (out, _) in zip(drivers, said, strict=True) if driver.returncode != 9] == []
        assert (len(first.billed), len(second.billed)) == asked


@pytest.mark.parametrize("hung", ["driver", "keepers too"])
@pytest.mark.parametrize("sandbox", ["none", BUBBLEWRAP])
def test_what_a_hung_driver_started_is_gone_in_time(runner: Runner, sandbox: str, hung: str):
    """Who is suspended ends nothing: neither the driver its tools, nor a keeper what it keeps."""
    with tools() as provider, going(runner, provider, "one", sandbox) as (driver, folder):
        found = at_work(folder)
        if hung == "keepers too":
            keeper = int(Path(f"/proc/{found['stubborn']}/stat").read_text().rpartition(")")[2].split()[1])
            assert keeper != driver.pid
            os.kill(keeper, signal.SIGSTOP)
        os.kill(driver.pid, signal.SIGSTOP)
        seconds = stop_all(runner)

        assert living(folder) == {}
        assert seconds < PROMISED_S
        assert driver.wait(5) == -signal.SIGKILL
        assert begun_since_the_stop(runner) == []
        assert len(provider.billed) == 1


def test_a_run_that_begins_while_everything_is_stopped_does_nothing(runner: Runner):
    """Starts race with the switch: whoever comes before it is stopped, whoever comes after it is refused."""
    with tools() as provider, ExitStack() as stack:
        drivers = [stack.enter_context(going(runner, provider, f"run{number}")) for number in range(5)]
        wait_until((runner.state / "runner.db").exists, "the first run began")
        seconds = stop_all(runner)
        asked = len(provider.billed)

        assert seconds < PROMISED_S
        codes = [driver.wait(30) for driver, _ in drivers]
        # on a busy machine one may not get that far in four seconds: it is killed
        assert set(codes) <= {9, 75, -signal.SIGKILL}
        assert begun_since_the_stop(runner) == []
        assert len(provider.billed) == asked
