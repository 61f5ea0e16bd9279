"""What a sound spec says is what runner reads, exactly."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from runner.errors import ConfigError
from runner.spec.deadline import deadline_at
from runner.spec.keys import KEYS
from runner.spec.model import DEFAULT_PROMISE, Check, Service, Spec, Stall
from runner.spec.parse import parse_spec
from runner.spec.program import program
from runner.values import Limits

NOW = int(datetime(2030, 1, 15, 12, 0, tzinfo=UTC).timestamp() * 1000)
SPECS = Path(__file__).resolve().parents[2] / "specs"
SHIPPED = sorted(path for path in SPECS.rglob("*.md") if path.name != "README.md")


def read(text: str) -> Spec:
    return parse_spec(
        text, "spec.md", on_path=lambda program: program in {"pytest", "python3", "sh", "./x"}, now=NOW, zone=UTC
    )


def front(yaml: str) -> Spec:
    return read(f"---\n{yaml}\n---\n# Do it\n")


def test_a_plain_prompt_is_a_spec() -> None:
    spec = read("Build the thing.\n\n- [ ] part\n")
    assert (spec.title, spec.checks, spec.limits, spec.stated) == ("Build the thing.", (), Limits(), frozenset())
    assert spec.body == spec.text
    assert (spec.target, spec.stall, spec.promise, spec.on_false_claim) == (1.0, Stall(), None, "continue")
    assert [(item.text, item.line) for item in spec.checklist] == [("part", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "---\n\n# Title\n\ntext\n",
        "---\n\nSome words: and more.\n\n---\n\nOther words.\n",
        "---\n\ntext",
        "----\nmodel: x\n---\n",
        "- - -\nmodel: x\n",
        " ---\nmodel: x\n---\nbody",
    ],
)
def test_a_body_may_start_with_a_horizontal_rule(text: str) -> None:
    spec = read(text)
    assert spec.body == text
    assert spec.model is None


def test_front_matter_is_found_behind_empty_lines_and_comments() -> None:
    spec = read("---\n\n# which model\nmodel: x\n---\nbody\n")
    assert (spec.model, spec.body) == ("x", "body\n")


def test_empty_front_matter_says_nothing() -> None:
    assert read("---\n---\nbody").body == "body"
    assert read("---\n# only words\n---\nbody").body == "body"


def test_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    spec = read("\ufeff---\r\nmodel: x\r\nbudget:\r\n  usd: 1\r\n---\r\n# Title\r\n- [ ] a\r\n")
    assert (spec.model, spec.title, spec.limits.usd) == ("x", "Title", 1_000_000_000)
    assert spec.checklist[0].line == 7
    assert spec.place("budget.usd") == (4, 8)
    assert spec.place("stall") == (None, None)


def test_the_title_is_the_first_heading_outside_fences() -> None:
    assert read("words\n```\n# no\n```\n## The *title* ##\n").title == "The *title*"
    assert read("# C#\n").title == "C#"
    assert read("#\n## ##\nwords\n").title == "#"
    assert read(f"{'long ' * 40}\n").title == f"{'long ' * 15}long…"


def test_every_form_of_a_check() -> None:
    spec = front(
        """\
