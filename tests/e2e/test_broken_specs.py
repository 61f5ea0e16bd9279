"""What cannot be run is refused before the first call: exit 2, the place, the fix, and nothing left behind."""

from __future__ import annotations

import json
import re

import pytest

SOUND = "# Work\n\nDo the work.\n"


@pytest.fixture
def model(runner):
    """A recording that would answer anything, so that only the refusal can keep a call from being made."""
    name = runner.recording({"otherwise": True, "text": "<promise>COMPLETE</promise>"})
    runner.env["RUNNER_MODEL"] = name
    return name


def refused(runner, *args, env=None, give=""):
    """Run the command, see that it was refused properly, and give what it said."""
    runner.env = {**runner.env, **(env or {})}
    done = runner(*args, give=give)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) >= 2, "an error says how to go on"
    assert not list(runner.state.glob("runs/*"))
    assert not (runner.state / "runner.db").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("text", "place", "what", "fix"),
    [
        pytest.param("---\nchecks: [pytest\n---\n# W\n", "2:", "not YAML", "close the bracket", id="bad YAML"),
        pytest.param("---\nbudgit: 5\n---\n# W\n", "2:1", "unknown key 'budgit'", "did you mean 'budget'?", id="key"),
        pytest.param(
            "---\nmodel: openai/gpt-99\n---\n# W\n", "2:8", "no price is known", '[models."openai/gpt-99"]', id="model"
        ),
        pytest.param(
            "---\nmodel: opnai/gpt-5\n---\n# W\n", "2:8", "unknown model", "A model is openai/NAME", id="provider"
        ),
        pytest.param(
            "---\nchecks:\n  - no-such-program -q\n---\n# W\n",
            "3:5",
            "'no-such-program' is neither on PATH nor in the workspace",
            "creates: true",
            id="program",
        ),
        pytest.param(
            "---\nchecks:\n  - ./check.sh\n---\n# W\n", "3:5", "neither on PATH nor in", "'setup:'", id="script"
        ),
        pytest.param(
            "---\nbudget:\n  usd: five\n---\n# W\n", "3:8", "not an amount of US dollars", "'usd: 5'", id="five"
        ),
        pytest.param(
            "---\nbudget:\n  usd: 0\n---\n# W\n", "3:8", "usd 0 allows no money", "a number above 0", id="cap of 0"
        ),
        pytest.param(
            "---\nstall: 3\nstall: 4\n---\n# W\n", "3:1", "written twice (first on line 2)", "keep one", id="duplicate"
        ),
        pytest.param("", "1", "the spec is empty", "runner init", id="empty"),
        pytest.param("x" * 10_000_000, "1", "larger than 1,000,000 bytes", "keep the spec short", id="10 MB"),
        pytest.param("---\nworkspace: nowhere\n---\n# W\n", "2:12", "is no directory", "make it", id="workspace"),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_broken_spec_is_refused_where_it_is_broken(runner, text, place, what, fix):
    spec = runner.write("spec.md", text)
    said = refused(runner, "loop", "spec.md", env={"OPENAI_API_KEY": "sk-test-0123456789abcdef"})
    assert re.search(rf"^ +--> {re.escape(spec.name)}:{place}", said, re.MULTILINE), said
    assert what in said
    assert fix in said


def test_a_check_may_name_a_program_that_is_still_to_be_made(runner, model):
    runner.write("spec.md", "---\nchecks:\n  - run: ./check.sh\n    creates: true\n---\n# W\n")
    assert runner("loop", "spec.md", "--model", model, "-n", "1").returncode == 4


def test_only_checks_can_verify(runner, model):
    runner.write("spec.md", SOUND)
    said = refused(runner, "loop", "spec.md", "--model", model, "--require-verified")
    assert "--> spec.md:1\n" in said
    assert "checks: [pytest -q]" in said


def test_of_two_specs_one_has_to_be_named(runner, model):
    runner.write("specs/one.md", SOUND)
    runner.write("specs/two.md", SOUND)
    said = refused(runner, "loop", "--model", model)
    assert "specs/one.md, specs/two.md" in said
    assert "runner loop specs/one.md" in said


def test_an_empty_folder_has_no_spec(runner, model):
    said = refused(runner, "loop", "--model", model)
    assert "spec.md, SPEC.md, PROMPT.md" in said
    assert "runner init" in said


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("lopo",), "did you mean 'runner loop'?"),
        (("loop", "spec.md", "--max-csot", "3"), "--max-cost"),
        (("loop", "spek.md"), "there is no such file\n --> spek.md\n  help: did you mean spec.md?"),
        (("loop", "."), "the spec is a folder"),
        (("loop", "spec.md", "-p", "do it"), "both a spec file and -p TEXT"),
        (("loop", "spec.md", "--max-cost", "0"), "usd 0 allows no money"),
        (("loop", "spec.md", "-n", "0"), "iterations 0 allows no iterations"),
        (("loop", "spec.md", "--max-cost", "five"), "--max-cost: not an amount of US dollars: 'five'"),
        (("loop", "spec.md", "--max-cost", "1e999999999"), "--max-cost: not an amount of US dollars"),
        (("loop", "spec.md", "--max-cost", "1e15"), "--max-cost: more than 1,000,000,000 US dollars"),
        (("loop", "spec.md", "--max-cost", "-1"), "--max-cost: not an amount of US dollars: '-1'"),
        (("loop", "spec.md", "--max-cost", "inf"), "--max-cost: not an amount of US dollars: 'inf'"),
        (("loop", "spec.md", "--max-cost", ""), "--max-cost: not an amount of US dollars: ''"),
        (("loop", "spec.md", "--max-tokens", "9" * 40), "--max-tokens: more than"),
        (("loop", "spec.md", "--max-duration", "9" * 20 + "d"), "--max-duration: more than ten years"),
        (("loop", "spec.md", "--deadline", "25:00"), "--deadline: not a time: '25:00'"),
        (("loop", "spec.md", "--max-cost", "1", "--no-budget"), "--no-budget and --max-cost were both given"),
        (("loop", "spec.md", "--model", "replay:nowhere.jsonl"), "no recording at nowhere.jsonl"),
        (("loop", "spec.md", "--model", "claude"), "unknown model 'claude'"),
        (("loop", "spec.md", "--prices", "nowhere.toml"), "cannot read the prices"),
        (("resume", "20990101-000000-abcd"), "nothing was ever run"),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_slip_of_the_keyboard_is_answered_with_what_was_meant(runner, args, what):
    runner.write("spec.md", SOUND)
    assert what in refused(runner, *args)


