"""A state directory that is full or cannot be written: exit 73, nothing sent afterwards, and the run goes on later."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script

SPEC = "# Work\n\nDo the work.\n"
DONE = {"otherwise": True, "text": "That is all.\n<promise>COMPLETE</promise>"}


@pytest.fixture
def mounts(runner):
    """A private mount namespace the command runs in; `mount(...)` mounts there. Gone with its holder."""
    enter = ["nsenter", "--mount"] if os.geteuid() == 0 else ["nsenter", "--mount", "--user", "--preserve-credentials"]
    new = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("install util-linux (unshare, nsenter) to test full and read-only disks")
    holder = subprocess.Popen([*new, "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if holder.stdout is None or holder.stdout.readline() != b"ready\n":
            pytest.skip("run as root, or allow user namespaces, to test full and read-only disks")
        runner.state.mkdir()
        prefix = (*enter, f"--target={holder.pid}", "env", "-C", str(runner.cwd))
        mounted = Mounts(runner, prefix, Path(f"/proc/{holder.pid}/root"))
        if mounted.run("mount", "-t", "tmpfs", "-o", "size=6m", "none", str(runner.state)).returncode != 0:
            pytest.skip("run as root, or allow user namespaces, to test full and read-only disks")
        runner.prefix = prefix
        yield mounted
    finally:
        holder.kill()
        holder.communicate()


class Mounts:
    """What is done in the namespace besides running the command."""

    def __init__(self, runner, prefix: tuple[str, ...], root: Path) -> None:
        self._prefix = prefix
        self.inside = root / runner.state.relative_to("/")
        self.filler = self.inside / "filler"

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._prefix, *argv], capture_output=True, text=True, check=False, timeout=60)

    def fill(self, left: int) -> None:
        """Take all room but `left` bytes."""
        block = os.statvfs(self.inside)
        size = block.f_bavail * block.f_frsize - left
        self.filler.write_bytes(b"\0" * size)


def tool(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


def stands_still(done: subprocess.CompletedProcess[str]) -> None:
    """It ended as a full disk ends it: one sentence, how to go on, and no more."""
    assert done.returncode == 73, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert "bug in runner" not in done.stderr
    assert done.stderr.count("error: ") == 1


@pytest.mark.parametrize("left_kb", [0, 16, 80, 160])
def test_a_disk_that_fills_during_a_run_stops_it_and_room_lets_it_go_on(runner, mounts, left_kb):
    runner.write("spec.md", SPEC)
    head = {"recording": 1, "model": "openai/gpt-5"}
    fill = f"head -c $(( $(df --output=avail -B1 {runner.state} | tail -1) - {left_kb * 1024} )) /dev/zero > {runner.state}/filler; true"
    runner.write("fill.sh", fill)  # as text of a call it is refused: an agent does not write to the state directory
    steps = [
        {"iteration": 1, "step": 1, "tools": [tool("shell", command="sh fill.sh")]},
        *(
            {
                "iteration": 1,
                "step": number,
                "tools": [
                    tool("shell", command=f"head -c 60000 /dev/urandom | base64 > made-{number}.txt; seq 9000"),
                    tool("write_file", path=f"{number}.txt", content=f"{number}\n"),
                ],
            }
            for number in range(2, 8)
        ),
        DONE,
    ]
    recording = Recording.parse("".join(_line(one) for one in (head, *steps)), Path("replies.jsonl"))
    with ScriptedProvider(Script(recording=recording)) as provider:
        runner.env = {
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": "sk-test-0123456789abcdef",
            "RUNNER_MODEL": "openai/gpt-5",
        }
        stands_still(runner("loop", "spec.md"))
        sent = len(provider.billed)
        stands_still(runner("loop", "spec.md"))
        stands_still(runner("resume", "last"))
        assert len(provider.billed) <= sent + 2, "at most one call each, if there was room to write it down"
        sent = len(provider.billed)
        mounts.filler.unlink()
        done = runner("loop", "spec.md")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "going on with run" in done.stdout
        assert len(provider.billed) <= sent + 8
    assert [(runner.cwd / f"{number}.txt").read_text() for number in range(2, 8)] == [f"{n}\n" for n in range(2, 8)]


def _line(one: dict[str, object]) -> str:
    return json.dumps(one) + "\n"


def test_a_full_disk_before_the_first_event_sends_nothing(runner, mounts):
    runner.write("spec.md", SPEC)
    recording = Recording.parse(_line({"recording": 1, "model": "openai/gpt-5"}) + _line(DONE), Path("replies.jsonl"))
    with ScriptedProvider(Script(recording=recording)) as provider:
        runner.env = {
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": "sk-test-0123456789abcdef",
            "RUNNER_MODEL": "openai/gpt-5",
        }
        for left in (0, 8192, 65536):
            mounts.fill(left)
            done = runner("loop", "spec.md")
            stands_still(done)
            assert provider.billed == []
            mounts.filler.unlink()
        assert runner("loop", "spec.md").returncode == 0


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used before"])
def test_a_state_directory_that_may_only_be_read_is_73_and_nothing_is_sent(runner, mounts, used):
    runner.write("spec.md", SPEC)
    runner.env["RUNNER_MODEL"] = runner.recording(
        {"iteration": 1, "step": 1, "tools": [tool("shell", command="touch sent")]}, DONE
    )
    if used:
        assert runner("loop", "spec.md", "-n", "1").returncode == 0
        (runner.cwd / "sent").unlink()
    assert mounts.run("mount", "-o", "remount,ro", str(runner.state)).returncode == 0
    for command in (("loop", "spec.md", "--new"), ("loop", "spec.md", "--json"), ("resume", "last")):
        if used or command[0] == "loop":
            stands_still(runner(*command))
    assert not (runner.cwd / "sent").exists()
    assert mounts.run("mount", "-o", "remount,rw", str(runner.state)).returncode == 0
    assert runner("loop", "spec.md").returncode == 0


def test_a_state_directory_that_cannot_be_one_is_73(runner):
    runner.write("spec.md", SPEC)
    runner.state.write_text("a file is in its place\n")
    done = runner("loop", "spec.md", "--model", runner.recording(DONE))
    stands_still(done)
    assert "RUNNER_STATE_DIR" in done.stderr
