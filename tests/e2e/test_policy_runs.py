"""What a policy does to a run: its calls, its limits, its files while it runs and when it goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Runner

DONE = {"otherwise": True, "text": "<promise>COMPLETE</promise>"}
HEAD = "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: ours}\n"
ALLOWS = """\
scope: user
default: ask
sandbox: {accept_unsandboxed: true}
rules:
  - {id: all, tool: [read_file, write_file, run, shell], effect: allow}
"""
TEAM = """\
scope: project
rules:
  - {id: no-notes, tool: write_file, paths: ["notes/**"], effect: deny, reason: Notes are kept in the wiki.}
"""


def asks(tool: str, **arguments: object) -> dict[str, object]:
    return {"name": tool, "arguments": arguments}


def said(step: int, *tools: dict[str, object]) -> dict[str, object]:
    return {"iteration": 1, "step": step, "text": "", "tools": list(tools)}


def started(runner: Runner) -> list[str]:
    """The names of the tools that ran, with the rule that let each."""
    return [f"{one['call']['name']} {one['decision']['rule']}" for one in told(runner, "ToolStarted")]


def told(runner: Runner, kind: str) -> list[dict]:
    """The bodies of a kind's events."""
    return [one["body"] for one in runner.events(kind)]


@pytest.fixture
def policy(runner: Runner) -> Path:
    """A policy of the user's, outside the workspace, that every command of this test goes by."""
    path = runner.state.parent / "mine.yaml"
    path.write_text(HEAD + ALLOWS)
    runner.env["RUNNER_POLICY"] = str(path)
    return path


