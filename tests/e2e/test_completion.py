"""A Tab in real shells: bash, zsh and fish complete commands, flags, files, models and runs."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from tests.e2e.conftest import Runner

LAST = "20"  # what every run's id begins with


def needs(shell: str) -> str:
    """The path of a shell, or a skipped test that says what to install."""
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")
    return found


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of each shell, as the command prints it, under the name that shell wants."""
    folder = tmp_path_factory.mktemp("scripts")
    names = {"bash": "runner.bash", "zsh": "_runner", "fish": "runner.fish"}
    for shell, name in names.items():
        done = subprocess.run([sys.executable, "-m", "runner", "completion", shell], capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        (folder / name).write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runner` as a program on PATH, as an installation has it."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "runner"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m runner "$@"\n')
    path.chmod(0o755)
    return path


def environ(ran: Runner, program: Path, home: Path) -> dict[str, str]:
    path = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    return {**ran.environ(), "PATH": path, "HOME": str(home), "TERM": "dumb"}


def run_id(ran: Runner) -> str:
    return str(ran.last()["run"])


# What is typed, and what a Tab must offer; in fish and bash exactly these.
STORIES = [
    ("runner lo", ["log", "loop"]),
    ("runner loop --mo", ["--model"]),
    ("runner loop --max-cost 2 --wo", ["--worktree"]),
    ("runner resume --max-r", ["--max-runs"]),
    ("runner loop -m openai/gpt-5.4-", ["openai/gpt-5.4-mini", "openai/gpt-5.4-nano", "openai/gpt-5.4-pro"]),
    ("runner loop s", ["spec.md"]),
    ("runner loop --model openai/gpt-5 s", ["spec.md"]),
    ("runner loop --model replay:../rec", ["replay:../recording.jsonl"]),
    ("runner loop --env-file o", ["out.txt"]),
    ("runner loop --max-cost ", []),
    ("runner budget ", ["reconcile", "set", "show", "unknown"]),
    ("runner budget set --period ", ["day", "month", "total", "week"]),
    ("runner budget set pro", ["project"]),
    ("runner budget set model:openai/gpt-5.4-m", ["model:openai/gpt-5.4-mini"]),
    ("runner log v", ["verify"]),
    ("runner show LAST", ["RUN"]),
    ("runner stop l", ["last"]),
    ("runner log verify LAST", ["RUN"]),
    ("runner rollback last b", ["best"]),
    ("runner rollback last 1", ["1"]),
    ("runner apply -c 2", ["2"]),
    ("runner help rec", ["record"]),
    ("runner completion z", ["zsh"]),
    ("runner doctor g", ["git"]),
    ("runner config budget.u", ["budget.usd"]),
    ("runner __", []),
]


def story(ran: Runner, typed: str, offered: list[str]) -> tuple[str, list[str]]:
    return typed.replace("LAST", LAST), [one.replace("RUN", run_id(ran)) for one in offered]


def bash(scripts: Path, env: dict[str, str], cwd: Path, lines: list[str]) -> list[list[str]]:
    """What bash offers for each line, by its own splitting of words."""
    asked = ""
    for line in lines:
        words = re.sub(r"([:=])", r" \1 ", line).split()
        last = ["''"] if line.endswith(" ") else []
        asked += f"COMP_WORDS=({' '.join(words + last)}); COMP_CWORD={len(words + last) - 1}; _runner\n"
        asked += "printf '%s\\n' \"${COMPREPLY[@]}\" ===\n"
    script = f"source '{scripts / 'runner.bash'}'\n{asked}\n"
    done = subprocess.run([needs("bash"), "--norc", "--noprofile", "-c", script], cwd=cwd, env=env, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stderr == ""
    return [[one for one in part.split("\n") if one] for part in done.stdout.split("===\n")[:-1]]


def test_bash_offers_what_fits(ran, scripts, program, tmp_path):
    found = bash(scripts, environ(ran, program, tmp_path), ran.cwd, [story(ran, *one)[0] for one in STORIES])
    assert len(found) == len(STORIES)
    for one, got in zip(STORIES, found, strict=True):
        typed, offered = story(ran, *one)
        # what stands before the last colon of the word is not typed again
        before = typed.rsplit(" ", 1)[-1].rpartition(":")
        rest = [name.removeprefix(f"{before[0]}{before[1]}") for name in offered]
        assert sorted(got) == rest, typed


def test_bash_completes_at_a_real_prompt(ran, scripts, program, tmp_path):
    lines = Terminal(
        [needs("bash"), "--norc", "--noprofile", "-i"],
        environ(ran, program, tmp_path),
        ran.cwd,
        f"source '{scripts / 'runner.bash'}'; bind 'set enable-bracketed-paste off'; PS1='> '\n"
        'dump() { echo "BUFFER<$READLINE_LINE>END"; READLINE_LINE=; }; bind -x \'"\\C-xp": dump\'\n',
        dump=b"\x18p",
    )
    with lines:
        assert lines.after("runner checkp") == "runner checkpoints "
        assert lines.after("runner loop --model=openai/gpt-5.4-m") == "runner loop --model=openai/gpt-5.4-mini "
        assert lines.after("runner loop --model replay:../rec") == "runner loop --model replay:../recording.jsonl "
        assert lines.after(f"runner show {LAST}") == f"runner show {run_id(ran)} "


def test_fish_offers_what_fits_and_says_what_it_is(ran, scripts, program, tmp_path):
    lines = [story(ran, *one)[0] for one in STORIES]
    asked = "\n".join(f"complete -C '{line}'; echo ===" for line in lines)
    script = f"source '{scripts / 'runner.fish'}'\n{asked}\n"
    done = subprocess.run([needs("fish"), "-N", "-c", script], cwd=ran.cwd, env=environ(ran, program, tmp_path), capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stderr == ""
    parts = [part.splitlines() for part in done.stdout.split("===\n")[:-1]]
    assert len(parts) == len(STORIES)
    for one, got in zip(STORIES, parts, strict=True):
        typed, offered = story(ran, *one)
        assert sorted({line.partition("\t")[0] for line in got}) == offered, typed
    by_line = dict(zip(lines, parts, strict=True))
    assert by_line[f"runner show {LAST}"] == [f"{run_id(ran)}\tdone, spec.md"]
    assert "loop\tRun the agent on a spec until its checks say it is done." in by_line["runner lo"]


def test_zsh_completes_at_a_real_prompt_and_says_what_it_is(ran, scripts, program, tmp_path):
    lines = Terminal(
        [needs("zsh"), "-f", "-i"],
        environ(ran, program, tmp_path),
        ran.cwd,
        f"PS1='> '; fpath=('{scripts}' $fpath); autoload -Uz compinit; compinit -u -D; setopt no_list_ambiguous\n"
        "dump() { zle -I; print -r -- \"BUFFER<$BUFFER>END\"; BUFFER= }; zle -N dump; bindkey '^Xp' dump\n",
        dump=b"\x18p",
    )
    with lines:
        assert lines.after("runner checkp") == "runner checkpoints "
        assert lines.after("runner loop --wo") == "runner loop --worktree "
        assert lines.after("runner loop -m openai/gpt-5.4-m") == "runner loop -m openai/gpt-5.4-mini "
        assert lines.after("runner loop --model replay:../rec") == "runner loop --model replay:../recording.jsonl "
        assert lines.after("runner loop s") == "runner loop spec.md "
        assert lines.after("runner budget set --period d") == "runner budget set --period day "
        assert lines.after("runner budget set model:openai/gpt-5.4-m").rstrip() == "runner budget set model:openai/gpt-5.4-mini"  # fmt: skip
        assert lines.after("runner stop l") == "runner stop last "
        assert lines.after("runner log v") == "runner log verify "
        assert lines.after("runner rollback last b") == "runner rollback last best "
        assert lines.after(f"runner show {LAST}") == f"runner show {run_id(ran)} "
        said = lines.until("runner lo\t", b"log is whole")
        assert "loop  -- Run the agent on a spec until its checks say it is done." in said


class Terminal:
    """A shell at a terminal; `dump` are the keys that print the line as it stands and throw it away."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path, setup: str, *, dump: bytes) -> None:
        self._dump = dump
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            os.execve(argv[0], argv, env)
        self.until(f"stty cols 160 rows 50 2>/dev/null; {setup}echo REA''DY\n", b"READY\r\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._file)

    def after(self, typed: str) -> str:
        """The line as it stands after `typed` and a Tab."""
        said = self.until(f"{typed}\t{self._dump.decode()}", b">END")
        return re.findall(r"BUFFER<(.*?)>END", said, re.DOTALL)[-1].replace("\r", "").replace("\n", "")

    def until(self, typed: str, mark: bytes) -> str:
        """Type, and read until `mark` comes."""
        os.write(self._file, typed.encode())
        seen, end = b"", time.monotonic() + 30
        while mark not in seen:
            assert time.monotonic() < end, seen
            if select.select([self._file], [], [], 0.1)[0]:
                seen += os.read(self._file, 65_536)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode(errors="replace"))


def test_a_tab_asks_a_light_program(ran):
    program = "import sys\nsys.argv = ['runner', '_complete', 'runs']\nfrom runner.__main__ import main\ncode = main()\nprint(*sys.modules, file=sys.stderr)\nsys.exit(code)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=ran.cwd, env=ran.environ(), capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == f"last\tthe newest run\n{run_id(ran)}\tdone, spec.md\n"
    packages = {name.partition(".")[0] for name in done.stderr.split()}
    assert packages & {"typer", "pydantic", "openai", "anthropic", "httpx", "rich", "structlog", "asyncio"} == set()


@pytest.mark.parametrize("kind", ["runs", "checkpoints", "nonsense", ""])
def test_a_tab_where_nothing_ran_says_nothing_and_makes_nothing(runner: Runner, kind):
    done = runner("_complete", *filter(None, [kind]))
    assert (done.stdout, done.stderr) == ("", "")
    assert not runner.state.exists()


def test_the_script_goes_to_its_standard_place_once_and_no_start_up_file_is_touched(runner: Runner, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text("mine\n")
    places = {
        "bash": home / ".local/share/bash-completion/completions/runner",
        "zsh": home / ".local/share/zsh/site-functions/_runner",
        "fish": home / ".config/fish/completions/runner.fish",
    }
    for shell, place in places.items():
        first = runner("completion", shell, "--install")
        assert first.returncode == 0, first.stderr
        assert f"wrote {place}" in first.stdout
        assert place.read_text() == runner("completion", shell).stdout
        when = place.stat().st_mtime_ns
        assert f"{place} is up to date" in runner("completion", shell, "--install").stdout
        assert place.stat().st_mtime_ns == when
    assert (home / ".bashrc").read_text() == "mine\n"
    assert {path for path in home.rglob("*") if path.is_file()} == {*places.values(), home / ".bashrc"}
    runner.env["XDG_DATA_HOME"] = str(tmp_path / "data")
    runner("completion", "bash", "--install")
    assert (tmp_path / "data/bash-completion/completions/runner").is_file()


def test_the_shell_is_that_of_the_user_or_the_one_that_is_named(runner: Runner):
    runner.env["SHELL"] = "/usr/bin/fish"
    assert runner("completion").stdout == runner("completion", "fish").stdout
    runner.env["SHELL"] = "/bin/tcsh"
    refused = runner("completion")
    assert refused.returncode == 2
    assert "'tcsh'" in refused.stderr
    assert "bash, zsh, fish" in refused.stderr
