"""What the pages tell to type works as written.

Every ```console block of a tutorial is typed, in order, into one shell. A line that begins with `$ ` is a command, the
others are what it prints: `…` stands for anything within a line, a line of `…` for any lines. In other pages a block
runs when `<!-- runs -->` stands above it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.docs.pages import README, ROOT, Block, blocks

TUTORIALS = sorted(path for path in (ROOT / "docs" / "tutorial").glob("*.md") if path.name != "README.md")
END = "=== end of command"

# An agent that does what the starter spec of `runner init` asks for.
GREETER = r"""
{"recording": 1, "model": "openai/gpt-5"}
{"step": 1, "text": "A script.", "tools": [{"name": "write_file", "arguments": {"path": "greet.sh", "content": "#!/bin/sh\n# greet.sh [NAME]: greet somebody\necho \"Hello, ${1:-World}!\"\n"}}]}
{"step": 2, "text": "True now.", "tools": [{"name": "tick", "arguments": {"item": "`sh greet.sh Ada` prints `Hello, Ada!`"}}, {"name": "tick", "arguments": {"item": "`sh greet.sh` prints `Hello, World!`"}}, {"name": "tick", "arguments": {"item": "the script begins with a comment that says how to use it"}}]}
{"step": 3, "text": "It greets."}
"""


def typed(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that should come back."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def matches(expected: list[str], printed: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*?".join(re.escape(part) for part in line.split("…")) + r" *\n"
        for line in expected
    )
    return re.fullmatch(pattern, printed) is not None


def machine(tmp_path: Path) -> dict[str, str]:
    """A home of its own, `runner` and `python` as the tests have them."""
    (tmp_path / "home").mkdir()
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "HOME": str(tmp_path / "home"), "PATH": path, "RUNNER_STATE_DIR": str(tmp_path / "state")}


@pytest.mark.timeout(400)  # half a minute on a quiet machine
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_its_first_line_to_its_last(page: Path, tmp_path: Path):
    steps = [(block, *step) for block in blocks(page) if block.language == "console" for step in typed(block)]
    assert len(steps) > 10
    script = "".join(f'{command}\n_code=$?; printf "\\n{END}\\n"; (exit $_code)\n' for _, command, _ in steps)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env=machine(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=380,
        check=False,
    )
    printed = done.stdout.split(f"\n{END}\n")
    assert len(printed) == len(steps) + 1, done.stdout
    for (block, command, expected), got in zip(steps, printed, strict=False):
        assert matches(expected, got), f"{block}: {command}\nexpected\n{chr(10).join(expected)}\nprinted\n{got}"


def test_the_first_commands_of_the_readme_lead_to_a_verified_run(tmp_path: Path):
    shown = [block for block in blocks(README) if block.mark == "runs"]
    assert len(shown) == 1
    project = tmp_path / "your" / "project"
    project.mkdir(parents=True)
    recording = Recording.parse(GREETER, tmp_path / "greeter.jsonl")
    with ScriptedProvider(Script(recording=recording)) as provider:
        env = {**machine(tmp_path), "OPENAI_BASE_URL": provider.url}
        done = subprocess.run(
            ["sh", "-ec", shown[0].text],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done, verified" in done.stdout
    assert (project / "greet.sh").is_file()
    assert len(provider.billed) == 3


def test_a_line_that_differs_is_seen():
    assert matches(["a … c", "…", "z"], "a b c\nanything\nat all\nz\n")
    assert matches(["…"], "")
    assert not matches([], "said something\n")
    assert not matches(["a … c"], "a b d\n")
    assert not matches(["…", "z"], "z\nmore\n")