def test_a_denied_call_does_not_run_and_the_model_is_told_once_with_the_advice(runner: Runner, policy: Path) -> None:
    policy.write_text(
        HEAD + ALLOWS + "  - {id: no-rm, tool: shell, command: {program: rm}, effect: deny, reason: Use git rm.}\n"
    )
    runner.write("kept", "x\n")
    remove = asks("shell", command="rm kept")
    model = runner.recording(said(1, remove), said(2, remove), said(3, asks("read_file", path="kept")), DONE)
    done = runner("loop", "-p", "Tidy up.", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (runner.cwd / "kept").exists()
    first, second = told(runner, "ToolRefused")
    assert first["reason"].startswith("denied by policy (no-rm)")
    assert first["reason"].endswith("Use git rm.")
    assert "Use git rm." not in second["reason"]
    assert (first["repeat"], second["repeat"]) == (False, True)
    decision = first["decision"]
    assert decision["place"] == f"{policy}:9"
    assert decision["policy"] == told(runner, "RunCreated")[0]["policy"]
    assert decision["agent"] == f"builtin {model}"
    assert "(uid " in decision["owner"]
    assert started(runner) == ["read_file all"]


def test_asking_again_for_what_was_denied_stops_the_run_as_stalled(runner: Runner, policy: Path) -> None:
    policy.write_text(HEAD + ALLOWS + "  - {id: no-rm, tool: shell, command: {program: rm}, effect: deny}\n")
    model = runner.recording({"otherwise": True, "text": "", "tools": [asks("shell", command="rm -rf build")]})
    done = runner("loop", "-p", "Tidy up.", "--model", model)
    assert done.returncode == 5, done.stdout + done.stderr
    assert runner.last()["stop_rule"] == "stall.repeats"
    assert len(told(runner, "ToolRefused")) == 5


def test_a_repositorys_own_policy_counts_as_checkpoint_0_has_it_whatever_is_edited(
    runner: Runner, policy: Path
) -> None:
    team = runner.write("policies/team.yaml", HEAD + TEAM)
    note = asks("write_file", path="notes/a.md", content="x")
    empty = asks("run", argv=["sh", "-c", "echo > policies/team.yaml"])
    model = runner.recording(said(1, note), said(2, empty), said(3, note), DONE)
    done = runner("loop", "-p", "Write notes.", "--model", model, "--max-iterations", "1")
    assert team.read_text() == "\n", done.stdout
    assert [one["decision"]["rule"] for one in told(runner, "ToolRefused")] == ["no-notes", "no-notes"]
    (pinned,) = told(runner, "PolicyPinned")
    assert any("policies/team.yaml" in layer for layer in pinned["layers"])
    assert json.loads(pinned["text"])
    assert not (runner.cwd / "notes").exists()


def test_an_edit_of_the_users_policy_changes_nothing_in_a_run_that_goes_on(runner: Runner, policy: Path) -> None:
    policy.write_text(HEAD + ALLOWS + "  - {id: no-notes, tool: write_file, paths: [notes], effect: deny}\n")
    # what a command does inside is beyond any policy: only walls hold it
    runner.write("loosen.py", f"open({str(policy)!r}, 'w').write({HEAD + ALLOWS!r})")
    note = asks("write_file", path="notes", content="x")
    model = runner.recording(said(1, asks("run", argv=["python3", "loosen.py"])), said(2, note), DONE)
    done = runner("loop", "-p", "Write notes.", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no-notes" not in policy.read_text()
    assert [one["decision"]["rule"] for one in told(runner, "ToolRefused")] == ["no-notes"]
    assert told(runner, "PolicyPinned") == []


def test_a_resume_under_another_policy_says_so_and_decides_by_that(runner: Runner, policy: Path) -> None:
    note = asks("write_file", path="notes", content="x")
    model = runner.recording(
        said(1, note), {"iteration": 1, "step": 2, "text": "done"}, {**said(1, note), "iteration": 2}, DONE
    )
    runner.write("spec.md", "---\nchecks: ['test -e never']\nstall: none\n---\n# Write\n\nWrite notes.\n")
    first = runner("loop", "spec.md", "--model", model, "--max-iterations", "1")
    assert first.returncode == 4, first.stdout + first.stderr
    before = told(runner, "RunCreated")[0]["policy"]
    policy.write_text(HEAD + ALLOWS + "  - {id: no-notes, tool: write_file, paths: [notes], effect: deny}\n")
    runner("resume", "last", "--model", model, "--max-iterations", "2")
    kinds = [one["kind"] for one in runner.events()]
    (pinned,) = told(runner, "PolicyPinned")
    assert kinds.index("RunResumed", kinds.index("RunStopped")) < kinds.index("PolicyPinned")
    assert pinned["policy"] != before
    assert started(runner) == ["write_file all"]
    (refused,) = told(runner, "ToolRefused")
    assert (refused["decision"]["rule"], refused["decision"]["policy"]) == ("no-notes", pinned["policy"])


def test_calls_that_a_dead_driver_left_are_decided_again_under_the_policy_of_the_next(
    runner: Runner, policy: Path
) -> None:
    wait = asks("run", argv=["sleep", "120"])
    model = runner.recording(said(1, wait, asks("write_file", path="notes", content="x")), DONE)
    driver = runner.start("loop", "-p", "Wait and write.", "--model", model)
    deadline = time.monotonic() + 60
    while not (runner.state.exists() and list(runner.state.glob("runs/*/log.jsonl")) and told(runner, "ToolStarted")):
        assert time.monotonic() < deadline, driver.communicate()
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    policy.write_text(HEAD + ALLOWS + "  - {id: no-notes, tool: write_file, paths: [notes], effect: deny}\n")
    done = runner("resume", "last", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    (refused,) = told(runner, "ToolRefused")
    assert refused["decision"]["rule"] == "no-notes"
    assert not (runner.cwd / "notes").exists()


@pytest.mark.parametrize(("mode", "says"), [("warn", 1), ("audit", 0)])
def test_a_rule_that_does_not_bind_yet_lets_the_call_run_and_one_that_warns_says_so(
    runner: Runner, policy: Path, mode: str, says: int
) -> None:
    rule = f"  - {{id: no-ls, tool: shell, command: {{program: ls}}, effect: deny, mode: {mode}}}\n"
    policy.write_text(HEAD + ALLOWS + rule)
    done = runner("loop", "-p", "Look.", "--model", runner.recording(said(1, asks("shell", command="ls")), DONE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"note: the rule no-ls ({policy}:9) would deny this shell") == says
    (ran,) = told(runner, "ToolStarted")
    assert [(one["rule"], one["mode"]) for one in ran["decision"]["others"]] == [("no-ls", mode)]


def test_limits_of_a_policy_bind_and_no_flag_goes_beyond_them(runner: Runner, policy: Path) -> None:
    policy.write_text(HEAD + ALLOWS + "budgets: {per_run: {iterations: 2, usd: 3.00}}\n")
    runner.write("spec.md", "---\nchecks: ['test -e never']\nstall: none\n---\n# Never\n\nTry.\n")
    done = runner("loop", "spec.md", "--model", runner.recording(DONE), "--max-iterations", "9", "--max-cost", "20")
    assert done.returncode == 4, done.stdout + done.stderr
    created = told(runner, "RunCreated")[0]
    assert (created["limits"]["iterations"], created["limits"]["usd"]) == (2, 3_000_000_000)
    assert created["limit_sources"]["iterations"] == f"policy {policy}:9"
    more = runner("resume", "last", "--max-iterations", "9")
    assert more.returncode == 1, more.stdout + more.stderr
    assert "no limit was raised" in more.stderr


def test_limits_of_a_repositorys_own_policy_bind_too(runner: Runner, policy: Path) -> None:
    team = runner.write("policies/team.yaml", f"{HEAD}scope: project\nbudgets: {{per_run: {{iterations: 1}}}}\n")
    runner.write("spec.md", "---\nchecks: ['test -e never']\nstall: none\n---\n# Never\n\nTry.\n")
    done = runner("loop", "spec.md", "--model", runner.recording(DONE), "--max-iterations", "9")
    assert done.returncode == 4, done.stdout + done.stderr
    assert runner.last()["iterations"] == 1
    (told_of,) = told(runner, "LimitsSet")
    assert told_of["sources"]["iterations"] == f"policy {team.relative_to(runner.cwd)}:5"


def test_a_step_above_the_policys_cap_is_not_sent(runner: Runner, policy: Path) -> None:
    policy.write_text(HEAD + ALLOWS + "budgets: {per_step: {usd: 0.000001}}\n")
    done = runner("loop", "-p", "Work.", "--model", runner.recording(DONE))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "the policy's step" in runner.last()["stop_rule"]
    assert told(runner, "CallDispatched") == []


def test_a_repositorys_policy_that_loosens_is_refused_with_both_lines_before_anything_runs(
    runner: Runner, policy: Path
) -> None:
    policy.write_text(HEAD + ALLOWS + "budgets: {per_run: {usd: 3.00}}\n")
    runner.write("policies/team.yaml", f"{HEAD}scope: project\nbudgets: {{per_run: {{usd: 30.00}}}}\n")
    done = runner("loop", "-p", "Work.", "--model", runner.recording(DONE))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "policies/team.yaml:5" in done.stderr
    assert f"{policy}:9" in done.stderr
    assert not list(runner.state.glob("runs/*"))


def test_a_policy_in_the_workspace_is_refused_as_an_agent_can_write_there(runner: Runner) -> None:
    runner.write("mine.yaml", HEAD + ALLOWS)
    done = runner("loop", "-p", "Work.", "--policy", "./mine.yaml", "--model", runner.recording(DONE))
    assert done.returncode == 2
    assert "where an agent can write" in done.stderr


def test_a_call_with_unsound_arguments_is_answered_as_ever_and_counts_as_no_denial(runner: Runner) -> None:
    model = runner.recording(said(1, asks("shell", comand="ls")), DONE)
    done = runner("loop", "-p", "Look.", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    (refused,) = told(runner, "ToolRefused")
    assert "did you mean 'command'" in refused["reason"]
    assert refused.get("decision") is None


@pytest.mark.parametrize("go_on", [("resume", "last"), ("loop", "spec.md")])
def test_a_run_goes_on_by_the_policy_it_was_started_with(runner: Runner, go_on: tuple[str, str]) -> None:
    """The command that the end of a run names, and cron's next: neither says `--policy` again."""
    gate = "unattended: {on_ask: park}\napprovals: {gates: [{id: me, allow_self: true}]}\n"
    asking = ALLOWS.replace("rules:", f"{gate}rules:\n  - {{id: asked, tool: write_file, effect: ask, gate: me}}")
    (runner.cwd.parent / "asks.yaml").write_text(HEAD + asking)
    runner.write("spec.md", "# Work\n\nDo it.\n")
    model = runner.recording(said(1, asks("write_file", path="a", content="x")), DONE)
    parked = runner("loop", "spec.md", "--policy", "../asks.yaml", "--model", model)
    assert parked.returncode == 75, parked.stdout + parked.stderr
    again = runner(*go_on)
    assert again.returncode == 75, again.stdout + again.stderr
    assert started(runner) == []
    named = runner(*go_on, "--policy", "default")
    assert named.returncode == 0, named.stdout + named.stderr
    assert started(runner) == ["write_file files"]
