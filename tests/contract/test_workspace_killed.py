"""A process killed at any moment leaves checkpoints that can be read and a workspace that can be set right."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.workspace import ShadowWorkspace

WORKER = """
import itertools, sys
from pathlib import Path
from runner.workspace import ShadowWorkspace

root, state, first, second = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
workspace = ShadowWorkspace(root, state)
with workspace.lock():
    number = len(workspace.checkpoints("r1"))
    parent = workspace.checkpoint("r1", number - 1)
    print("ready", flush=True)
    for tree in itertools.cycle((first, second)):
        workspace.restore(tree)
        (root / "counter").write_text(str(number))
        found = workspace.snapshot()
        parent = workspace.commit(found, run="r1", number=number, parent=parent, at=number * 1000, message="step")
        number += 1
"""


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment_everything_kept_is_whole(tmp_path: Path, seed: int) -> None:
    root, state = tmp_path / "work", tmp_path / "state"
    root.mkdir()
    workspace = ShadowWorkspace(root, state)
    kept = []
    for letter in "ab":
        for number in range(40):
            (root / f"{letter}{number}").mkdir()
            (root / f"{letter}{number}" / "same").write_text(letter * 1000 + str(number))
            (root / f"file{number}").write_text(letter * 500 + str(number))
        kept.append(workspace.snapshot())
        for number in range(40 if letter == "a" else 0):
            (root / f"{letter}{number}" / "same").unlink()
            (root / f"{letter}{number}").rmdir()
    workspace.commit(kept[1], run="r1", number=0, parent=None, at=0, message="start")
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, root, state, kept[0].tree, kept[1].tree],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(random.Random(seed).uniform(0.0, 0.4))
        worker.send_signal(signal.SIGKILL)
    again = ShadowWorkspace(root, state)
    with again.lock():
        for commit in again.checkpoints("r1"):
            for path in again.paths(commit):
                assert again.read(commit, path) is not None
        for found in kept:
            again.restore(found.tree)
            assert again.snapshot().tree == found.tree
        number = len(again.checkpoints("r1"))
        again.commit(kept[0], run="r1", number=number, parent=None, at=1, message="goes on")
    fsck = subprocess.run(
        ["git", "--git-dir", again.git.directory, "fsck", "--strict"], capture_output=True, check=False
    )
    assert fsck.returncode == 0, fsck.stderr


STEPS = """
import sys
from pathlib import Path
from runner.workspace import ShadowWorkspace

root, state, files, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
workspace = ShadowWorkspace(root, state)
with workspace.lock():
    number = len(workspace.checkpoints("r1"))
    parent = workspace.checkpoint("r1", number - 1) if number else None
    print("ready", flush=True)
    while True:
        for file in range(files):
            folder = root / f"d{file % 7}" / f"e{file % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"f{file}").write_text(f"{seed} {number} {file} " * 50)
        found = workspace.snapshot()
        parent = workspace.commit(found, run="r1", number=number, parent=parent, at=number * 1000, message="step")
        print(number, found.tree, parent, flush=True)
        number += 1
"""


@pytest.mark.parametrize("files", [1, 40])
def test_killed_again_and_again_while_it_writes_nothing_told_of_is_lost(tmp_path: Path, files: int) -> None:
    """One changed file makes loose objects, forty make a pack: both are written by runner's own hand."""
    root, state = tmp_path / "work", tmp_path / "state"
    root.mkdir()
    told: dict[int, tuple[str, str]] = {}
    chance = random.Random(files)
    for seed in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", STEPS, root, state, str(files), str(seed)],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as worker:  # fmt: skip
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(chance.uniform(0.0, 0.15))
            worker.send_signal(signal.SIGKILL)
            for line in worker.stdout.read().decode().splitlines(keepends=True):
                if line.endswith("\n"):
                    step, tree, made = line.split()
                    told[int(step)] = (tree, made)
        again = ShadowWorkspace(root, state)
        with again.lock():
            directory = again.git.directory
            assert not [*directory.rglob("tmp_*"), *directory.rglob("*.lock")]
            fsck = subprocess.run(
                ["git", "--git-dir", directory, "fsck", "--strict"], capture_output=True, check=False
            )  # fmt: skip
            assert fsck.returncode == 0, fsck.stderr
            commits = again.checkpoints("r1")
            assert commits[: len(told)] == tuple(told[number][1] for number in sorted(told))
            for commit in commits:
                assert None not in [again.read(commit, path) for path in again.paths(commit)]
            found = again.snapshot()
            assert {path: again.read(found.tree, path) for path in again.paths(found.tree)} == {
                str(path.relative_to(root)): path.read_bytes() for path in root.rglob("f*") if path.is_file()
            }
            told[len(commits)] = (
                found.tree,
                again.commit(
                    found,
                    run="r1",
                    number=len(commits),
                    parent=commits[-1] if commits else None,
                    at=1,
                    message="goes on",
                ),
            )
            for number, commit in enumerate(commits):
                told.setdefault(number, ("", commit))
    assert len(told) > 6
