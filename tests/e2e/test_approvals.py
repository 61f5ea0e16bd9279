"""Calls that wait for somebody, through the installed command: parked, asked at a terminal, answered from elsewhere."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.events.facts import ApprovalVoted
from runner.store.database import Database
from runner.store.links import leave_vote
from runner.values import Vote
from tests.e2e.conftest import Json, Runner
from tests.e2e.terminal import Terminal, runner_command

HEAD = """\
apiVersion: runner/v1
kind: Policy
metadata: {name: ours, owner: us}
scope: user
default: ask
sandbox: {accept_unsandboxed: true}
"""
NAMED = """\
approvals:
  groups: {security: {members: [alice, bob]}}
  gates:
    - {id: prod, approvers: {groups: [security], min: 1}, timeout: 4h}
"""
SELF = """\
unattended: {on_ask: park}
approvals:
  gates:
    - {id: prod, allow_self: true, timeout: 4h, remember: [once, run]}
"""
RULES = """\
rules:
  - {id: deploys, tool: shell, command: {program: ["./out/deploy.sh", "out/deploy.sh", deploy.sh]}, effect: ask, gate: prod, reason: Deploys are seen by two.}
  - {id: files, tool: [read_file, write_file], effect: allow}
"""
SCRIPT = "#!/bin/sh\necho deployed $1 >> out/deployed\n"
DEPLOY = {"name": "run", "arguments": {"argv": ["./out/deploy.sh", "prod"]}}


@pytest.fixture
def deploys(runner: Runner) -> Runner:
    """A spec whose agent wants to deploy, with a script that git ignores."""
    runner.write("spec.md", "# Deploy\n\nDeploy it.\n")
    runner.write(".gitignore", "out/\n")
    runner.write("out/deploy.sh", SCRIPT).chmod(0o755)
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": [DEPLOY]},
        {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"},
    )
    runner.env |= {"RUNNER_MODEL": model}
    return runner


def policy(runner: Runner, approvals: str) -> None:
    path = runner.state.parent / "policy.yaml"
    path.write_text(HEAD + approvals + RULES)
    runner.env["RUNNER_POLICY"] = str(path)


def deployed(runner: Runner) -> str:
    path = runner.cwd / "out" / "deployed"
    return path.read_text() if path.exists() else ""


def waiting(runner: Runner) -> list[Json]:
    found: list[Json] = json.loads(runner("approvals", "list", "--json").stdout)
    return found


def say(runner: Runner, vote: Vote) -> None:
    """Leave a word as `runner approvals serve` does once it knows who speaks."""
    (question,) = waiting(runner)
    database = Database(runner.state / "runner.db")
    leave_vote(database, question["run"], ApprovalVoted(approval=question["approval"], vote=vote), 0)
    database.close()


def test_three_firings_while_parked_are_one_record_and_three_exits_75(deploys: Runner) -> None:
    policy(deploys, NAMED)
    config = deploys.state.parent / "home" / ".config" / "runner"
    deploys.environ()
    config.mkdir(parents=True)
    told = deploys.state.parent / "told"
    (config / "config.toml").write_text(f'on_park = ["/bin/sh", "-c", "cat >> {told}"]\n')
    first = deploys("loop", "spec.md")
    assert first.returncode == 75, first.stdout + first.stderr
    assert "parked: approval" in first.stdout
    before = deploys.events()
    for _ in range(2):
        again = deploys("loop", "spec.md")
        assert again.returncode == 75, again.stdout + again.stderr
    assert deploys("resume", "last").returncode == 75
    assert deploys.events() == before
    assert len(deploys.events("ApprovalRequested")) == 1
    assert len(told.read_text().splitlines()) == 1
    assert deployed(deploys) == ""


def test_a_vote_of_the_commands_own_user_does_not_count_where_others_are_named(deploys: Runner) -> None:
    policy(deploys, NAMED)
    deploys("loop", "spec.md")
    said = deploys("approvals", "approve", "last")
    assert (said.returncode, "does not count" in said.stdout) == (1, True), said.stdout + said.stderr
    assert deploys("loop", "spec.md").returncode == 75
    assert deployed(deploys) == ""
    say(deploys, Vote(by="alice", approve=True, identity="link"))
    done = deploys("loop", "spec.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed(deploys) == "deployed prod\n"
    (started,) = deploys.events("ToolStarted")
    assert started["body"]["decision"]["approver"] == "alice (link)"


def test_one_byte_of_a_script_after_the_approval_and_it_does_not_run(deploys: Runner) -> None:
    policy(deploys, NAMED)
    deploys("loop", "spec.md")
    say(deploys, Vote(by="alice", approve=True, identity="link"))
    deploys.write("out/deploy.sh", SCRIPT.replace("$1", "$2"))
    done = deploys("loop", "spec.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed(deploys) == ""
    (refused,) = deploys.events("ToolRefused")
    assert "what was approved is not what would run now (file out/deploy.sh)" in refused["body"]["reason"]


def test_whoever_runs_the_loop_may_answer_from_elsewhere_where_the_gate_lets_them(deploys: Runner) -> None:
    policy(deploys, SELF)
    parked = deploys("loop", "spec.md")
    assert parked.returncode == 75, parked.stdout + parked.stderr
    (question,) = waiting(deploys)
    assert (question["outcome"], question["rule"], question["waits_for"]) == (
        "open",
        "deploys",
        "whoever runs the loop",
    )
    shown = deploys("approvals", "show", question["approval"])
    assert "argv: ./out/deploy.sh prod" in shown.stdout
    assert "bound to  file out/deploy.sh" in shown.stdout
    said = deploys("approvals", "approve", question["approval"], "--note", "fine")
    assert said.returncode == 0, said.stdout + said.stderr
    done = deploys("resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed(deploys) == "deployed prod\n"
    (started,) = deploys.events("ToolStarted")
    assert ", self)" in started["body"]["decision"]["approver"]
    again = deploys("approvals", "approve", question["approval"])
    assert (again.returncode, "is used" in again.stderr) == (1, True)


def test_a_no_is_told_to_the_model_with_its_note(deploys: Runner) -> None:
    policy(deploys, SELF)
    deploys("loop", "spec.md")
    assert deploys("approvals", "deny", "last", "--note", "not today").returncode == 0
    assert deploys("loop", "spec.md").returncode == 0
    (refused,) = deploys.events("ToolRefused")
    assert "not today" in refused["body"]["reason"]
    assert deployed(deploys) == ""


def test_an_amended_call_is_decided_anew(deploys: Runner) -> None:
    policy(deploys, SELF)
    deploys("loop", "spec.md")
    other = deploys.state.parent / "other.json"
    other.write_text('{"argv": ["./out/deploy.sh", "staging"]}')
    assert deploys("approvals", "approve", "last", "--edit", str(other)).returncode == 0
    assert deploys("loop", "spec.md").returncode == 75
    assert deploys("approvals", "approve", "last").returncode == 0
    assert deploys("loop", "spec.md").returncode == 0
    assert deployed(deploys) == "deployed staging\n"
    (finished,) = deploys.events("ToolFinished")
    assert "amended" in finished["body"]["text"]


def test_another_policy_asks_anew(deploys: Runner) -> None:
    policy(deploys, NAMED)
    deploys("loop", "spec.md")
    policy(deploys, NAMED.replace("bob", "dan"))
    assert deploys("loop", "spec.md").returncode == 75
    asked = deploys.events("ApprovalRequested")
    assert len(asked) == 2
    assert [one["body"]["outcome"] for one in deploys.events("ApprovalDecided")] == ["void"]


@pytest.fixture(params=["live", "plain"])
def terminal(deploys: Runner, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    policy(deploys, SELF)
    command = runner_command("loop", "spec.md", *(["--plain"] if request.param == "plain" else []))
    opened = Terminal(command, cwd=deploys.cwd, env=deploys.environ() | {"TERM": "xterm"}, width=120, height=60)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("keys", "code", "ran"),
    [("y", 0, "deployed prod\n"), ("o", 0, "deployed prod\n"), ("r", 0, "deployed prod\n"), ("n", 0, "")],
)
def test_at_a_terminal_it_is_asked_there(deploys: Runner, terminal: Terminal, keys: str, code: int, ran: str) -> None:
    terminal.sees("argv: ./out/deploy.sh prod", "run it? [y/n/o/r/f]")
    terminal.keys("f\r")
    terminal.sees("bound to  file out/deploy.sh")
    terminal.keys("what?\r")
    terminal.keys(f"{keys}\r")
    assert terminal.ends() == code, terminal.screen.everything
    assert deployed(deploys) == ran
    (vote,) = deploys.events("ApprovalVoted")
    assert (vote["body"]["vote"]["identity"], vote["body"]["vote"]["own"]) == ("terminal", True)


def test_ctrl_c_at_the_question_stops_the_run_and_keeps_the_question(deploys: Runner, terminal: Terminal) -> None:
    terminal.sees("run it?")
    terminal.keys("\x03")
    assert terminal.ends() == 130
    assert deploys.events("ApprovalDecided") == []
    assert [one["outcome"] for one in waiting(deploys)] == ["open"]


@pytest.mark.parametrize("terminal", ["live"], indirect=True)
def test_ctrl_z_at_the_question_holds_nobody_up(deploys: Runner, terminal: Terminal) -> None:
    terminal.sees("run it?")
    terminal.send(signal.SIGTSTP)
    stat = Path(f"/proc/{terminal.pid}/stat")
    terminal.until(lambda _: stat.read_text().rpartition(")")[2].split()[0] == "T", "stopped")
    terminal.send(signal.SIGCONT)
    terminal.keys("y\r")
    assert terminal.ends() == 0, terminal.screen.everything
    assert deployed(deploys) == "deployed prod\n"


def test_the_end_of_the_terminal_is_a_no(deploys: Runner, terminal: Terminal) -> None:
    terminal.sees("run it?")
    terminal.keys("\x04")
    assert terminal.ends() == 0
    assert deployed(deploys) == ""
