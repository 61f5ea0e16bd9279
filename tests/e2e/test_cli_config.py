"""`runner config`: every setting with its value and its source, as a run would be held to it; no key's value."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

KEY = "sk-proj-abcdefghijklmnop0123456789"
SPEC = "---\nmodel: openai/gpt-5\nbudget:\n  usd: 2\n  duration: 2h\n---\n# Work\n\nDo it.\n"


@pytest.fixture
def home(runner):
    """The user's home; `config.toml` is where the platform has it."""
    folder = runner.state.parent / "home"
    (folder / ".config" / "runner").mkdir(parents=True)
    return folder


def configured(home, text: str):
    path = home / ".config" / "runner" / "config.toml"
    path.write_text(text)
    return path


def by_name(found: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found[part]}


# ---- sources ---------------------------------------------------------------------------------------------


def test_each_value_names_the_file_and_line_the_variable_or_the_flag_it_comes_from(runner, home):
    text = '# mine\nproject = "shop"\nmax_output = 8000\n\n[tools]\nenv = ["CARGO_HOME"]\n'
    server = '[providers.desk]\nbase_url = "http://127.0.0.1:9/v1"\nkey = "RUNNER_KEY_DESK"\n'
    path = configured(home, text + server)
    spec = runner.write("spec.md", SPEC)
    runner.env["RUNNER_PRICES"] = str(path.parent / "p.toml")
    (path.parent / "p.toml").write_text("")
    found = by_name(runner.json("config", "spec.md", "--unattended", "--json"), "settings")
    assert {name: (one["value"], one["source"]) for name, one in found.items()} == {
        "model": ("openai/gpt-5", f"{spec}:2"),
        "prices": (str(path.parent / "p.toml"), "RUNNER_PRICES"),
        "project": ("shop", f"{path}:2"),
        "state_dir": (str(runner.state), "RUNNER_STATE_DIR"),
        "unattended": (True, "flag"),
        "worktree": (True, "unattended"),
        "tools.env": (["CARGO_HOME"], f"{path}:6"),
        "secrets": ([], "built-in"),
        "on_stop": (None, "built-in"),
        "on_park": (None, "built-in"),
        "min_output": (1024, "built-in"),
        "max_output": (8000, f"{path}:3"),
        "budget_wait": (600, "built-in"),
        "openai_base_url": (None, "built-in"),
        "providers.desk": ("http://127.0.0.1:9/v1", f"{path}:7"),
        "models": ([], "built-in"),
        "rate_wait": (600, "built-in"),
        "patience": (3600, "built-in"),
        "idle_timeout": (300, "built-in"),
        "call_timeout": (900, "built-in"),
        "thinking": ("off", "built-in"),
        "cache": ("5m", "built-in"),
        "service": ("standard", "built-in"),
        "geo": ("global", "built-in"),
        "policy": ("default", "built-in"),
        "sandbox": ("none", "RUNNER_SANDBOX"),
        "sandbox_user": (None, "built-in"),
    }
    said = runner("config", "providers", "patience", "RUNNER_KEY_DESK").stdout
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["providers.desk", "http://127.0.0.1:9/v1"], ["patience", "1"], ["RUNNER_KEY_DESK", "missing"]
    ]  # fmt: skip


def test_a_limit_shows_everyone_who_states_one_and_who_won(runner, home):
    spec = runner.write("spec.md", SPEC)
    limits = by_name(runner.json("config", "spec.md", "--max-cost", "3", "-n", "none", "--json"), "limits")

    def layers(name: str) -> list[tuple[object, object]]:
        one = limits[name]
        return [(one["value"], one["source"]), *((other["value"], other["source"]) for other in one["replaced"])]

    usd = [(3_000_000_000, "--max-cost"), (2_000_000_000, f"{spec}:4"), (5_000_000_000, "built-in")]
    assert layers("budget.usd") == usd
    assert layers("budget.duration") == [(7200, f"{spec}:5"), (28800, "built-in")]
    assert layers("budget.iterations") == [(None, "--max-iterations"), (25, "built-in")]
    assert layers("budget.tokens") == [(None, "built-in")]
    said = runner("config", "spec.md", "--max-cost", "3", "budget.usd").stdout
    assert [line.split() for line in said.splitlines()] == [
        ["budget.usd", "$3.0000", "--max-cost"],
        ["$2.0000", "spec.md:4,", "replaced"],
        ["$5.0000", "built-in,", "replaced"],
    ]


def test_no_budget_lifts_the_cap_of_the_spec_and_says_so(runner, home):
    spec = runner.write("spec.md", SPEC)
    usd = by_name(runner.json("config", "spec.md", "--no-budget", "--json"), "limits")["budget.usd"]
    assert (usd["value"], usd["source"]) == (None, "--no-budget")
    assert [one["source"] for one in usd["replaced"]] == [f"{spec}:4", "built-in"]


