"""The verbs of `runner policy`, as people, pipelines and other systems use them. Nothing in them executes a call."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.e2e.conftest import Json, Runner

HEAD = "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: ours}\n"
MINE = (
    HEAD
    + """\
scope: user
default: ask
rules:
  - id: no-rm
    tool: shell
    command: {program: rm, any_flag: [-r]}
    effect: deny
    reason: Use git clean.
    examples: {match: [rm -r build, git status; rm -fr x], no_match: [rm notes.txt]}
  - {id: look, tool: shell, command: {program: [git, cat]}, effect: allow}
tests:
  - {call: {tool: shell, command: git status}, expect: allow, by: look}
"""
)


@pytest.fixture
def mine(runner: Runner) -> Path:
    """A sound policy of the user's."""
    path = runner.state.parent / "mine.yaml"
    path.write_text(MINE)
    return path


def decided(runner: Runner, *lines: object, policy: str = "default", more: tuple[str, ...] = ()) -> list[Json]:
    given = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    done = runner("policy", "decide", "--policy", policy, "--batch", *more, give=given)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def shell(command: str, name: object = 1) -> dict[str, object]:
    return {"id": name, "tool": "shell", "args": {"command": command}}


# ---- check and test --------------------------------------------------------------------------------------


def test_check_finds_a_sound_policy_sound(runner: Runner, mine: Path) -> None:
    done = runner("policy", "check", str(mine))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sound: ")


@pytest.mark.parametrize("name", ["default", "overnight", "org-baseline", "readonly"])
def test_every_shipped_policy_is_sound_and_passes_its_own_tests(runner: Runner, name: str) -> None:
    checked = runner("policy", "check", "--policy", name)
    assert checked.returncode == 0, checked.stdout
    assert "never decides" not in checked.stdout
    tested = runner("policy", "test", "--policy", name)
    assert tested.returncode == 0, tested.stdout
    assert " failed" not in tested.stdout


