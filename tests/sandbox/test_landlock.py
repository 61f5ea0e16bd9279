"""The fallback lets ordinary work be done, and leaves nothing behind."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from runner.sandbox import landlock, seccomp
from runner.sandbox.plan import Plan
from tests.sandbox.machine import NOBODY, needs, place, told

PLAN = Plan(workspace=Path("/"), user_home=Path("/"))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root is told: run as root")


@pytest.fixture(autouse=True)
def _landlock() -> None:
    needs("landlock", root=False)


def test_home_and_temporary_files_are_private_last_an_iteration_and_are_removed() -> None:
    found = told("own_home_and_temporary_files")
    assert found["said"][1:] == ["Ada"]
    assert found["again"].startswith("kept\nmine\nmade\n")
    assert "Permission denied" in found["again"]
    assert (found["mode"], found["left"], found["home"]) == ("0o700", [], [".gitconfig"])


def test_git_commits_and_what_was_written_can_be_executed() -> None:
    assert told("git_and_programs") == "Ada:first\nran\netc\n"


def test_a_server_started_by_one_command_answers_the_next() -> None:
    assert "hello" in told("a_server_of_one_call_answers_the_next")


def test_commands_of_an_iteration_can_end_each_other() -> None:
    assert told("commands_signal_each_other") == "ended\n"


def test_a_command_that_kills_all_it_can_ends_nothing_but_its_own_iteration() -> None:
    found = told("a_killed_host_is_replaced")
    assert found == {"why": "its keeper was killed", "said": ["works\n"] * 3, "left": []}


def test_a_file_grows_no_larger_than_the_limit() -> None:
    assert told("limits") == 1 << 20


def test_however_many_files_are_protected_commands_run() -> None:
    assert told("many_protected_files") == "works\n"


def test_processes_that_the_user_has_elsewhere_do_not_count() -> None:
    assert told("others_do_not_count") == "all\n"


def test_the_way_out_is_the_proxy_and_it_says_no_to_others() -> None:
    said = told("the_way_out")
    assert said.startswith("http://127.0.0.1:")
    assert "403" in said


def test_after_kill_9_of_runner_nothing_runs_and_nothing_is_left() -> None:
    assert told("runner_is_killed") == {"left": [], "asleep": 0, "in time": True}


@as_root
def test_root_is_told_to_name_a_user() -> None:
    assert "sandbox.run_as" in landlock.available(PLAN)


@as_root
@pytest.mark.parametrize(
    ("name", "said"),
    [("no-such-user", "there is no user no-such-user"), ("root", "must not be root"), (NOBODY, "cannot write to")],
)
def test_a_user_who_cannot_do_the_work_is_refused_with_the_reason(name: str, said: str) -> None:
    with place() as where:
        plan = Plan(workspace=where, user_home=where, run_as=name)
        assert said in landlock.available(plan)


@as_root
def test_a_user_who_cannot_run_the_interpreter_is_refused_and_one_who_can_is_taken() -> None:
    with place() as where:
        os.chown(where, pwd.getpwnam(NOBODY).pw_uid, -1)
        plan = Plan(workspace=where, user_home=where, run_as=NOBODY)
        reachable = all(path.stat().st_mode & 1 for path in Path(os.path.realpath(sys.executable)).parents)
        assert (landlock.available(plan) == "") is reachable


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_ends_in_allow_and_jumps_nowhere_outside(machine: str) -> None:
    for code in (seccomp.program("tcp", machine=machine), seccomp.kernel_alone(machine=machine)):
        lines = [code[start : start + 8] for start in range(0, len(code), 8)]
        assert len(code) % 8 == 0
        assert len(lines) < 4096
        for number, line in enumerate(lines):
            kind, then, otherwise = line[0] | line[1] << 8, line[2], line[3]
            if kind & 7 == 5:  # a jump
                assert number + 1 + max(then, otherwise) < len(lines)
        assert lines[-1] == bytes.fromhex("060000000000ff7f")
