"""Single crashes that need a scene of their own: a command that outlives, a user who edits in between, a torn log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.events.facts import (
    CheckpointMade,
    Event,
    IterationStarted,
    LogRepaired,
    RunResumed,
    SetupFinished,
    ToolStarted,
    WorkspaceChanged,
)
from runner.models.recording import Recording
from runner.state import State
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from tests.soak import story
from tests.soak.cases import KILLER, PATIENCE_S, marks
from tests.soak.common import RUNNER, Machine, carriers, kill, leftovers, start, tree

SPEC = f"""\
---
model: {story.MODEL}
checks:
  - name: there
    run: test -f done.txt
budget: {{usd: 1.00, iterations: 4}}
---

Make `done.txt`.
"""


def _recording(*first: dict[str, object]) -> str:
    """One step with these tools, then `done.txt`, then a word; in whatever iteration, interrupted or not."""
    lines: list[dict[str, object]] = [
        {"recording": 1, "model": story.MODEL},
        {"iteration": 1, "step": 1, "text": "First this.", "tools": list(first)},
        {"when": {"tools": {"contains": "wrote done.txt"}}, "text": "Done."},
        {"otherwise": True, "text": "Now.", "tools": [_tool("write_file", path="done.txt", content="done\n")]},
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _tool(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


@dataclass(frozen=True, slots=True)
class Scene:
    """A machine with one workspace and a provider."""

    machine: Machine
    case: Path
    provider: ScriptedProvider

    @property
    def work(self) -> Path:
        return self.case / "work"

    @property
    def said(self) -> Path:
        return self.case / "said.txt"

    def start(self, *bomb: str) -> subprocess.Popen[bytes]:
        """Start `runner loop`; `bomb` is HOW and COUNT of the killer."""
        program = [*KILLER, *bomb] if bomb else [*RUNNER]
        environ = self.machine.environ(self.provider.url, self.case)
        return start([*program, "loop", "spec.md"], cwd=self.work, env=environ, output=self.said)

    def events(self) -> list[tuple[State, Event]]:
        runs = self.machine.runs_of(self.work)
        return self.machine.events(runs[0]) if runs else []

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for _, event in self.events())

    def until(self, ready: Callable[[], bool]) -> bool:
        """Wait for something to be on disk."""
        end = time.monotonic() + PATIENCE_S
        while not ready():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def finish(self) -> list[str]:
        """Resume and judge what every resumed run must be."""
        process = self.start()
        code = process.wait(PATIENCE_S)
        problems = [] if code == 0 else [f"exit code {code}: {self.said.read_text('utf-8', 'replace')[-600:]}"]
        (run,) = self.machine.runs_of(self.work)
        if not (report := self.machine.verify(run)).ok:
            problems.append(f"{report.journal}; {report.log}")
        problems += [f"still running: {one}" for one in leftovers(self.case, marks(self.machine, run))]
        state = self.events()[-1][0]
        money = self.machine.budget("run", run)
        if not self.provider.total <= money.spent + money.unknown or money.held:
            problems.append(f"{self.provider.total} billed, {money}")
        if state.checkpoint is None or state.stopped is None or not state.stopped.verified:
            problems.append(f"not done: {state.stopped}")
        return problems


# Seed a bug here to see that a scene notices it.
Prepare = Callable[[Machine], object]


def _scene(root: Path, *tools: dict[str, object], spec: str = SPEC, prepare: Prepare | None = None) -> Scene:
    machine = Machine.make(root, {"spec.md": spec, "seen.txt": "as it was\n"})
    if prepare is not None:
        prepare(machine)
    case = machine.clone("one")
    text = _recording(*tools)
    script = Script(recording=Recording.parse(text, root / "recording.jsonl"))
    return Scene(machine, case, ScriptedProvider(script, ledger=case / "billed.jsonl"))


def late(root: Path, command: str, *, keepers_too: bool = False, prepare: Prepare | None = None) -> list[str]:
    """A command that means to write `late` some seconds later never does, killed and resumed.

    `keepers_too`: what keeps the command is killed in the same moment, so that only the resume can end it.
    """
    seconds = 12.0 if keepers_too else 2.0
    scene = _scene(root, _tool("shell", command=command.format(seconds=seconds)), prepare=prepare)
    with scene.provider:
        process = scene.start()
        if not scene.until((scene.work / "began").exists):
            return ["the command never began"]
        began = time.monotonic()
        keeper = marks(scene.machine, scene.machine.runs_of(scene.work)[0])[0]
        kept = carriers([keeper]) if keepers_too else []
        kill(process)
        for pid in kept:
            with contextlib.suppress(ProcessLookupError):  # it has seen by itself that runner is gone
                os.kill(pid, signal.SIGKILL)
        problems = scene.finish()
        time.sleep(max(0.0, began + seconds + 1.0 - time.monotonic()))  # what it would have needed, and a second more
        if (scene.work / "late").exists():
            problems.append("late was written")
        if scene.count(WorkspaceChanged):
            problems.append("the command's own traces were taken for somebody else's")
        return problems


LATE = "echo > began; sleep {seconds}; echo x > late"
GRANDCHILD = "(setsid sh -c 'echo > began; sleep {seconds}; echo x > late' &) ; sleep 30"
DETACHED = "env -i sh -c 'trap \"\" TERM HUP; echo > began; sleep {seconds}; echo x > late' & sleep 30"


def edited(root: Path, *, between: str, again_at: int = 0) -> list[str]:
    """A crash between a checkpoint's commit and its event, or anywhere else; then the user edits, then it resumes.

    `again_at`: the resume is killed as well, before this event of it is committed.
    """
    scene = _scene(root, _tool("write_file", path="mine.txt", content="mine\n"))
    with scene.provider:
        undisturbed = scene.start("before", "10000")
        if (code := undisturbed.wait(PATIENCE_S)) != 0:
            return [f"undisturbed: exit code {code}: {scene.said.read_text('utf-8', 'replace')[-600:]}"]
        kept = [state.seq for state, event in scene.events() if isinstance(event, CheckpointMade)]
    again = _scene(root / "again", _tool("write_file", path="mine.txt", content="mine\n"))
    with again.provider:
        at = kept[1] if between == "the commit and its event" else kept[1] + 1
        again.start("before", str(at)).wait(PATIENCE_S)
        refs = _refs(again)
        if between == "the commit and its event" and len(refs) != 2:
            return [f"not killed where it was meant: {refs}"]
        (again.work / "user.txt").write_text("by hand\n")
        (again.work / "seen.txt").write_text("edited by hand\n")
        if again_at:
            again.start("before", str(again_at)).wait(PATIENCE_S)
        problems = again.finish()
        told = [(state, event.paths) for state, event in again.events() if isinstance(event, WorkspaceChanged)]
        if {paths for _, paths in told} != {("seen.txt", "user.txt")} or len(told) > 1 + bool(again_at):
            problems.append(f"changed by somebody else: {[paths for _, paths in told]}")
        began = [state.seq for state, event in again.events() if isinstance(event, IterationStarted)]
        if told and began[-1] < told[-1][0].seq:
            problems.append("no fresh iteration followed")
        files = tree(again.work)
        if (files.get("user.txt"), files.get("mine.txt")) != (b"by hand\n", b"mine\n"):
            problems.append(f"files: {sorted(files)}")
        return problems


def _refs(scene: Scene) -> list[str]:
    (git,) = (scene.machine.state / "workspaces").glob("*/git")
    argv = ["git", "--git-dir", str(git), "for-each-ref", "--format=%(refname)", "refs/runner/"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


# The first time it hangs, with a grandchild in a session of its own; once `again` exists it ends at once.
_SETUP = 'echo made > made.txt; test -e "$TMPDIR/again" || { setsid sleep 60 & echo > began; sleep 60; }; rm -f began'


def setup(root: Path) -> list[str]:
    """A spec's setup that was under way runs again; what it left is nobody else's work, and its processes end."""
    spec = SPEC.replace("checks:", f"setup:\n  - {json.dumps(['sh', '-c', _SETUP])}\nchecks:")
    scene = _scene(root, _tool("write_file", path="mine.txt", content="mine\n"), spec=spec)
    with scene.provider:
        process = scene.start()
        if not scene.until((scene.work / "began").exists):
            return ["setup never began"]
        kill(process)
        (scene.case / "tmp" / "again").write_text("")
        problems = scene.finish()
        if scene.count(WorkspaceChanged) or scene.count(SetupFinished) != 1:
            problems.append(f"{scene.count(WorkspaceChanged)} changes, {scene.count(SetupFinished)} setups finished")
        return problems


def torn_log(root: Path) -> list[str]:
    """Half a line at the log's end is cut, written anew, and said."""
    scene = _scene(root, _tool("write_file", path="mine.txt", content="mine\n"))
    with scene.provider:
        scene.start("torn", "9").wait(PATIENCE_S)
        (run,) = scene.machine.runs_of(scene.work)
        half = scene.machine.log(run).read_bytes()
        if half.endswith(b"\n"):
            return ["the log is not torn"]
        problems = scene.finish()
        found = [event for _, event in scene.events() if isinstance(event, LogRepaired)]
        if [event.first_bad_line for event in found] != [half.count(b"\n") + 1]:
            problems.append(f"repairs recorded: {found}")
        return problems