def test_a_file_of_the_organisation_is_checked_among_its_others_or_as_the_top_it_is_to_be(runner: Runner) -> None:
    org = runner.state.parent / "org"
    org.mkdir(mode=0o755)
    groups = "scope: org\napprovals: {groups: {ops: [ann]}, gates: [{id: two, approvers: {groups: [ops]}}]}\n"
    rules = "scope: org\nrules: [{id: asked, tool: shell, effect: ask, gate: two, examples: {match: [ls]}}]\n"
    for name, text in (("10-groups.yaml", groups), ("20-rules.yaml", rules)):
        (org / name).write_text(HEAD + text)
        (org / name).chmod(0o644)
    draft = runner.write("draft.yaml", HEAD + groups)
    runner.env["RUNNER_ORG_POLICIES"] = str(org)
    for file in (org / "10-groups.yaml", org / "20-rules.yaml", draft):
        done = runner("policy", "check", str(file))
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    tested = runner("policy", "test", str(org / "20-rules.yaml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout


def test_a_shipped_name_in_place_of_a_file_is_told_how_to_say_it(runner: Runner) -> None:
    done = runner("policy", "check", "overnight")
    assert done.returncode == 1
    assert "--policy overnight" in done.stdout


def test_check_names_every_fault_with_its_place_and_exits_1(runner: Runner, mine: Path) -> None:
    mine.write_text(MINE.replace("any_flag", "any_flags").replace("tool: shell\n", "tool: shel\n"))
    done = runner("policy", "check", str(mine))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith(f"{mine}:8:11: error: ") for line in lines)
    assert any(line.startswith(f"{mine}:9:28: error: ") and "any_flag" in line for line in lines)


def test_check_warns_of_rules_that_never_decide(runner: Runner, mine: Path) -> None:
    more = "  - {id: look-too, tool: shell, command: {program: cat}, effect: allow}\n"
    mine.write_text(MINE.replace("tests:\n", f"{more}tests:\n"))
    done = runner("policy", "check", "--format", "json", str(mine))
    assert done.returncode == 0
    (found,) = json.loads(done.stdout)
    assert (found["kind"], found["line"], found["error"]) == ("shadowed", 14, False)
    assert "look-too never decides: look " in found["message"]


def test_check_finds_an_example_or_a_test_that_fails(runner: Runner, mine: Path) -> None:
    mine.write_text(MINE.replace("rm -r build", "rm build"))
    example = runner("policy", "check", str(mine))
    assert (example.returncode, f"{mine}:12:" in example.stdout) == (1, True)
    mine.write_text(MINE.replace("expect: allow", "expect: deny"))
    test = runner("policy", "check", str(mine))
    assert (test.returncode, f"{mine}:15:" in test.stdout) == (1, True)


def test_a_projects_policy_is_checked_against_the_layers_above_it(runner: Runner, mine: Path) -> None:
    runner.env["RUNNER_POLICY"] = str(mine)
    team = runner.write("policies/team.yaml", f"{HEAD}scope: project\nshell: {{opaque: allow_in_sandbox}}\n")
    for files in ((str(team),), ()):
        done = runner("policy", "check", *files)
        assert done.returncode == 1, done.stdout
        assert "team.yaml:5:" in done.stdout
        assert "loosens" in done.stdout


def test_sarif_is_what_code_hosts_read(runner: Runner, mine: Path) -> None:
    broken = runner.write("broken.yaml", MINE.replace("effect: deny", "effect: denny"))
    done = runner("policy", "check", "--format", "sarif", "broken.yaml", str(mine))
    assert done.returncode == 1
    log = json.loads(done.stdout)
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    run = log["runs"][0]
    kinds = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    (result,) = run["results"]
    assert kinds[result["ruleIndex"]] == result["ruleId"] == "load"
    assert (result["level"], "denny" in result["message"]["text"]) == ("error", True)
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == broken.name
    assert place["region"] == {"startLine": 10, "startColumn": 13}
    sound = json.loads(runner("policy", "check", "--format", "sarif", str(mine)).stdout)
    assert sound["runs"][0]["results"] == []


def test_test_reports_as_pytest_does_and_names_rules_without_an_example(runner: Runner, mine: Path) -> None:
    passed = runner("policy", "test", str(mine))
    assert passed.returncode == 0, passed.stdout
    assert "4 passed in" in passed.stdout
    assert "no example: look" in passed.stdout
    mine.write_text(MINE.replace("expect: allow, by: look", "expect: deny"))
    failed = runner("policy", "test", str(mine))
    assert failed.returncode == 1
    assert f"FAILED {mine}:15 - 'git status' is deny: it is allow by look" in failed.stdout
    assert "1 failed, 3 passed" in failed.stdout


# ---- explain ---------------------------------------------------------------------------------------------


def test_explain_names_the_rule_its_line_the_others_the_facts_and_what_would_change_it(
    runner: Runner, mine: Path
) -> None:
    text = runner("policy", "explain", "--policy", str(mine), "git status; rm -fr x").stdout
    assert text.splitlines()[0] == f"deny  by no-rm ({mine}:7)"
    for words in (
        "Use git clean.",
        "allow by look",
        "`rm -fr x`",
        "inside the rule no-rm",
        "without `rm -fr x`: allow",
    ):
        assert words in text
    whole = runner.json("policy", "explain", "--policy", str(mine), "--json", "git status")
    assert (whole["decision"], whole["rule"], whole["place"]) == ("allow", "look", f"{mine}:13")
    assert whole["facts"]["programs"][0]["name"] == "git"


def test_explain_reads_a_call_of_any_tool(runner: Runner, mine: Path) -> None:
    call = runner.write("call.json", json.dumps({"tool": "write_file", "args": {"path": "a", "content": "x"}}))
    text = runner("policy", "explain", "--policy", str(mine), "--call", str(call)).stdout
    assert text.startswith("ask  by default: no rule speaks of it")
    assert "a rule that allows it, e.g. {id: my-rule, tool: write_file, effect: allow}" in text
    assert runner("policy", "explain").returncode == 2
    call.write_text('{"args": {}}')
    assert runner("policy", "explain", "--call", str(call)).returncode == 2


# ---- decide ----------------------------------------------------------------------------------------------


def test_decide_answers_each_line_with_one_and_denies_what_it_cannot_read(runner: Runner) -> None:
    found = decided(
        runner,
        shell("git status", {"any": "id"}),
        shell("rm -rf /"),
        "no json",
        '{"id": 4}',
        '["id", 5]',
        {"id": 6, "tool": "shell", "args": {"comand": "ls"}},
        {"id": 7, "tool": "no_such_tool", "args": {}},
        {"id": 8, "tool": "shell", "args": '{"command": "git log"}'},
        '{"id": 9, "tool": "shell", "args": {"command": "\\ud800"}}',
        "[" * 100_000,
    )
    assert [one["decision"] for one in found] == ["allow", "deny", *["deny"] * 5, "allow", "deny", "deny"]
    assert found[0] == {"id": {"any": "id"}, "decision": "allow", "rule": found[0]["rule"], "reason": ""}
    assert [one["id"] for one in found] == [{"any": "id"}, 1, None, 4, None, 6, 7, 8, 9, None]
    assert all(one["reason"] for one in found if one["decision"] == "deny")


def test_decide_executes_nothing_and_knows_no_sandbox_unless_told(runner: Runner) -> None:
    opaque = "x=$(touch made); for i in 1 2; do touch made$i; done"
    (bare,) = decided(runner, shell(opaque))
    (walled,) = decided(runner, shell(opaque), more=("--sandboxed",))
    assert (bare["decision"], walled["decision"]) == ("ask", "allow")
    assert list(runner.cwd.iterdir()) == []
    assert not runner.state.exists()


def test_decide_uses_no_policy_that_a_run_would_refuse(runner: Runner, mine: Path) -> None:
    mine.write_text(mine.read_text().replace("no_match: [rm notes.txt]", "no_match: [rm -r notes.txt]"))
    done = runner("policy", "decide", "--policy", str(mine), "--batch", give=json.dumps(shell("ls")) + "\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{mine}:" in done.stderr
    assert "matches what it should not" in done.stderr


def test_decide_keeps_tools_from_the_state_directory(runner: Runner) -> None:
    (found,) = decided(runner, shell(f"cat {runner.state}/runner.db"))
    assert (found["decision"], found["rule"]) == ("deny", "builtin:deny-read")


def test_decide_answers_while_its_input_is_open(runner: Runner) -> None:
    import subprocess

    asking = runner.start("policy", "decide", "--policy", "default", "--batch", stdin=subprocess.PIPE)
    assert asking.stdin is not None
    assert asking.stdout is not None
    for number in range(3):
        asking.stdin.write(json.dumps(shell("git status", number)) + "\n")
        asking.stdin.flush()
        assert json.loads(asking.stdout.readline())["id"] == number
    asking.communicate()
    assert asking.returncode == 0


# ---- replay ----------------------------------------------------------------------------------------------


def test_replay_tells_what_another_policy_would_have_stopped(runner: Runner, mine: Path) -> None:
    runner.write("kept", "x\n")
    tools = [{"name": "shell", "arguments": {"command": text}} for text in ("git --version", "rm -r kept")]
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": tools},
        {"otherwise": True, "text": "<promise>COMPLETE</promise>"},
    )
    assert runner("loop", "-p", "Tidy.", "--model", model).returncode == 0
    assert not (runner.cwd / "kept").exists()
    done = runner("policy", "replay", "last", "--policy", str(mine))
    assert done.returncode == 0, done.stderr
    first, summed = done.stdout.splitlines()
    assert "rm -r kept" in first
    assert f"would be stopped: deny by no-rm ({mine}:7)" in first
    assert summed.startswith("2 calls of run ")
    assert "1 would be stopped, 0 that were refused would run" in summed
    every = json.loads(runner("policy", "replay", "last", "--policy", str(mine), "--all", "--json").stdout)
    assert [(one["ran"], one["decision"], one["stopped"]) for one in every] == [
        (True, "allow", False),
        (True, "deny", True),
    ]
    assert not (runner.cwd / "kept").exists()


# ---- diff, schema, show, sign ----------------------------------------------------------------------------


def test_diff_tells_rules_gates_and_settings_and_nothing_of_where_they_stand(runner: Runner, mine: Path) -> None:
    other = mine.with_name("other.yaml")
    other.write_text(f"# moved\n\n{MINE}")
    assert runner("policy", "diff", str(mine), str(other)).stdout == "they say the same\n"
    other.write_text(MINE.replace("effect: deny", "effect: ask").replace("default: ask", "default: deny"))
    done = runner("policy", "diff", str(mine), str(other))
    assert done.returncode == 0
    rule, setting = done.stdout.splitlines()
    assert rule.startswith("~ rule no-rm: deny shell ")
    assert " -> ask shell " in rule
    assert setting == "~ setting default: ask -> deny"


def test_the_schema_takes_the_shipped_policies(runner: Runner) -> None:
    schema = runner.json("policy", "schema")
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "rules" in schema["properties"]


def test_show_effective_names_the_line_of_every_setting(runner: Runner, mine: Path) -> None:
    runner.env["RUNNER_POLICY"] = str(mine)
    text = runner("policy", "show", "--effective").stdout
    assert f"default: ask  ({mine}:5)" in text
    assert "builtin:own-verbs" in text
    whole = runner.json("policy", "show", "--json")
    assert [one["id"] for one in whole["rules"]][-2:] == ["no-rm", "look"]
    assert len(whole["digest"]) == 64


def test_a_signature_is_made_beside_the_file_and_is_of_its_bytes(runner: Runner, mine: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need it: pip install 'agent-loop-runner[signing]'")
    key = mine.with_name("secops.pem")
    signed = runner("policy", "sign", str(mine), "--key", str(key))
    assert signed.returncode == 0, signed.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    public = key.with_suffix(".pub")
    assert runner("policy", "verify", str(mine), "--key", str(public)).returncode == 0
    mine.write_text(MINE + "# one byte more\n")
    changed = runner("policy", "verify", str(mine), "--key", str(public))
    assert changed.returncode == 2
    assert f"{mine}:1:1" in changed.stderr
