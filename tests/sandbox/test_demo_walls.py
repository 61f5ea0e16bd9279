"""The demo, as root and as an ordinary user, with bubblewrap and without: what holds its commands, and what is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from tests.sandbox.machine import MUST, ROOT, STRANGER, absent, as_user, interpreter, needs, open_to_all, place

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MAIN = "import sys; from runner.__main__ import main; sys.exit(main())"


def packages(name: str, extra: str, found: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """A distribution and all it requires, by name."""
    for required in metadata.requires(name) or []:
        word = _NAME.match(required)
        wanted = "extra ==" not in required or f'extra == "{extra}"' in required.replace("'", '"')
        if word is None or not wanted or word[0].lower() in found:
            continue
        try:
            found[word[0].lower()] = metadata.distribution(word[0])
        except metadata.PackageNotFoundError:  # of another platform
            continue
        packages(word[0], "", found)
    return found


def install(where: Path) -> None:
    """Make a `bin` with `runner` and `python` that any user can run: the machine's Python, copies of packages."""
    if not MUST:
        pytest.skip("copying what runner needs for another user takes long: make test-sandbox")
    words = [interpreter(), "-c", "import sys; print(sys.version_info[:2])"]
    own = subprocess.run(words, capture_output=True, text=True, check=False)
    if own.stdout.strip() != str(sys.version_info[:2]):
        absent(f"packages of this Python do not fit {interpreter()}, the one that other users can run")
    site = where / "lib"
    for distribution in packages("agent-loop-runner", "demo", {}).values():
        for file in distribution.files or []:
            source, target = Path(str(distribution.locate_file(file))), site / file
            if source.is_file() and ".." not in file.parts and source.suffix != ".pyc":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    shutil.copytree(ROOT / "runner", site / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    start = f"#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={site} exec {interpreter()}"
    (where / "bin").mkdir()
    (where / "bin/python").write_text(f'{start} "$@"\n')
    (where / "bin/runner").write_text(f"{start} -c '{_MAIN}' \"$@\"\n")


@contextmanager
def machine(*, root: bool, with_bubblewrap: bool) -> Generator[tuple[list[str], dict[str, str], Path]]:
    """How the demo is started by a user of a machine where bubblewrap is, or is not, installed."""
    with place() as where:
        tools = Path(sys.executable).parent
        if not root:
            tools = where / "tools/bin"
            install(tools.parent)
        demo = shutil.copytree(ROOT / "specs/demo", where / "demo")
        recording = demo / "recording.jsonl"
        lines = [json.loads(line) for line in recording.read_text().splitlines()]
        for line in lines:
            line.pop("delay_ms", None)  # that it can be watched is not what is tested
        recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
        (where / "home").mkdir()
        open_to_all(where, 0 if root else STRANGER)
        for program in where.glob("tools/bin/*"):
            program.chmod(0o755)
        (where / "programs").mkdir()
        for program in Path("/usr/bin").iterdir():
            if with_bubblewrap or program.name != "bwrap":
                (where / "programs" / program.name).symlink_to(program)
        env = {"PATH": f"{tools}:{where}/programs", "HOME": f"{where}/home", "TMPDIR": f"{where}/home"}
        yield [*as_user(0 if root else STRANGER), "sh", str(demo / "run.sh")], env, where


def said_by_demo(*, root: bool, with_bubblewrap: bool) -> str:
    """All that a demo printed that ended verified."""
    with machine(root=root, with_bubblewrap=with_bubblewrap) as (words, env, where):
        done = subprocess.run(words, env=env, cwd=where, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return " ".join(f"{done.stdout} {done.stderr}".split())


@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
def test_the_demo_runs_inside_bubblewrap_where_it_is_installed(root: bool) -> None:
    needs("bubblewrap", root=root)
    said = said_by_demo(root=root, with_bubblewrap=True)
    assert "unsandboxed" not in said
    assert "Landlock" not in said


def test_an_ordinary_user_without_bubblewrap_is_held_by_the_fallback_and_told_what_it_leaves_open() -> None:
    needs("landlock", root=False)
    said = said_by_demo(root=False, with_bubblewrap=False)
    assert "held by Landlock and seccomp" in said
    assert "not stopped: reading .env and changing .git/hooks" in said
    assert "unsandboxed" not in said


def test_root_without_bubblewrap_is_told_that_only_recorded_commands_ran() -> None:
    needs("none", root=True)
    assert "note: unsandboxed: recorded commands only" in said_by_demo(root=True, with_bubblewrap=False)


def test_a_model_that_is_no_recording_gets_nothing_to_run_as_root_without_bubblewrap() -> None:
    needs("none", root=True)
    with machine(root=True, with_bubblewrap=False) as (_, env, where):
        workspace = where / "home/work"
        workspace.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=workspace, env=env, check=True)
        words = ["runner", "loop", "--unattended", "-p", "work", "--model", "openai/gpt-5.4-mini", "--max-cost", "1"]
        env |= {
            "RUNNER_STATE_DIR": str(where / "state"),
            "OPENAI_API_KEY": "sk-none",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        }
        done = subprocess.run(words, cwd=workspace, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "apt install bubblewrap" in done.stderr
    assert "--sandbox none" in done.stderr