def test_what_config_says_is_what_the_run_is_held_to(runner, home):
    runner.write("spec.md", SPEC.replace("model: openai/gpt-5\n", ""))
    flags = ("--max-cost", "1.5", "--max-tokens", "70_000", "--max-steps", "7", "--max-duration", "5m", "-n", "2")
    model = runner.recording({"otherwise": True, "text": "Done.\n<promise>COMPLETE</promise>"})
    said = by_name(runner.json("config", "spec.md", *flags, "--model", model, "--json"), "limits")
    ran = runner.json("loop", "spec.md", *flags, "--model", model, "--json")
    held = runner.json("show", ran["run"], "--json")["limits"]
    renamed = {"usd": "nano_usd", "duration": "duration_s", "deadline": "deadline_ms", "idle": "idle_s"}
    assert {
        renamed.get(n.removeprefix("budget."), n.removeprefix("budget.")): one["value"] for n, one in said.items()
    } == {name: one["value"] for name, one in held.items()}


def test_without_a_spec_its_word_is_left_out_and_that_is_said(runner, home):
    runner.write("spec.md", SPEC)
    done = runner("config")
    assert done.returncode == 0
    assert "no spec was named" in done.stdout
    assert runner.json("config", "budget.usd", "--json")["limits"][0]["value"] == 5_000_000_000


# ---- keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["environment", ".env", "--env-file"])
def test_a_key_shows_as_present_with_its_place_and_never_with_its_value(runner, home, place):
    more: list[str] = []
    if place == "environment":
        runner.env["OPENAI_API_KEY"] = KEY
    elif place == ".env":
        runner.write(".env", f"OPENAI_API_KEY={KEY}\n")
    else:
        more = ["--env-file", str(runner.write("my.env", f"OPENAI_API_KEY={KEY}\n"))]
    found = runner("config", "--json", *more)
    key = by_name(json.loads(found.stdout), "keys")["OPENAI_API_KEY"]
    source = {".env": str(runner.cwd / ".env"), "--env-file": str(runner.cwd / "my.env")}.get(place, place)
    assert (key["present"], key["source"]) == (True, source)
    said = runner("config", *more)
    assert "present" in said.stdout
    assert KEY not in found.stdout + found.stderr + said.stdout + said.stderr


def test_a_missing_key_shows_as_missing_and_one_for_litellm_is_said(runner, home):
    runner.env["GROQ_API_KEY"] = "a" * 30
    keys = by_name(runner.json("config", "--json"), "keys")
    assert (keys["OPENAI_API_KEY"]["present"], keys["GROQ_API_KEY"]["present"]) == (False, True)
    said = runner("config", "OPENAI_API_KEY", "GROQ_API_KEY").stdout
    assert said.split() == ["OPENAI_API_KEY", "missing", "GROQ_API_KEY", "present", "environment,", "for", "litellm"]


def test_what_stands_in_a_setting_and_is_secret_is_masked(runner, home):
    token = "hunter22hunter22"
    configured(home, f'secrets = ["HOOK_TOKEN", "GONE"]\non_stop = ["notify", "--token", "{token}"]\n')
    runner.env |= {"HOOK_TOKEN": token, "OPENAI_BASE_URL": "http://me:passw0rd@127.0.0.1:1/v1"}
    for done in (runner("config"), runner("config", "--json")):
        assert done.returncode == 0
        assert token not in done.stdout
        assert "[secret:HOOK_TOKEN]" in done.stdout
        assert "passw0rd" not in done.stdout
        assert "@127.0.0.1:1/v1" in done.stdout
        assert "GONE, which is not set" in done.stdout


# ---- shared budgets --------------------------------------------------------------------------------------


def test_a_shared_budget_with_less_room_than_the_cap_is_said_to_bind_first(runner, home):
    assert runner("budget", "set", "user", "1.25", "--period", "day").returncode == 0
    assert runner("budget", "set", "model:openai/gpt-5", "100").returncode == 0
    assert runner("budget", "set", "project:other", "0.01").returncode == 0
    found = runner.json("config", "--model", "openai/gpt-5", "--json")
    runner.env["OPENAI_API_KEY"] = KEY
    found = runner.json("config", "--model", "openai/gpt-5", "--json")
    assert [
        (one["scope"].partition(":")[0], one["period"], one["headroom_nano_usd"], one["binds"])
        for one in found["shared"]
    ] == [
        ("user", "day", 1_250_000_000, True),
        ("model", "total", 100_000_000_000, False),
    ]
    said = runner("config", "--model", "openai/gpt-5").stdout
    assert "$1.2500 left of $1.2500" in said
    assert " ".join(said.split()).count("binds first") == 1
    loose = runner.json("config", "--max-cost", "1", "--json")["shared"]
    assert [one["binds"] for one in loose if one["scope"].startswith("user")] == [False]