def test_without_a_key_the_ways_to_set_one_are_said(runner):
    runner.write("spec.md", SOUND)
    said = refused(runner, "loop", "spec.md")
    assert "no provider's key is set" in said
    assert all(way in said for way in ("OPENAI_API_KEY", ".env", "OPENAI_BASE_URL", "--model replay:FILE"))


def test_a_key_that_only_litellm_would_send_is_named(runner):
    runner.write("spec.md", SOUND)
    key = "gsk-0123456789abcdefghij"
    said = refused(runner, "loop", "spec.md", env={"GROQ_API_KEY": key})
    assert "GROQ_API_KEY found, but no model was named" in said
    assert "--model groq/NAME" in said
    assert key not in said


def test_a_model_without_a_price_is_refused_with_the_stanza_that_gives_it_one(runner, tmp_path):
    runner.write("spec.md", SOUND)
    key = {"OPENAI_API_KEY": "sk-test-0123456789abcdef"}
    said = refused(runner, "loop", "spec.md", "--model", "openai/house-model", env=key)
    stanza = said[said.index("[models.") :]
    prices = tmp_path / "prices.toml"
    prices.write_text(stanza.replace('"…"', '"1.50"'))
    done = runner("loop", "spec.md", "--model", "openai/house-model", "--prices", str(prices), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "openai/house-model" in done.stdout


@pytest.mark.parametrize("folder", ["/", "home"])
def test_a_folder_that_is_too_much_for_a_workspace_is_refused(runner, model, folder):
    spec = runner.write("spec.md", SOUND)
    home = runner.state.parent / "home"
    home.mkdir()
    runner.cwd = home if folder == "home" else runner.cwd.joinpath(folder)
    assert "too much for a workspace" in refused(runner, "loop", str(spec), "--model", model)


def test_a_spec_from_standard_input_is_named_as_such(runner, model):
    said = refused(runner, "loop", "-", "--model", model, give="---\nstal: 3\n---\n# W\n")
    assert said.startswith("error: unknown key 'stal'\n  --> <stdin>:2:1\n")


def test_a_broken_recording_is_refused_with_file_and_line(runner):
    runner.write("spec.md", SOUND)
    name = runner.recording({"otherwise": True, "txt": "misspelt"})
    said = refused(runner, "loop", "spec.md", "--model", name)
    assert re.search(r"--> .*recording\.jsonl:2$", said, re.MULTILINE), said


def test_a_dry_run_of_a_broken_spec_exits_2_and_of_a_sound_one_writes_nothing(runner, model):
    runner.write("spec.md", "---\nchekcs: [make]\n---\n# W\n")
    refused(runner, "loop", "spec.md", "--model", model, "--dry-run")
    runner.write("spec.md", SOUND)
    done = runner("loop", "spec.md", "--model", model, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert not runner.state.exists()


@pytest.mark.parametrize("how", ["flag", "variable", "file", "a link inside", "a link outside"])
def test_prices_that_an_agent_can_write_are_refused(runner, model, tmp_path, how):
    runner.write("spec.md", SOUND)
    inside, outside = runner.write("cheap.toml", ""), tmp_path / "elsewhere" / "prices.toml"
    outside.parent.mkdir()
    args: list[str] = []
    match how:
        case "flag":
            args = ["--prices", "cheap.toml"]
        case "variable":
            runner.env["RUNNER_PRICES"] = str(inside)
        case "file":
            (outside.parent / "config.toml").write_text(f'prices = "{inside}"\n')
            runner.env["RUNNER_CONFIG"] = str(outside.parent / "config.toml")
        case "a link inside":
            outside.write_text("")
            (runner.cwd / "link.toml").symlink_to(outside)
            args = ["--prices", "link.toml"]
        case _:
            outside.symlink_to(inside)
            args = ["--prices", str(outside)]
    said = refused(runner, "loop", "spec.md", "--model", model, *args)
    assert "lie in the workspace" in said
    assert "~/.config/runner/prices.toml" in said


def test_prices_and_a_state_directory_within_an_agents_reach_are_refused_when_a_run_goes_on(runner, model, tmp_path):
    runner.write("spec.md", SOUND)
    inside = runner.write("cheap.toml", "")
    elsewhere = tmp_path / "other"
    runner.env["RUNNER_STATE_DIR"] = str(elsewhere)
    assert runner("loop", "spec.md", "--model", model, "--max-calls", "1").returncode != 2
    done = runner("resume", "last", "--max-calls", "2", "--prices", str(inside))
    assert done.returncode == 2
    assert "lie in the workspace" in done.stderr
    # the run's workspace holds the file that names the state directory the run is looked for in
    runner.env |= {"RUNNER_STATE_DIR": "", "RUNNER_CONFIG": str(runner.write("c.toml", f'state_dir = "{elsewhere}"\n'))}
    done = runner("resume", "last", "--max-calls", "2")
    assert done.returncode == 2
    assert "was named by a file in the run's workspace" in done.stderr