checks:
  - pytest -q
  - [python3, -m, unittest]
  - name: scored
    run: ./x
    parse: number
    out_of: 20
    weight: 0.5
    timeout: 1m30s
  - run: pytest --junitxml={results}/r.xml
    parse: junit
    report: "{results}/r.xml"
  - {run: ./made-later, creates: true, parse: tap}"""
    )
    assert spec.checks == (
        Check(name="pytest -q", argv=("/bin/sh", "-c", "pytest -q"), line=3),
        Check(name="python3 -m unittest", argv=("python3", "-m", "unittest"), line=4),
        Check(
            name="scored",
            argv=("/bin/sh", "-c", "./x"),
            parse="number",
            out_of=20.0,
            weight=0.5,
            timeout_s=90,
            line=5,
        ),
        Check(
            name="pytest --junitxml={results}/r.xml",
            argv=("/bin/sh", "-c", "pytest --junitxml={results}/r.xml"),
            parse="junit",
            report="{results}/r.xml",
            line=11,
        ),
        Check(name="./made-later", argv=("/bin/sh", "-c", "./made-later"), parse="tap", creates=True, line=14),
    )


def test_a_protected_file_is_given_back_by_an_exclamation_mark():
    assert front('checks: pytest -q app.py\nprotect: ["!app.py", golden/**]').protect == ("!app.py", "golden/**")


def test_one_command_stands_for_a_list_of_one() -> None:
    spec = front("checks: pytest -q\nsetup: make\nprotect: tests/**")
    assert [check.argv for check in spec.checks] == [("/bin/sh", "-c", "pytest -q")]
    assert (spec.setup, spec.protect) == ((("/bin/sh", "-c", "make"),), ("tests/**",))


def test_every_limit_and_that_none_is_stated_too() -> None:
    spec = front(
        "budget:\n  usd: $0.10\n  tokens: 2_000_000\n  calls: 7\n  iterations: 0\n  steps: none\n  duration: 1h30m\n"
        "  deadline: 07:00\n  idle: 90"
    )
    assert spec.limits == Limits(
        usd=100_000_000,
        tokens=2_000_000,
        calls=7,
        iterations=0,
        steps=None,
        duration_s=5400,
        deadline=NOW + 19 * 3_600_000,
        idle_s=90,
    )
    names = {"usd", "tokens", "calls", "iterations", "steps", "duration_s", "deadline", "idle_s"}
    assert spec.stated == names
    assert front("budget: {usd: none}").stated == {"usd"}


def test_the_remaining_keys() -> None:
    spec = front(
        """\
