"""`runner doctor` on machines that are broken for real: it says what is wrong and how to mend it, and changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script

KEY = "sk-proj-abcdefghijklmnop0123456789"
MARKS = {"ok", "note", "warn", "fail"}


def found(runner, *checks: str, exit_code: int | None = None) -> dict[str, list[dict[str, str]]]:
    """The findings by what they are about."""
    done = runner("doctor", *checks, "--json")
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if exit_code is not None:
        assert done.returncode == exit_code, done.stdout
    document = json.loads(done.stdout)
    assert document["well"] == (done.returncode == 0)
    about: dict[str, list[dict[str, str]]] = {}
    for one in document["findings"]:
        assert one["mark"] in MARKS
        about.setdefault(one["what"], []).append(one)
    return about


def only(findings: dict[str, list[dict[str, str]]], what: str) -> dict[str, str]:
    (one,) = findings[what]
    return one


def traces(root: Path) -> dict[str, str]:
    """Every file below with its bytes, every folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in root.rglob("*")
    }


def made(runner) -> Path:
    """A state directory with a database in it, as runner makes one."""
    assert runner("budget", "set", "user", "5").returncode == 0
    for name in ("runner.db-wal", "runner.db-shm"):
        (runner.state / name).unlink(missing_ok=True)
    return runner.state / "runner.db"


# ---- a machine that is well ------------------------------------------------------------------------------