def test_what_was_spent_counts_in_the_shared_headroom(runner, home):
    runner.write("spec.md", "# Work\n\nDo it.\n")
    runner("budget", "set", "user", "1", "--period", "month")
    done = runner.json(
        "loop",
        "spec.md",
        "--json",
        "--model",
        runner.recording({"otherwise": True, "text": "<promise>COMPLETE</promise>"}),
    )
    (shared,) = runner.json("config", "--json")["shared"]
    assert done["spent_nano_usd"] > 0
    assert shared["headroom_nano_usd"] == 1_000_000_000 - done["spent_nano_usd"]


def test_the_budget_of_this_repositorys_project_is_found_without_making_anything(runner, home):
    runner.git("init", "-q", "-b", "main")
    runner.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
    first = runner.git("rev-parse", "HEAD").strip()
    runner("budget", "set", f"project:{first}", "0.5")
    before = sorted(path.name for path in runner.state.rglob("*"))
    (shared,) = runner.json("config", "--json")["shared"]
    assert (shared["scope"], shared["binds"]) == (f"project:{first}", True)
    after = {path.name for path in runner.state.rglob("*")} - {"runner.db-wal", "runner.db-shm"}
    assert after <= set(before)


# ---- the file --------------------------------------------------------------------------------------------


def test_looking_makes_nothing(runner, home):
    for args in ((), ("--json",), ("--path",), ("--example",), ("model",)):
        assert runner("config", *args).returncode == 0
    assert not runner.state.exists()
    assert [path.name for path in home.rglob("*")] == [".config", "runner"]


def test_the_place_of_the_file_is_told_whether_it_is_there_or_torn(runner, home):
    path = home / ".config" / "runner" / "config.toml"
    assert runner("config", "--path").stdout == f"{path}\n"
    configured(home, "model = \n")
    assert runner("config", "--path").stdout == f"{path}\n"
    assert runner.json("config", "--path", "--json") == {"configuration": str(path), "configuration_exists": True}
    runner.env["RUNNER_CONFIG"] = str(home / "other.toml")
    assert runner("config", "--path").stdout == f"{home}/other.toml\n"
    assert runner("config").returncode == 2


def test_the_example_can_be_used_as_it_is_and_with_every_key_set(runner, home):
    text = runner("config", "--example").stdout
    path = configured(home, text)
    found = runner.json("config", "--json")
    assert {one["source"] for one in found["settings"] if one["name"] not in {"state_dir", "sandbox"}} == {"built-in"}
    every = "".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines(keepends=True)
    )
    assert len(tomllib.loads(every)) > 10
    configured(home, every.replace('"~/prices.toml"', f'"{runner.write("p.toml", "")}"'))
    both = runner("config")
    assert both.returncode == 2
    assert "both model and models are there" in both.stderr
    configured(home, path.read_text().replace("\nmodels = ", "\n#models = "))
    settings = by_name(runner.json("config", "--json"), "settings")
    assert {name for name, one in settings.items() if not str(one["source"]).startswith(f"{path}:")} == {
        "state_dir", "sandbox", "openai_base_url", "models"
    }  # fmt: skip
    assert settings["providers.desk"]["value"] == "http://127.0.0.1:11434/v1"


def test_an_unknown_key_is_refused_with_file_line_and_what_was_meant(runner, home):
    path = configured(home, 'model = "openai/gpt-5"\nmax_ouput = 3\n')
    done = runner("config")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path}:2" in done.stderr
    assert "max_output" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mdoel"], "did you mean model?"),
        (["budget.usdd"], "did you mean budget.usd?"),
        (["none.md"], "there is no such file"),
        (["a.md", "b.md"], "two specs were named"),
        (["--max-cost", "abc"], "--max-cost"),
    ],
)
def test_a_word_that_means_nothing_is_answered_with_what_was_meant(runner, home, words, said):
    done = runner("config", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_lines_fit_80_columns_where_no_path_is_longer(runner, home):
    runner.write("spec.md", SPEC)
    runner.env |= {"OPENAI_API_KEY": KEY, "RUNNER_STATE_DIR": "/tmp/none-such"}
    for args in ((), ("spec.md", "--max-cost", "3"), ("model", "budget.usd")):
        lines = runner("config", *args).stdout.splitlines()
        assert lines
        assert max(map(len, lines)) <= 80, lines