stall: none
promise: true
model: openai/gpt-5-mini
setup: [make deps, [pip, install, -e, .]]
services: [redis-server, {name: web, run: [python3, -m, http.server], ready: 8000, timeout: 5s}]
workspace: ../app
completion: {on_false_claim: stop}"""
    )
    assert (spec.stall, spec.promise, spec.model) == (Stall(iterations=None), DEFAULT_PROMISE, "openai/gpt-5-mini")
    assert spec.setup == (("/bin/sh", "-c", "make deps"), ("pip", "install", "-e", "."))
    assert spec.services == (
        Service(name="redis-server", argv=("/bin/sh", "-c", "redis-server")),
        Service(name="web", argv=("python3", "-m", "http.server"), ready_port=8000, timeout_s=5),
    )
    assert (spec.workspace, spec.on_false_claim) == ("../app", "stop")
    assert front("stall: 5").stall == front("stall: {iterations: 5}").stall == Stall(iterations=5)
    assert (front("promise: false").promise, front("promise: ALL DONE").promise) == (None, "ALL DONE")


def test_a_recording_is_a_known_model() -> None:
    def model(name: str) -> str | None:
        text = f"---\nmodel: {name}\n---\nx"
        return parse_spec(text, "spec.md", on_path=bool, now=NOW, known_models=["gpt-5"]).model

    assert (model("gpt-5"), model("replay:demo.jsonl")) == ("gpt-5", "replay:demo.jsonl")
    with pytest.raises(ConfigError):
        model("other")


def test_yaml_is_the_version_in_which_no_is_a_word() -> None:
    assert front("model: no").model == "no"
    assert front("promise: 'true'").promise == "true"


def test_setup_may_name_what_it_reads() -> None:
    spec = front("setup: {run: npm ci, inputs: [package-lock.json, 'src/**/*.in']}")
    assert (spec.setup, spec.setup_inputs) == ((("/bin/sh", "-c", "npm ci"),), ("package-lock.json", "src/**/*.in"))
    assert front("setup: [npm ci]").setup_inputs == ()


def test_a_program_may_be_missing_with_setup_or_creates_alone() -> None:
    with pytest.raises(ConfigError, match="neither on PATH nor in the workspace"):
        front("checks: [cargo test]")
    assert front("checks: [cargo test]\nsetup: [make rust]").checks
    assert front("checks: [{run: cargo test, creates: true}]").checks


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("pytest -q", "pytest"),
        ("LANG=C ./x -v", "./x"),
        ("cd sub && pytest", "pytest"),
        ("test -f x && make", "make"),
        ("set -e\n# words\nmake all\nother", "make"),
        ("make 2>&1 | tail", "make"),
        ("make > out.txt", "make"),
        ("sh t.sh </dev/null", "sh"),
        # beyond what the text tells for certain
        ("cd sub && ./x", None),
        ("make || true", None),
        ("if x; then y; fi", None),
        ("$TOOL x", None),
        ("PATH=$PWD/bin:$PATH tool", None),
        ("! grep x y", None),
        ("(cd a; b)", None),
        ("'my tool' x", None),
        ("test a = b", None),
        ("f() { x; }; f", None),
    ],
)
def test_the_program_of_a_shell_command_is_read_only_where_it_is_certain(command: str, name: str | None) -> None:
    assert program(("/bin/sh", "-c", command)) == name


def test_a_deadline_is_the_next_such_time_of_the_zone() -> None:
    east = timezone(timedelta(hours=2))

    def at(text: str) -> datetime:
        return datetime.fromtimestamp(deadline_at(text, now=NOW, zone=east) / 1000, UTC)

    assert at("15:00") == datetime(2030, 1, 15, 13, 0, tzinfo=UTC)
    assert at("14:00") == datetime(2030, 1, 16, 12, 0, tzinfo=UTC)
    assert at("7:30:15") == datetime(2030, 1, 16, 5, 30, 15, tzinfo=UTC)
    assert at("2030-02-01") == datetime(2030, 1, 31, 22, 0, tzinfo=UTC)
    assert at("2030-02-01 07:00") == datetime(2030, 2, 1, 5, 0, tzinfo=UTC)
    assert at("2030-02-01T07:00:00Z") == datetime(2030, 2, 1, 7, 0, tzinfo=UTC)
    with pytest.raises(ValueError, match="not a time"):
        at("25:00")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_example_of_every_key_is_sound(key) -> None:
    spec = parse_spec(f"---\n{key.example}\n---\nx", "spec.md", on_path=lambda _: True, now=NOW)
    assert spec.places


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_spec_of_the_repository_is_sound(path: Path) -> None:
    spec = parse_spec(path.read_text("utf-8"), path.name, on_path=lambda _: True, now=NOW)
    assert spec.title
    assert spec.checklist or spec.checks


def test_the_full_example_has_every_key() -> None:
    text = (SPECS / "example-full.md").read_text("utf-8")
    spec = parse_spec(text, "example-full.md", on_path=lambda _: True, now=NOW)
    written = {name.partition("[")[0] for name, _, _ in spec.places}
    missing = {key.name for key in KEYS if "[]" not in key.name} - written
    # it stands in place of `model`
    assert missing == {"models"}
    inside = text.partition("\n---\n")[0]
    assert [key.name for key in KEYS if "[]." in key.name and f"{key.name.partition('[].')[2]}: " not in inside] == []


@pytest.mark.parametrize(
    "text",
    [
        "# " + " " * 900_000 + "x",
        "`" * 900_000 + "a`",
        "- " * 450_000,
        "---\nchecks: ['" + '"$aa$aa' * 9_000 + "']\n---\nx",
        "---\n" + "".join(f"k{n}: {n}\n" for n in range(5_000)) + "---\nx",
        "---\n" + "k" * 60_000 + ": 1\n---\nx",
        "---\nmodel: " + "m" * 60_000 + "\n---\nx",
        "---\n" + "\n" * 900_000,
    ],
    ids=["blanks", "backticks", "markers", "quotes", "keys", "a long key", "a long model", "no end"],
)
def test_no_text_within_the_limit_takes_long(text: str) -> None:
    started = time.process_time()
    with suppress(ConfigError):
        parse_spec(text, "spec.md", on_path=lambda _: True, now=NOW, known_models=[f"model-{n}" for n in range(2_000)])
    assert time.process_time() - started < 10


# ---- models ----------------------------------------------------------------------------------------------


def test_a_list_of_models_stands_in_their_order_and_a_single_one_is_a_list_of_one() -> None:
    assert front("models: [openai/gpt-5, desk/llama]").models == ("openai/gpt-5", "desk/llama")
    assert front("models: openai/gpt-5").models == ("openai/gpt-5",)
    assert front("model: openai/gpt-5").models == ()


@pytest.mark.parametrize(
    ("yaml", "place", "said"),
    [
        ("model: a/b\nmodels: [a/b]", (3, 9), "both model and models are there"),
        ("models: [a/b, c/d, a/b]", (2, 20), "models names one model twice: 'a/b'"),
        ("models: []", (2, 9), "models is an empty list"),
        ("models: {a: b}", (2, 9), "models is not a list"),
        ("fallback: a/b", (2, 1), "unknown key 'fallback'"),
    ],
)
def test_a_list_of_models_that_cannot_be_meant_is_refused_with_its_place(
    yaml: str, place: tuple[int, int], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        front(yaml)
    assert (caught.value.line, caught.value.column) == place
    assert said in str(caught.value)
