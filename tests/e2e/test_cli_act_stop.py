"""`runner stop`: once it returns, no request of the stopped runs reaches the provider."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.app import halt
from runner.app.places import State
from runner.events.facts import RunStopped, StopAsked
from runner.store import journal
from runner.store.lease import Lease, is_held
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script

PROMISED_S = 6.0
STALLED = Script(fault_rate=1.0, fault_kinds=(Fault.STALL,))
ANSWERING = Script(delay_s=0.05)
SPEC = "---\nstall: none\nbudget:\n  usd: 100\n  iterations: 1000\n---\n# Look around\n"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def environment(state: State, provider: ScriptedProvider | None = None) -> dict[str, str]:
    env = {**os.environ, "RUNNER_STATE_DIR": str(state.root)}
    if provider is not None:
        env |= {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
    return env


def runner(
    state: State, *words: str, provider: ScriptedProvider | None = None, at: str = "."
) -> tuple[int, str, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "runner", *words],
        env=environment(state, provider), cwd=state.root.parent / at, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


@contextmanager
def drivers(state: State, provider: ScriptedProvider, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many runs at work, each in a directory of its own, each with a request at the provider."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(number):
            folder = state.root.parent / f"w{index}"
            folder.mkdir()
            (folder / "spec.md").write_text(SPEC)
            with (folder.parent / f"out{index}").open("wb") as out:
                argv = [sys.executable, "-m", "runner", "loop", "spec.md", "--model", "openai/gpt-5.4-mini"]
                started.append(
                    subprocess.Popen(
                        argv,
                        cwd=folder,
                        env=environment(state, provider),
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                    )
                )
        for _ in range(600):
            asked = provider.wait_for(number, timeout_s=0.1)
            assert asked or all(process.poll() is None for process in started), "a driver ended before it asked"
            if asked and all(is_held(state.run(run).lease) for run in stops_of(state)):
                break
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def stops_of(state: State) -> dict[str, object]:
    database = state.open(create=False)
    found = {row.id: row.summary.get("stop_reason") for row in journal.runs(database)}
    database.close()
    return found


def no_more_requests(provider: ScriptedProvider, seconds: float = 2.0) -> bool:
    before = len(provider.billed)
    return not provider.wait_for(before + 1, timeout_s=seconds)


def test_eight_drivers_stand_still_when_stop_all_returns(state: State):
    with ScriptedProvider(ANSWERING) as provider, drivers(state, provider, 8) as started:
        code, out, err, seconds = runner(state, "stop", "--all")

        assert (code, err) == (0, "")
        assert no_more_requests(provider)
        assert seconds < PROMISED_S
        assert set(stops_of(state).values()) == {"operator"}
        assert out.count("its driver stopped") == 8
        assert [process.wait(20) for process in started] == [9] * 8


def test_a_driver_that_does_not_answer_is_killed_and_the_others_are_not(state: State):
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 2) as started:
        os.kill(started[1].pid, signal.SIGSTOP)
        code, out, err, seconds = runner(state, "stop", "--all", "--json")

        assert (code, err) == (0, "")
        assert seconds < PROMISED_S
        assert sorted(one["how"] for one in json.loads(out)) == ["killed", "stopped"]
        assert started[1].wait(5) == -signal.SIGKILL
        assert no_more_requests(provider)
        assert set(stops_of(state).values()) == {"operator"}
        assert started[0].wait(20) == 9


def test_one_run_is_stopped_and_its_neighbour_goes_on(state: State):
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 2) as started:
        database = state.open(create=False)
        names = {row.workspace: row.id for row in journal.runs(database)}
        mine, other = names[str(state.root.parent / "w0")], names[str(state.root.parent / "w1")]
        code, out, _, _ = runner(state, "stop", mine)

        assert code == 0
        assert f"run {mine}: its driver stopped" in out
        assert started[0].wait(20) == 9
        assert started[1].poll() is None
        assert is_held(state.run(other).lease)
        database.close()


def test_a_crashed_run_is_ended_and_its_unknown_call_stays_counted(state: State):
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 1) as started:
        started[0].kill()
        started[0].wait()
        code, out, _, _ = runner(state, "stop", "last")

        assert code == 0
        assert "nobody was driving it" in out
        database = state.open(create=False)
        row = journal.runs(database)[0]
        assert row.summary["stop_reason"] == "operator"
        assert row.summary["exit_code"] == 9
        assert row.summary["held_nano_usd"] == 0
        assert isinstance(row.summary["unknown_nano_usd"], int)
        assert row.summary["unknown_nano_usd"] > 0
        kinds = [one.kind for one in journal.rows(database, row.id)]
        assert kinds[-3:] == ["CallUnknown", StopAsked.__name__, RunStopped.__name__]
        database.close()

        code, out, _, _ = runner(state, "stop", "last")
        assert (code, out) == (0, "nothing to stop: this run has ended already\n")


def test_a_loop_started_later_does_not_go_on_with_a_stopped_run(state: State):
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 1) as started:
        os.kill(started[0].pid, signal.SIGTERM)
        assert started[0].wait(20) == 143
        assert list(stops_of(state).values()) == ["terminated"]
        code, _, _, _ = runner(state, "stop", "--all")

        assert code == 0
        assert list(stops_of(state).values()) == ["operator"]


def test_a_process_that_only_wrote_itself_into_the_lease_is_not_killed(state: State):
    """The pid in a lease file may be somebody else's by now: the kernel's table decides who is the holder."""
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 1) as started:
        bystander = subprocess.Popen(["sleep", "60"])
        try:
            os.kill(started[0].pid, signal.SIGSTOP)
            run = next(iter(stops_of(state)))
            state.run(run).lease.write_text(str(bystander.pid))
            code, _, err, seconds = runner(state, "stop", run)

            assert code == 1
            assert "NOT stopped" in err
            assert "is not its holder" in err
            assert seconds < PROMISED_S
            assert bystander.poll() is None
            assert started[0].poll() is None
        finally:
            bystander.kill()
            bystander.wait()


def test_stop_returns_in_time_while_a_hung_process_holds_the_database(state: State):
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 1) as started:
        with state.database.with_suffix(".lock").open("r+b") as side:
            fcntl.flock(side, fcntl.LOCK_EX)
            code, _, err, seconds = runner(state, "stop", "--all")

        assert code == 1
        assert "nothing more is sent" in err
        assert seconds < PROMISED_S
        assert started[0].wait(5) == -signal.SIGKILL
        assert runner(state, "stop", "--all")[0] == 0
        assert list(stops_of(state).values()) == ["operator"]


def test_the_kernel_names_the_holder_of_a_lease_and_nobody_else(tmp_path: Path):
    lease = Lease(tmp_path / "lease", "a run")
    assert halt._has_lock(os.getpid(), tmp_path / "lease")
    assert not halt._has_lock(os.getppid(), tmp_path / "lease")
    lease.release()


def test_what_to_stop_must_be_said(state: State):
    for words in (["stop"], ["stop", "last", "--all"]):
        code, _, err, _ = runner(state, *words)
        assert code == 2
        assert "runner stop last" in err
    blocked = "starts are blocked until: runner allow-starts\n"
    assert runner(state, "stop", "--all")[:2] == (0, f"nothing to stop: no run is going\n{blocked}")
    assert runner(state, "stop", "--all", "--json")[:2] == (0, "[]\n")


def test_after_stop_all_nothing_starts_until_somebody_allows_it(state: State):
    """Cron gets 75 and tries again; what stood still stays as it was."""
    with ScriptedProvider(STALLED) as provider, drivers(state, provider, 1) as started:
        assert runner(state, "stop", "--all", "--why", "it mails the customers")[0] == 0
        assert started[0].wait(20) == 9
        run = next(iter(stops_of(state)))
        for words in (["loop", "spec.md"], ["resume", run]):
            code, out, err, _ = runner(state, *words, "--model", "openai/gpt-5.4-mini", provider=provider, at="w0")
            assert (code, out) == (75, ""), err
            assert "starts are blocked since" in err
            assert "it mails the customers" in err
            assert "runner allow-starts" in err
        assert list(stops_of(state)) == [run]
        assert len(provider.billed) == 1

        code, out, _, _ = runner(state, "allow-starts")
        assert (code, "it mails the customers" in out) == (0, True)
        assert runner(state, "allow-starts")[:2] == (0, "starts were not blocked: nothing to allow\n")
        again = subprocess.Popen(
            [sys.executable, "-m", "runner", "resume", run],
            env=environment(state, provider), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert provider.wait_for(2, timeout_s=30)
        finally:
            again.kill()
            again.wait()