def test_a_fresh_machine_is_well_and_stays_as_it_was(runner):
    before = traces(runner.state.parent)
    done = runner("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert "is made by the first run" in " ".join(done.stdout.split())
    assert "runs go unsandboxed" in done.stdout
    assert set(traces(runner.state.parent)) - set(before) <= {"home"}
    assert not runner.state.exists()


def test_a_state_that_was_used_is_left_as_it_was_to_the_byte(runner):
    made(runner)
    before = traces(runner.state)
    said = found(runner, exit_code=0)
    assert "writable, a database in WAL mode works" in only(said, "state")["finding"]
    assert "sound" in only(said, "database")["finding"]
    assert traces(runner.state) == before


def test_lines_fit_80_columns_and_every_mark_is_a_word(runner):
    runner.env["RUNNER_STATE_DIR"] = "/tmp/none-such"
    lines = runner(
        "doctor", "git", "state", "database", "runs", "prices", "keys", "sandbox", "processes"
    ).stdout.splitlines()
    assert max(map(len, lines)) <= 80, lines
    assert {line.split()[0] for line in lines if line and not line.startswith(" ")} <= {
        "ok",
        "note",
        "warn",
        "FAIL",
        "everything",
    }


def test_marks_are_coloured_for_whoever_wants_that(runner):
    runner.env["FORCE_COLOR"] = "1"
    assert runner("doctor", "python").stdout.startswith("\x1b[32mok  \x1b[0m  Python")
    runner.env["NO_COLOR"] = "1"
    assert runner("doctor", "python").stdout.startswith("ok    Python")


def test_only_the_checks_that_are_named_are_made(runner):
    said = json.loads(runner("doctor", "git", "sandbox", "--json").stdout)
    assert {one["check"] for one in said["findings"]} == {"git", "sandbox"}
    done = runner("doctor", "sandbix")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean sandbox?" in done.stderr


def test_characters_the_terminal_lacks_are_no_obstacle(runner):
    runner.env["PYTHONIOENCODING"] = "ascii"
    runner.write("spec.md", "# Größe\n\nÄndern.\n")
    done = runner("doctor")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "export LANG=C.UTF-8" in done.stdout


# ---- git -------------------------------------------------------------------------------------------------


def program(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "git"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_without_git_the_rest_is_looked_at_all_the_same(runner, tmp_path):
    (tmp_path / "empty").mkdir()
    runner.env["PATH"] = str(tmp_path / "empty")
    said = found(runner, exit_code=1)
    assert only(said, "git")["mark"] == "fail"
    assert "install git 2.36" in only(said, "git")["fix"]
    assert only(said, "state")["mark"] == "ok"
    assert "1 thing a run needs is missing or broken" in runner("doctor").stdout


def test_a_git_of_the_workspace_is_named_and_not_run(runner, tmp_path):
    program(runner.cwd / "bin", f"touch {tmp_path}/ran; echo git version 2.50.0")
    (tmp_path / "empty").mkdir()
    runner.env["PATH"] = f"{runner.cwd}/bin:{tmp_path}/empty"
    one = only(found(runner, "git", exit_code=1), "git")
    assert f"only {runner.cwd}/bin/git was found: it lies in this directory" in one["finding"]
    assert not (tmp_path / "ran").exists()


def test_a_git_that_is_too_old_or_does_not_run_is_said(runner, tmp_path):
    path = program(tmp_path / "old", "echo git version 2.35.9")
    runner.env["PATH"] = str(path.parent)
    assert "2.35.9 is too old" in only(found(runner, "git", exit_code=1), "git")["finding"]
    path.write_text("#!/bin/sh\nexit 3\n")
    assert "exit status 3" in only(found(runner, "git", exit_code=1), "git")["finding"]
    path.write_text("#!/no/such/interpreter\n")
    assert "cannot be run" in only(found(runner, "git", exit_code=1), "git")["finding"]


def test_places_on_path_that_an_agent_can_write_are_named(runner):
    (runner.cwd / "bin").mkdir()
    runner.env["PATH"] = f"{runner.cwd}/bin:tools:{os.environ['PATH']}"
    said = found(runner, "git", exit_code=0)
    assert f"{runner.cwd}/bin, tools" in only(said, "PATH")["finding"]


# ---- state and database ----------------------------------------------------------------------------------


def test_a_state_directory_that_cannot_be_one_is_said_with_another_to_choose(runner):
    runner.state.write_text("a file")
    one = only(found(runner, "state", exit_code=1), "state")
    assert "is no directory" in one["finding"]
    assert "RUNNER_STATE_DIR" in one["fix"]
    runner.env["RUNNER_STATE_DIR"] = str(runner.state / "below")
    assert "is no directory" in only(found(runner, "state", exit_code=1), "state")["finding"]
    runner.env["RUNNER_STATE_DIR"] = str(runner.cwd / "state")
    assert "lies in this directory" in found(runner, "state", exit_code=1)["state place"][0]["finding"]


@pytest.fixture
def unprivileged() -> tuple[str, ...]:
    """A prefix that takes root's right to write anywhere away."""
    prefix = ("unshare", "--user") if os.geteuid() == 0 else ("env",)
    if (
        shutil.which(prefix[0]) is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("allow user namespaces, or run as another user than root, to test rights")
    return prefix


def test_a_state_directory_without_the_right_to_write_is_said(runner, unprivileged):
    made(runner)
    runner.prefix = unprivileged
    runner.state.chmod(0o500)
    try:
        said = found(runner, exit_code=1)
        assert "cannot be written: Permission denied" in only(said, "state")["finding"]
        assert only(said, "state")["fix"] == f"chmod 700 {runner.state}"
        assert only(said, "database")["mark"] == "ok"
        runner.env["RUNNER_STATE_DIR"] = str(runner.state / "new")
        assert "cannot be made" in only(found(runner, "state", exit_code=1), "state")["finding"]
    finally:
        runner.state.chmod(0o700)


@pytest.fixture
def mounted(runner):
    """Mount a small tmpfs as the state directory, for the command alone."""
    new = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*new, "true"], check=False, capture_output=True).returncode:
        pytest.skip("run as root, or allow user namespaces, to test small and read-only disks")

    def mount(options: str) -> None:
        runner.state.mkdir(exist_ok=True)
        script = f'mount -t tmpfs -o {options} none {runner.state} && cd {runner.cwd} && exec "$@"'
        runner.prefix = (*new, "sh", "-c", script, "sh")
        if runner("--version").returncode != 0:
            pytest.skip("run as root, or allow user namespaces, to test small and read-only disks")

    return mount


def test_a_disk_with_little_room_is_warned_of(runner, mounted):
    mounted("size=8m")
    said = found(runner, "state", exit_code=0)
    assert only(said, "disk")["mark"] == "warn"
    assert "8 MB free" in only(said, "disk")["finding"]
    assert "runner clean" in only(said, "disk")["fix"]


def test_a_read_only_disk_is_a_reason_not_to_start(runner, mounted):
    mounted("ro")
    said = found(runner, "state", exit_code=1)
    assert "Read-only file system" in only(said, "state")["finding"]
    assert "RUNNER_STATE_DIR" in only(said, "state")["fix"]


def test_a_database_that_is_damaged_is_found_and_not_touched(runner):
    path = made(runner)
    size = path.stat().st_size
    whole = path.read_bytes()
    path.write_bytes(whole[: size // 4] + b"\xff" * (size // 2) + whole[size // 4 + size // 2 :])
    before = traces(runner.state)
    said = found(runner, exit_code=1)
    assert "is damaged" in only(said, "database")["finding"]
    path.write_bytes(b"not a database at all" * 500)
    before = traces(runner.state)
    said = found(runner, exit_code=1)
    assert "file is not a database" in only(said, "database")["finding"]
    assert "mv " in only(said, "database")["fix"]
    assert only(said, "git")["mark"] == "ok"
    assert traces(runner.state) == before
    (runner.state / "runner.v1.bak").write_bytes(whole)
    assert "runner.v1.bak" in only(found(runner, "database"), "database")["fix"]
    path.write_bytes(b"")
    assert found(runner, "database")["database"][0]["mark"] == "note"


def test_a_database_of_a_newer_runner_is_left_to_it(runner):
    path = made(runner)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "newer runner (version 99" in only(found(runner, "database", exit_code=1), "database")["finding"]


def test_last_writes_that_lie_beside_the_database_are_not_put_in_by_looking(runner):
    path = made(runner)
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA wal_autocheckpoint=0');"
        "c.execute('CREATE TABLE more (a)'); c.commit(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.with_name("runner.db-wal").stat().st_size > 0
    path.with_name("runner.db-shm").unlink()
    before = traces(runner.state)
    assert "in the middle of a write" in only(found(runner, exit_code=0), "database")["finding"]
    assert traces(runner.state) == before
    assert runner("runs").returncode == 0
    assert only(found(runner, "database", exit_code=0), "database")["mark"] == "ok"


# ---- runs ------------------------------------------------------------------------------------------------


def test_an_open_run_with_money_nobody_can_account_for_is_named_with_the_way_on(runner):
    runner.write("spec.md", "# Work\n\nDo it.\n")
    recording = Recording.parse(
        '{"recording": 1, "model": "openai/gpt-5"}\n{"otherwise": true, "text": "Late."}\n', Path("r")
    )
    with ScriptedProvider(Script(recording=recording, faults=(Fault.STALL,) * 3)) as provider:
        runner.env |= {"OPENAI_BASE_URL": provider.url, "RUNNER_MODEL": "openai/gpt-5"}
        process = runner.start("loop", "spec.md")
        end = time.monotonic() + 60
        while not any("CallDispatched" in path.read_text() for path in runner.state.glob("runs/*/log.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.02)
        running = found(runner, "runs", exit_code=0)["runs"]
        ended = process.poll()
        process.send_signal(signal.SIGKILL)
        said = process.communicate(timeout=60)
    assert ended is None, said
    assert "going on" in running[-1]["finding"], said
    run = runner.last()["run"]
    one = only(found(runner, "runs", exit_code=0), "runs")
    assert (one["mark"], one["fix"]) == ("warn", f"runner resume {run}")
    assert f"{run} stands open, $" in one["finding"]


def test_a_working_copy_of_no_run_is_named_with_how_to_remove_it(runner):
    made(runner)
    left = runner.state / "worktrees" / "20260101-000000-abcdef"
    left.mkdir(parents=True)
    assert only(found(runner, "runs", exit_code=0), "worktrees")["fix"] == f"rm -r {left}"


# ---- what the user set up --------------------------------------------------------------------------------


def test_a_torn_configuration_is_named_with_its_line_and_the_rest_is_looked_at(runner):
    path = runner.state.parent / "config.toml"
    path.write_text('model = "openai/gpt-5"\nmax_ouput = 3\n')
    runner.env["RUNNER_CONFIG"] = str(path)
    said = found(runner, exit_code=1)
    assert only(said, "config")["finding"] == f"{path}:2: unknown key 'max_ouput'"
    assert "max_output" in only(said, "config")["fix"]
    assert only(said, "git")["mark"] == "ok"
    assert only(said, "state")["mark"] == "ok"
    path.write_text("[[[\n")
    assert "not TOML" in only(found(runner, "config", exit_code=1), "config")["finding"]
    path.write_text("")
    path.chmod(0o666)
    assert {one["fix"] for one in found(runner, "config", exit_code=0)["config"]} == {None, f"chmod go-w {path}"}
    runner.env["RUNNER_MODLE"] = "x"
    assert "did you mean RUNNER_MODEL?" in found(runner, "config", exit_code=0)["config"][-1]["finding"]


def test_prices_that_are_torn_or_old_are_said(runner):
    path = runner.write(
        "../p.toml", 'as_of = 2026-01-01\n[models."openai/x"]\ninput = "1"\noutput = "2"\ncontext = 9\nmax_output = 9\n'
    )
    runner.env["RUNNER_PRICES"] = str(path)
    _, own = found(runner, "prices", exit_code=0)["prices"]
    assert "more than 180 days ago" in own["finding"]
    path.write_text(path.read_text() + "oops\n")
    assert ":7" in only(found(runner, "prices", exit_code=1), "prices")["finding"]
    path.unlink()
    assert "cannot read the prices" in only(found(runner, "prices", exit_code=1), "prices")["finding"]


def test_a_key_is_present_or_missing_and_its_value_is_nowhere(runner):
    assert only(found(runner, "keys", exit_code=0), "OPENAI_API_KEY")["mark"] == "warn"
    runner.write(".env", f"OPENAI_API_KEY={KEY}\nLD_PRELOAD=x\n")
    runner.env["MISTRAL_API_KEY"] = KEY[::-1]
    said = found(runner, "keys", exit_code=0)
    assert only(said, "OPENAI_API_KEY")["finding"] == f"present ({runner.cwd}/.env)"
    assert "mistral is called through litellm" in only(said, "MISTRAL_API_KEY")["finding"]
    assert "LD_PRELOAD" in only(said, ".env")["finding"]
    assert "the default for OPENAI_API_KEY" in only(said, "model")["finding"]
    done = runner("doctor")
    assert KEY not in done.stdout + done.stderr
    assert KEY[::-1] not in done.stdout + done.stderr
    runner.env["RUNNER_MODEL"] = "openai/nonesuch"
    assert (
        only(found(runner, "keys", exit_code=0), "model")["fix"] == "runner models lists the models that have a price"
    )


def test_a_server_on_this_machine_is_tried_and_gets_not_a_byte(runner):
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                got.append(connection.recv(100))

        thread = threading.Thread(target=serve)
        thread.start()
        runner.env["OPENAI_BASE_URL"] = f"http://127.0.0.1:{port}/v1"
        one = only(found(runner, "network", exit_code=0), "network")
        thread.join(30)
    assert (one["mark"], one["finding"], got) == ("ok", f"127.0.0.1:{port} accepts connections", [b""])
    one = only(found(runner, "network", exit_code=0), "network")
    assert (one["mark"], one["fix"]) == ("warn", "start the server, or unset OPENAI_BASE_URL")


def test_another_machine_is_not_called_unasked(runner):
    # an address that answers would be a fault of the network, not of the test: it is never called
    runner.env["OPENAI_BASE_URL"] = "http://model.example:9/v1"
    first, second = found(runner, "network", exit_code=0)["network"]
    assert "without encryption" in first["finding"]
    assert (second["finding"], second["fix"]) == ("model.example was not tried", "runner doctor network --network")
    for bad in ("localhost:1234", "http://", "http://[::1/v1", "http://x:99999/"):
        runner.env["OPENAI_BASE_URL"] = bad
        assert only(found(runner, "network", exit_code=1), "network")["mark"] == "fail"


# ---- where one stands ------------------------------------------------------------------------------------


def test_the_directory_its_repository_and_its_spec_are_told(runner):
    said = found(runner, "here", exit_code=0)
    assert "no git repository" in only(said, "here")["finding"]
    assert "runner init" in only(said, "spec")["fix"]
    runner.git("init", "-q", "-b", "main")
    runner.write("spec.md", "# Count\n\nUp.\n")
    said = found(runner, "here", exit_code=0)
    assert "git repository on main, no commit yet" in only(said, "here")["finding"]
    assert only(said, "spec")["finding"] == "spec.md: Count"
    runner.write("spec.md", "---\nbudgte: 3\n---\n# Count\n")
    said = found(runner, "here", exit_code=0)
    assert f"{runner.cwd}/spec.md:2" in only(said, "spec")["finding"]
    assert only(said, "spec")["mark"] == "warn"


def test_a_key_that_stands_in_a_spec_by_mistake_is_not_shown(runner):
    runner.env["OPENAI_API_KEY"] = "plain-and-known-words"
    for text in ("---\nbudget: {usd: plain-and-known-words}\n---\n# Count\n", "# Count plain-and-known-words\n"):
        runner.write("spec.md", text)
        for words in ((), ("--json",)):
            told = runner("doctor", "here", *words).stdout
            assert "plain-and-known-words" not in told
            assert "[secret:OPENAI_API_KEY]" in told


def test_a_big_directory_is_named_unless_it_is_ignored(runner):
    folder = runner.cwd / "web" / "node_modules"
    for number in range(20):
        (folder / str(number)).mkdir(parents=True)
        for name in range(501):
            os.close(os.open(folder / str(number) / str(name), os.O_CREAT))
    one = only(found(runner, "here", exit_code=0), "size")
    assert (one["mark"], one["finding"].split(" has ")[0]) == ("warn", "web/node_modules")
    assert "10,020 files" in one["finding"]
    runner.write(".gitignore", "node_modules/\n")
    before = traces(runner.state.parent)
    one = only(found(runner, "here", exit_code=0), "size")
    assert (one["mark"], "ignored" in one["finding"]) == ("ok", True)
    assert traces(runner.state.parent) == before


def test_the_home_directory_is_no_place_to_work(runner):
    runner.cwd = runner.state.parent / "home"
    runner.cwd.mkdir()
    assert "too much for a workspace" in only(found(runner, "here", exit_code=0), "here")["finding"]


def test_a_directory_that_is_gone_is_said(runner):
    (runner.cwd / "gone").mkdir()
    runner.prefix = ("sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh")
    said = found(runner, exit_code=1)
    assert only(said, "here")["finding"] == "the current directory is gone"
    assert only(said, "git")["mark"] == "ok"


def test_a_directory_that_cannot_be_written_is_said_and_looked_at(runner, unprivileged):
    runner.write("spec.md", "# Count\n\nUp.\n")
    runner.prefix = unprivileged
    runner.cwd.chmod(0o500)
    try:
        said = found(runner, exit_code=0)
    finally:
        runner.cwd.chmod(0o700)
    assert "cannot be written" in said["here"][0]["finding"]
    assert only(said, "spec")["finding"] == "spec.md: Count"


def test_other_commands_say_that_the_directory_is_gone(runner):
    runner.prefix = ("sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh")
    for command in (["config"], ["models"], ["spec", "check"], ["loop"]):
        (runner.cwd / "gone").mkdir()
        done = runner(*command)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert "cd to another one" in done.stderr


# ---- nothing stops the round -----------------------------------------------------------------------------


def test_without_a_home_and_as_nobody_the_round_goes_to_its_end(runner, unprivileged):
    runner.prefix = (*unprivileged, "env", "-u", "HOME", "-u", "LANG", "-u", "RUNNER_STATE_DIR")
    said = found(runner)
    assert {"Python", "git", "state", "config", "sandbox", "here"} <= set(said)


def test_a_user_without_any_home_is_told_to_name_the_directory(runner):
    runner.env["RUNNER_STATE_DIR"] = "~nobody-of-this-name/state"
    said = found(runner, exit_code=1)
    assert "no home directory is known" in only(said, "state")["finding"]
    assert only(said, "Python")["mark"] == "ok"


def test_a_package_that_is_missing_is_said_where_nothing_else_can_be(runner):
    program = "import sys; sys.modules['msgspec'] = None; from runner.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "doctor"]
    done = subprocess.run(command, cwd=runner.cwd, env=runner.environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "msgspec" in done.stdout
    assert "pip install" in done.stdout
    done = subprocess.run(
        [*command, "--json"], cwd=runner.cwd, env=runner.environ(), capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["well"] is False
