"""An approval is used at most once, wherever the driver that uses it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.events.facts import ApprovalVoted
from runner.store.database import Database
from runner.store.links import leave_vote
from runner.values import Vote
from tests.e2e.conftest import ROOT, Runner

POLICY = """\
apiVersion: runner/v1
kind: Policy
metadata: {name: ours, owner: us}
scope: user
default: ask
sandbox: {accept_unsandboxed: true}
approvals:
  groups: {security: {members: [alice]}}
  gates:
    - {id: prod, approvers: {groups: [security], min: 1}, timeout: 4h}
rules:
  - {id: deploys, tool: shell, command: {program: touch}, effect: ask, gate: prod}
  - {id: appends, tool: write_file, effect: ask, gate: prod}
"""
JUST_STARTED = 5  # after RunResumed, ApprovalVoted, WorkspaceCompared and ApprovalDecided
KILLER = ROOT / "tests" / "soak" / "killer.py"


@pytest.fixture
def parked(tmp_path: Path) -> Runner:
    """A run that is parked for a call which was approved since."""
    (tmp_path / "workspace").mkdir()
    runner = Runner(cwd=tmp_path / "workspace", state=tmp_path / "state")
    (tmp_path / "policy.yaml").write_text(POLICY)
    runner.write("spec.md", "# Deploy\n\nDeploy it.\n")
    runner.write("deploy.sh", "#!/bin/sh\n")
    call = {"name": "run", "arguments": {"argv": ["/usr/bin/env", "touch", "deployed"]}}
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": [call]},
        {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"},
    )
    runner.env |= {"RUNNER_MODEL": model, "RUNNER_POLICY": str(tmp_path / "policy.yaml")}
    assert runner("loop", "spec.md").returncode == 75
    (asked,) = runner.events("ApprovalRequested")
    database = Database(runner.state / "runner.db")
    vote = ApprovalVoted(approval=asked["body"]["approval"], vote=Vote(by="alice", approve=True, identity="link"))
    leave_vote(database, asked["run"], vote, 0)
    database.close()
    return runner


@pytest.mark.parametrize("number", range(1, 8))
def test_it_runs_at_most_once_and_never_again_after_its_start_was_written_down(parked: Runner, number: int) -> None:
    killed = subprocess.run(
        [sys.executable, "-P", str(KILLER), "after", str(number), "loop", "spec.md"],
        cwd=parked.cwd,
        env=parked.environ(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ran = (parked.cwd / "deployed").exists()
    done = parked("loop", "spec.md")
    assert done.returncode == 0, done.stdout + done.stderr
    starts, ends = parked.events("ToolStarted"), parked.events("ToolFinished")
    assert (len(starts), len(ends)) == (1, 1)
    kinds = [one["kind"] for one in parked.events()]
    between = "RunResumed" in kinds[kinds.index("ToolStarted") : kinds.index("ToolFinished")]
    assert between == (number == JUST_STARTED)
    if between:  # nobody knows what it did, and it is not done again
        assert ends[0]["body"]["interrupted"]
        assert (parked.cwd / "deployed").exists() == ran
    else:
        assert (parked.cwd / "deployed").exists()