def never_driven(root: Path) -> list[str]:
    """A run that was written down and never driven is the one that goes on."""
    scene = _scene(root, _tool("write_file", path="mine.txt", content="mine\n"))
    with scene.provider:
        scene.start("after", "1").wait(PATIENCE_S)
        if [type(event).__name__ for _, event in scene.events()] != ["RunCreated"]:
            return [f"not killed where it was meant: {scene.events()}"]
        problems = scene.finish()
        if scene.count(RunResumed) != 1:
            problems.append("it was driven more than once")
        return problems


def killed_before_it_began(root: Path) -> list[str]:
    """A command that was on record and still at the door is told as interrupted, and was not run."""
    scene = _scene(root, _tool("shell", command="echo x > late"))
    with scene.provider:
        scene.start("after", "8").wait(PATIENCE_S)
        if not isinstance(scene.events()[-1][1], ToolStarted):
            return [f"not killed where it was meant: {type(scene.events()[-1][1]).__name__}"]
        problems = scene.finish()
        if (scene.work / "late").exists():
            problems.append("the command was run though its driver was dead")
        return problems


SCENES: dict[str, Callable[[Path], list[str]]] = {
    "a late write": lambda root: late(root, LATE),
    "a late write of a grandchild": lambda root: late(root, GRANDCHILD),
    "a late write of one that ignores signals and its environment": lambda root: late(root, DETACHED),
    "a late write of a grandchild whose keeper is killed too": lambda root: late(root, GRANDCHILD, keepers_too=True),
    "edited between checkpoint and event": lambda root: edited(root, between="the commit and its event"),
    "edited between two steps": lambda root: edited(root, between="two steps"),
    "edited, and the resume killed before it says so": lambda root: edited(root, between="two steps", again_at=2),
    "edited, and the resume killed before it keeps that": lambda root: edited(root, between="two steps", again_at=3),
    "edited, and the resume killed before it goes on": lambda root: edited(root, between="two steps", again_at=4),
    "a setup under way": setup,
    "a torn log": torn_log,
    "a run never driven": never_driven,
    "a command at the door": killed_before_it_began,
}


def play(root: Path) -> dict[str, list[str]]:
    """Play every scene; what went wrong in each."""
    told: dict[str, list[str]] = {}
    for number, (name, scene) in enumerate(SCENES.items()):
        try:
            told[name] = scene(root / str(number))
        except (subprocess.TimeoutExpired, OSError) as error:
            told[name] = [f"{type(error).__name__}: {error}"]
        print(f"scene {name}: {'; '.join(told[name]) or 'ok'}", flush=True)
    return told
