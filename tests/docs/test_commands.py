"""What is generated from the commands is what they are today, and every command shows how it is used."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import typer

from runner.cli.helping import rendered
from runner.cli.pages import Example, Page, understood
from runner.cli.shells.values import walked
from runner.cli.tree import COMMANDS, GROUPS, every, root
from tests.docs.pages import ROOT

MANUAL = ROOT / "docs" / "man" / "runner.1"
WIDEST_LINE = 65


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def pages() -> list[Page]:
    return list(walked(every()))


def titles(page: Page) -> str:
    return page.title


@pytest.mark.parametrize("name", ["cli.md", "runner.1", "runner.bash", "_runner", "runner.fish"])
def test_a_generated_file_is_what_the_commands_say_today(name):
    (path, text), *more = ((path, text) for path, text in generator().made().items() if path.name == name)
    assert not more
    assert path.read_text("utf-8") == text, "run `make docs`"


def test_what_is_generated_does_not_depend_on_chance():
    ask = "import sys; sys.path.insert(0, 'docs'); import commands; print(*commands.made().values())"
    texts = {
        subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env={"PYTHONHASHSEED": seed, "COLUMNS": width}, capture_output=True, text=True, check=True).stdout
        for seed, width in (("1", "80"), ("2", "200"))
    }  # fmt: skip
    assert len(texts) == 1


def examples() -> Iterator[tuple[str, Example]]:
    for page in pages():
        yield from ((page.title, example) for example in page.examples)


@pytest.mark.parametrize(
    ("title", "example"), list(examples()), ids=lambda one: one if isinstance(one, str) else one.command
)
def test_an_example_is_a_command_line_that_is_understood(title, example):
    program, *words = shlex.split(re.split(r" [|>&] ?", example.command)[0])
    assert program == "runner"
    assert " ".join((program, *words)).startswith(title)
    understand(words)


def understand(words: list[str]) -> None:
    """Parse a command line as it is parsed when it is typed; nothing is run."""
    tree = root()
    context = tree.make_context("runner", list(words))
    name, command, rest = tree.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    inner = command.make_context(name, rest, parent=context)
    group = inner.command
    if isinstance(group, typer.core.TyperGroup):
        name, command, rest = group.resolve_command(inner, [*inner._protected_args, *inner.args])
        assert command is not None
        command.make_context(name, rest, parent=inner)


@pytest.mark.parametrize(
    "words", [["loop", "--max-cots", "2"], ["lop"], ["rollback", "last"], ["budget", "sett"], ["runs", "extra"], ["show", "--force"]]
)  # fmt: skip
def test_a_command_line_that_is_wrong_is_seen(words):
    with pytest.raises(typer.TyperException):
        understand(words)


@pytest.mark.parametrize("page", pages(), ids=titles)
def test_help_begins_with_usage_and_examples_and_fits_the_terminal(page, monkeypatch):
    assert page.examples
    assert page.line.endswith(".")
    assert len(page.line) <= WIDEST_LINE or not page.words, "the list of commands has one line for each"
    for columns in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = rendered(page).splitlines()
        longest = max(len(one.command) for one in page.examples) + 2
        assert max(len(line) for line in lines) <= max(columns, longest)
        assert lines[0].startswith(f"Usage: {page.title} ")
        assert lines.index("Examples:") < 5
    said = " ".join(rendered(page).split())
    for one in (*page.options, *page.arguments):
        assert one.shown in said
        assert one.about, f"{page.title} {one.shown} says nothing"


def test_a_wide_terminal_is_used_and_a_very_wide_one_is_not():
    page = next(one for one in pages() if one.words == ("loop",))
    longest = {}
    for columns in (80, 100, 300):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            longest[columns] = max(len(line) for line in rendered(page).splitlines())
    assert longest[80] < 80 < longest[100] < 100
    assert longest[300] <= 100


@pytest.mark.parametrize("page", pages(), ids=titles)
def test_help_of_a_command_is_the_same_however_it_is_asked_for(page):
    def said(*words: str) -> str:
        from typer.testing import CliRunner

        from runner.cli.main import app

        done = CliRunner().invoke(app, [*words], env={"COLUMNS": "80"}, prog_name="runner")
        assert done.exit_code == 0, done.output
        return done.output

    assert said(*page.words, "--help") == said(*page.words, "-h") == said("help", *page.words)


def test_every_command_stands_in_a_group_of_the_root_help():
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)
    assert [title for title, _ in every().commands] == list(GROUPS)


def test_a_docstring_is_taken_apart():
    words = understood(
        "Do it.\n\nMore of\nthat.\n\nExit codes: 0 done, 1 refused, or not, 75 busy.\n\n"
        "Examples:\n  runner a\n\n  runner b   what it does\n\nAfterwards.\n"
    )
    assert words.paragraphs == ("Do it.", "More of that.", "Afterwards.")
    assert words.examples == (Example("runner a"), Example("runner b", "what it does"))
    assert words.codes == (("0", "done"), ("1", "refused, or not"), ("75", "busy"))


# ---- the man page ------------------------------------------------------------------------------------------


def test_the_man_page_has_every_command_flag_code_and_variable():
    text = MANUAL.read_text("utf-8").replace("\\-", "-")
    sections = re.findall(r"^\.SH (.*)$", text, re.MULTILINE)
    assert sections == ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]  # fmt: skip
    assert re.findall(r"^\.SS (.*)$", text, re.MULTILINE) == [page.title for page in pages() if page.words]
    for page in pages():
        for one in page.options:
            assert all(f"\\fB{flag}\\fR" in text for flag in one.flags), page.title
    codes = text.partition(".SH EXIT STATUS")[2].partition(".SH ENVIRONMENT")[0]
    in_page = re.findall(r"^\| (\d+) \|", (ROOT / "docs/reference/exit-codes.md").read_text("utf-8"), re.MULTILINE)
    assert re.findall(r"^\.B (\d+)$", codes, re.MULTILINE) == in_page
    assert len(in_page) > 12
    (loop,) = (page for page in pages() if page.words == ("loop",))
    assert [code for code, _ in loop.codes] == in_page
    assert "\n.B RUNNER_STATE_DIR\n" in text
    requests = {line.split()[0] for line in text.splitlines() if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".BR", ".br", ".nf", ".fi", ".RS", ".RE", '.\\"'}


@pytest.mark.parametrize(
    "checker", [["mandoc", "-Tlint", "-Wall"], ["groff", "-man", "-ww", "-z", "-Tutf8", "-K", "utf8"]], ids=lambda one: one[0]
)  # fmt: skip
def test_no_formatter_complains_about_the_man_page(checker, tmp_path):
    if shutil.which(checker[0]) is None:
        pytest.skip(f"{checker[0]} is not installed: apt-get install {checker[0]}")
    page = tmp_path / "runner.1"
    page.write_text(MANUAL.read_text("utf-8"), "utf-8")
    done = subprocess.run([*checker, str(page)], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    # a fault is seen
    page.write_text(MANUAL.read_text("utf-8") + ".SH\n.xx nonsense\n", "utf-8")
    done = subprocess.run([*checker, str(page)], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr != ""


# ---- the wheel ---------------------------------------------------------------------------------------------


def test_the_wheel_brings_the_man_page_and_the_completion_of_every_shell(tmp_path: Path):
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        shared = {
            name.partition(".data/data/")[2]: wheel.read(name).decode()
            for name in wheel.namelist()
            if ".data/data/" in name
        }
        assert any(name == "runner/pricing/builtin.json" for name in wheel.namelist())
    assert shared == {
        "share/man/man1/runner.1": MANUAL.read_text("utf-8"),
        "share/bash-completion/completions/runner": (ROOT / "completions/runner.bash").read_text("utf-8"),
        "share/zsh/site-functions/_runner": (ROOT / "completions/_runner").read_text("utf-8"),
        "share/fish/vendor_completions.d/runner.fish": (ROOT / "completions/runner.fish").read_text("utf-8"),
    }
