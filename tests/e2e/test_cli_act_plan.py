"""Before a run: budgets, `spec check` and `init`."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

NANO = 1_000_000_000
DONE = {"otherwise": True, "text": "Done.\n<promise>COMPLETE</promise>"}


def show(runner) -> dict[str, dict[str, object]]:
    return {f"{one['scope']} {one['period']}": one for one in json.loads(runner("budget", "show", "--json").stdout)}


def run_once(runner, *more: str):
    return runner("loop", "-p", "look", "--new", "--model", runner.recording(DONE), *more)


def test_what_a_run_spent_is_on_every_scope_it_belongs_to(runner):
    assert runner("budget", "show").stdout.startswith("no budgets yet")
    assert json.loads(runner("budget", "show", "--json").stdout) == []
    assert run_once(runner).returncode == 0
    spent = runner.last()["spent_nano_usd"]
    assert spent > 0
    rows = show(runner)
    assert {name.partition(":")[0] for name in rows} == {"project", "user", "model", "spec", "run"}
    assert {row["spent_nano_usd"] for row in rows.values()} == {spent}
    table = runner("budget", "show").stdout.splitlines()
    assert table[0].split() == ["SCOPE", "PERIOD", "LIMIT", "SPENT", "UNKNOWN", "HELD", "HEADROOM"]
    assert [line.split(":")[0] for line in table[1:3]] == ["project", "user"]
    assert not any(line.startswith("run:") for line in table)
    assert len({len(line) for line in table[:4]}) == 1, "the money column is aligned"
    assert any(line.startswith("run:") for line in runner("budget", "show", "--all").stdout.splitlines())


def test_a_project_budget_stops_a_run_that_no_flag_loosens(runner):
    assert runner("budget", "set", "project", "0.000001").returncode == 0
    stopped = run_once(runner, "--max-cost", "100")
    assert stopped.returncode == 3
    assert "project:" in stopped.stdout
    assert runner("budget", "set", "project", "none").returncode == 0
    assert run_once(runner, "--max-cost", "100").returncode == 0


@pytest.mark.parametrize("period", ["total", "day", "week", "month"])
def test_a_limit_below_what_is_used_admits_nothing_until_it_is_raised(runner, period):
    assert run_once(runner).returncode == 0
    spent = runner.last()["spent_nano_usd"]
    lowered = runner("budget", "set", "user", "0.000000001", "--period", period)
    assert lowered.returncode == 0
    assert "admits no call until" in lowered.stdout
    assert ("ends (" in lowered.stdout) == (period != "total")
    row = next(row for name, row in show(runner).items() if name.startswith("user:") and name.endswith(period))
    assert (row["spent_nano_usd"], row["overrun_nano_usd"], row["headroom_nano_usd"]) == (spent, spent - 1, 0)
    assert "above its limit, admits no call" in runner("budget", "show").stdout
    assert run_once(runner).returncode == 3
    assert runner("budget", "set", "user", "5", "--period", period).returncode == 0
    assert run_once(runner).returncode == 0


def test_a_scope_is_named_and_its_periods_begin_in_its_time_zone(runner):
    told = runner.json(
        "budget", "set", "model:openai/gpt-5", "0", "--period", "day", "--zone", "Pacific/Kiritimati", "--json"
    )
    assert (told["scope"], told["limit_nano_usd"], told["zone"]) == ("model:openai/gpt-5", 0, "Pacific/Kiritimati")
    assert told["ends"].endswith("00:00 Pacific/Kiritimati")
    again = runner.json("budget", "set", "model:openai/gpt-5", "7.5", "--period", "day", "--json")
    assert (again["before_nano_usd"], again["limit_nano_usd"], again["zone"]) == (0, 7.5 * NANO, "Pacific/Kiritimati")
    assert run_once(runner).returncode == 0


def test_the_project_is_the_same_in_every_clone_of_a_repository(runner, tmp_path: Path):
    runner.git("init", "-q")
    runner.git("commit", "-q", "--allow-empty", "-m", "one")
    first = runner.git("rev-parse", "HEAD").strip()
    told = runner.json("budget", "set", "project", "3", "--json")
    assert told["scope"] == f"project:{first}"
    shutil.copytree(runner.cwd, tmp_path / "clone")
    runner.cwd = tmp_path / "clone"
    assert runner.json("budget", "set", "project", "4", "--json")["before_nano_usd"] == 3 * NANO


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["projekt", "5"], "no such scope: 'projekt'"),
        (["model", "5"], "no such scope: 'model'"),
        (["run:x", "5"], "no such scope: 'run:x'"),
        (["project:", "5"], "no such scope: 'project:'"),
        (["user", "five"], "not an amount of US dollars: 'five'"),
        (["user", "0.0000000001"], "at most 9 decimals"),
        (["user", "5", "--period", "year"], "no such period: 'year'"),
        (["user", "5", "--period", "day", "--zone", "Mars/Olympus"], "no such time zone: 'Mars/Olympus'"),
        (["user", "5", "--zone", "UTC"], "add --period day"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused_and_nothing_is_set(runner, words, said):
    refused = runner("budget", "set", *words)
    assert refused.returncode == 2
    assert said in refused.stderr
    if (runner.state / "runner.db").exists():
        connection = sqlite3.connect(runner.state / "runner.db")
        assert connection.execute("SELECT count(*) FROM budget_limit").fetchone() == (0,)
        connection.close()


# ---- spec check and init ---------------------------------------------------------------------------------


def test_init_writes_a_spec_that_checks_without_a_key_and_is_never_overwritten(runner):
    made = runner("init")
    assert made.returncode == 0
    assert "runner spec check spec.md" in made.stdout
    before = (runner.cwd / "spec.md").read_bytes()
    checked = runner("spec", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "no price: no model was named and no provider's key is set" in checked.stdout
    (runner.cwd / "spec.md").write_bytes(before + b"mine")
    again = runner("init")
    assert again.returncode == 1
    assert "nothing was written" in again.stderr
    assert (runner.cwd / "spec.md").read_bytes() == before + b"mine"
    assert runner("init", "no/such/place.md").returncode == 2
    assert not runner.state.exists()


def test_spec_check_prices_the_model_it_is_told_without_a_key(runner):
    runner("init")
    told = runner.json("spec", "check", "spec.md", "--model", "openai/gpt-5", "--json")
    assert told["worst_call_nano_usd"] > 0
    assert 0 < told["worst_run_nano_usd"] <= told["limits"]["usd_nano"]["value"]
    assert told["problems"] == []
    runner.env["OPENAI_API_KEY"] = "sk-test-0123456789abcdef"
    assert runner.json("spec", "check", "--json")["worst_call_nano_usd"] > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nbudget: five\n---\n# x\n", "spec.md:2"),
        ("---\nchekcs: [true]\n---\n# x\n", "did you mean 'checks'"),
        ("---\nmodel: openai/none\n---\n# x\n", "spec.md:2"),
        ("---\nstall: 30\nbudget: {iterations: 3}\n---\n# x\n", "cannot bind"),
    ],
)
def test_spec_check_names_place_and_fix_of_what_is_wrong(runner, text, said):
    runner.write("spec.md", text)
    done = runner("spec", "check", "spec.md")
    assert done.returncode == 2
    assert said in done.stdout + done.stderr


def test_spec_check_says_what_loop_would_say(runner):
    runner("init")
    model = runner.recording(DONE)
    checked = runner("spec", "check", "spec.md", "--model", model).stdout.splitlines()[:-1]
    dry = runner("loop", "spec.md", "--dry-run", "--model", model).stdout.splitlines()[:-2]
    assert checked == dry


@pytest.mark.parametrize("group", ["budget", "spec"])
def test_a_group_of_commands_named_alone_gives_its_help_as_it_is(runner, group):
    alone = runner(group)
    assert (alone.returncode, alone.stderr) == (2, "")
    assert alone.stdout == runner(group, "--help").stdout


def test_a_dry_run_names_the_flag_a_limit_comes_from_as_it_is_typed(runner):
    runner.write("spec.md", "# Say yes\n")
    told = runner("loop", "spec.md", "--dry-run", "--model", runner.recording({"otherwise": True}), "--max-cost", "2")
    assert "(--max-cost)" in told.stdout
