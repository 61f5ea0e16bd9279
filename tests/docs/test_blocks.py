"""What the pages tell to type works as written: each shell block of the README, the tutorials and the how-to guides.

The blocks of a page are typed in order into one shell, on a machine of its own. What cannot run in a test is listed in
`NOT_RUN`, each with its reason.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.pricing.book import Book
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.docs.pages import README, ROOT, Block, blocks
from tests.docs.shell import SERVER_OF_THE_PAGES, STARTER, machine, matches, steps, type_in

DOCS = ROOT / "docs"
TUTORIALS = sorted(path for path in (DOCS / "tutorial").glob("*.md") if path.name != "README.md")
GUIDES = sorted(path for path in (DOCS / "how-to").glob("*.md") if path.name != "README.md")
SHELL = {"console", "sh", "bash", "shell"}

# By page, the first line of a block that is not typed, and why.
NOT_RUN = {
    ("README.md", "make demo    # watch a run go from red to verified, on a recording: no key, no network, no cost"): (
        "builds the .venv the tests run in; what it shows is tests/e2e/test_demo.py, and `make test` is this"
    ),
    ("docs/how-to/serve-approvals.md", "$ runner approvals serve"): "serves until it is ended",
    ("docs/tutorial/quickstart.md", "make demo"): "as in the README",
    ("docs/tutorial/first-loop.md", "make demo"): "as in the README",
}

# A project whose spec of `runner init` was worked on once, done and verified.
PROJECT = """
set -e
mkdir -p ~/hello && cd ~/hello && git init -q
runner init >/dev/null
git add --all && git commit -q -m "before the run"
export RUNNER_MODEL="replay:$HOME/quick.jsonl"
"""
ONCE = "runner loop spec.md --quiet >/dev/null 2>&1\n"
COPY = "runner loop spec.md --worktree --quiet >/dev/null 2>&1\n"
# Killed while the model was at its first reply.
CRASHED = """
cp ~/quick.jsonl ~/keep.jsonl && cp ~/slow.jsonl ~/quick.jsonl
runner loop spec.md --max-iterations 1 >/dev/null 2>&1 &
until runner log last 2>/dev/null | grep -q CallDispatched; do sleep 0.1; done; kill -9 $!; wait $! 2>/dev/null || true
cp ~/keep.jsonl ~/quick.jsonl
"""
SERVER = "unset RUNNER_MODEL\n"
CLAUDE = f"{SERVER}export ANTHROPIC_BASE_URL={SERVER_OF_THE_PAGES}\n"
BEFORE = {
    "apply-a-worktree": COPY,
    "cap-spending": "",
    "resume-a-run": CRASHED,
    "run-overnight": "",
    "use-a-local-model": SERVER,
    "use-claude": CLAUDE,
}


def typed(page: Path) -> list[Block]:
    """The blocks of a page that are typed, and those that a reader saves as a file."""
    name = str(page.relative_to(ROOT))
    found = [block for block in blocks(page) if (name, block.text.partition("\n")[0]) not in NOT_RUN]
    jq = shutil.which("jq") is not None  # a program of the reader's, which not every machine has
    return [block for block in found if jq or "jq " not in block.text]


@contextmanager
def server(page: Path) -> Iterator[ScriptedProvider]:
    """A server that answers what the starter spec asks for, and bills by the prices the page gives."""
    recording = Recording.parse(STARTER.read_text("utf-8"), STARTER)
    prices = [block.text for block in blocks(page) if block.mark == "prices"]
    with ScriptedProvider(Script(recording=recording), book=Book.load(*prices)) as provider:
        yield provider


def recording(delay_ms: int) -> str:
    """The starter's recording, each reply as late as that."""
    header, *replies = (json.loads(line) for line in STARTER.read_text("utf-8").splitlines())
    return "".join(f"{json.dumps(line)}\n" for line in (header, *({**one, "delay_ms": delay_ms} for one in replies)))


def far_from(hour: int) -> str:
    """A time zone in which it is nowhere near that hour: what ends at a deadline of a page does not end now."""
    return f"<far>{(time.gmtime().tm_hour - (hour + 12)) % 24:+d}"


@pytest.mark.timeout(400)  # half a minute on a quiet machine
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_its_first_line_to_its_last(page: Path, tmp_path: Path):
    found = list(steps(typed(page)))
    assert len(found) >= 10
    with server(page) as provider:
        env = {**machine(tmp_path, zone=far_from(7)), "OPENAI_BASE_URL": provider.url}
        type_in(found, cwd=ROOT, env=env)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_works_as_written(page: Path, tmp_path: Path):
    found = list(steps(typed(page)))
    env = {**machine(tmp_path, zone=far_from(7)), "CLONE": str(ROOT)}
    for name, delay_ms in (("quick", 0), ("slow", 60_000)):
        (tmp_path / "home" / f"{name}.jsonl").write_text(recording(delay_ms), "utf-8")
    before = f"{PROJECT}{BEFORE.get(page.stem, ONCE)}set +e\n"
    with server(page) as provider:
        type_in(found, cwd=tmp_path, env=env, before=before, server=provider.url)


@pytest.mark.timeout(400)
def test_the_first_commands_of_the_readme_lead_to_a_verified_run(tmp_path: Path):
    project = tmp_path / "your" / "project"
    project.mkdir(parents=True)
    first, *others = steps(typed(README))
    assert "runner loop spec.md" in first.text
    with server(README) as provider:
        env = {**machine(tmp_path), "OPENAI_BASE_URL": provider.url}
        type_in([first], cwd=tmp_path, env=env)
        assert (project / "greet.sh").is_file()
        assert len(provider.billed) == 8
        done = subprocess.run(["runner", "show", "--json"], env=env, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["verified"] is True
        assert len(others) > 1
        type_in(others, cwd=project, env=env, before="rm greet.sh\n", server=provider.url)
        assert len(provider.billed) > 8


def test_every_shell_block_is_typed_or_listed_with_a_reason():
    met = set()
    for page in (README, *TUTORIALS, *GUIDES, DOCS / "tutorial" / "README.md", DOCS / "how-to" / "README.md"):
        name = str(page.relative_to(ROOT))
        for block in blocks(page):
            first = block.text.partition("\n")[0]
            if (name, first) in NOT_RUN:
                met.add((name, first))
            elif block.language not in SHELL:
                assert not any(line.startswith(("$ ", "runner ")) for line in block.text.splitlines()), str(block)
            else:
                assert block.language in {"console", "sh"}, f"{block}: say console or sh"
                assert page.name != "README.md" or page == README, f"{block}: an index shows no commands"
    assert met == set(NOT_RUN), "listed and not there"


def test_a_line_that_differs_is_seen():
    assert matches(["a … c", "…", "z"], "a b c\nanything\nat all\nz\n")
    assert matches(["…"], "")
    assert not matches([], "said something\n")
    assert not matches(["a … c"], "a b d\n")
    assert not matches(["…", "z"], "z\nmore\n")
