"""A snapshot that looks only at what changed finds what one that looks at everything finds."""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from runner.workspace import ShadowWorkspace
from runner.workspace.folders import identity, is_settled
from runner.workspace.objects import FILE, Entry, name_of

ENV = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LANG": "C"}


def fsck(workspace: ShadowWorkspace) -> str:
    done = subprocess.run(
        ["git", "--git-dir", workspace.git.directory, "fsck", "--strict", "--no-dangling"],
        env=ENV, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr if done.returncode else ""


def settle(*paths: Path) -> None:
    """Wait (a tenth of a second at most) until these files are old enough to be remembered."""
    while not all(is_settled(path.lstat(), time.time_ns()) for path in paths):
        time.sleep(0.002)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mutate(root: Path, chance: random.Random) -> None:
    """One thing an agent might do, to files and folders that other steps touch too."""
    folders = [Path(folder) for folder, _, _ in os.walk(root) if ".git" not in Path(folder).parts]
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    path = chance.choice(folders) / f"{chance.choice('abc')}{chance.choice(['', '.b', '-b', '0'])}"
    match chance.randrange(10):
        case 0 | 1 | 2:
            remove(path)
            path.write_text(chance.choice(["one", "two", "three" * 1000]))
        case 3:
            remove(path)
            (path / "deep").mkdir(parents=True)
            (path / "deep" / "x").write_text(str(chance.random()))
        case 4:
            remove(path)
            path.symlink_to(chance.choice(["a", "..", "nowhere"]))
        case 5 if files:
            chance.choice(files).chmod(chance.choice([0o644, 0o755]))
        case 6 if files:
            remove(chance.choice(files))
        case 7 if folders[1:]:
            remove(chance.choice(folders[1:]))
        case 8 if files:
            victim = chance.choice(files)
            stamp = victim.stat().st_mtime_ns
            victim.write_text("x" * victim.stat().st_size)
            os.utime(victim, ns=(stamp, stamp))
        case _ if files:
            source = chance.choice(files)
            if not path.exists() and not path.is_symlink():
                source.rename(path)


@pytest.mark.parametrize("seed", range(5))
def test_step_after_step_the_tree_is_the_one_git_finds(tmp_path: Path, seed: int) -> None:
    chance, root = random.Random(seed), tmp_path / "work"
    root.mkdir()
    workspace = ShadowWorkspace(root, tmp_path / "state")
    subprocess.run(["git", "init", "-q", root], env=ENV, check=True)
    for step in range(40):
        for _ in range(chance.choice([0, 1, 1, 3])):
            mutate(root, chance)
        if chance.random() < 0.2:
            time.sleep(0.06)
        found = workspace.snapshot()
        # git too must read every file: a time stamp set back within one tick of the clock deceives its index.
        (root / ".git" / "index").unlink(missing_ok=True)
        subprocess.run(["git", "-C", root, "add", "-A"], env=ENV, check=True, capture_output=True)
        wanted = subprocess.run(["git", "-C", root, "write-tree"], env=ENV, check=True, capture_output=True, text=True)
        assert found.tree == wanted.stdout.strip(), f"step {step}"
        assert found.skipped == ()
        if chance.random() < 0.2:
            with workspace.lock():  # its end saves what the next process starts with
                pass
        if chance.random() < 0.3:
            workspace = ShadowWorkspace(root, tmp_path / "state")
    assert fsck(workspace) == ""


@pytest.mark.parametrize("seed", range(5))
def test_step_after_step_the_rules_are_obeyed_as_by_a_first_look(tmp_path: Path, seed: int) -> None:
    chance, root = random.Random(seed), tmp_path / "work"
    root.mkdir()
    workspace = ShadowWorkspace(root, tmp_path / "state")
    for step in range(25):
        for _ in range(chance.choice([0, 1, 3])):
            mutate(root, chance)
        folders = [Path(folder) for folder, _, _ in os.walk(root)]
        rules = chance.choice(folders) / ".gitignore"
        match chance.randrange(4):
            case 0:
                rules.write_text(chance.choice(["a*\n", "b/\n!b/deep\n", "*\n!c\n", "/a/deep\n", "# none\n", ""]))
            case 1:
                rules.unlink(missing_ok=True)
            case _:
                pass
        if chance.random() < 0.3:
            workspace.forget()  # what an earlier checkpoint had is judged by the rules again
            first = ShadowWorkspace(root, tmp_path / f"state{step}")
            assert workspace.snapshot() == first.snapshot(), f"step {step}"
        else:
            before = set(workspace.paths(workspace.snapshot().tree))
            there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink()}
            # What was kept and is still there stays, whatever the rules say now.
            assert before & there <= set(workspace.paths(workspace.snapshot().tree))
        if chance.random() < 0.3:
            workspace = ShadowWorkspace(root, tmp_path / "state")
    assert fsck(workspace) == ""


def test_a_step_starts_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "work"
    for number in range(30):
        (root / f"d{number % 5}").mkdir(parents=True, exist_ok=True)
        (root / f"d{number % 5}" / f"f{number}").write_text(str(number))
    (root / ".gitignore").write_text("*.log\n")
    (root / "noise.log").write_text("noise")
    (root / os.fsdecode(b"odd\xff\nname")).write_text("odd")
    settle(root / ".gitignore", root / "d4" / "f29")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    with workspace.lock():
        first = workspace.snapshot()
        commit = workspace.commit(first, run="r1", number=0, parent=None, at=0, message="start")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert shutil.which("git") is None
    assert workspace.snapshot() == first
    (root / "d1" / "f1").write_text("changed")
    (root / "noise.log").write_text("more noise")
    second = workspace.snapshot()
    commit = workspace.commit(second, run="r1", number=1, parent=commit, at=1000, message="step")
    # Neither does a new process that finds what the last one left.
    again = ShadowWorkspace(root, tmp_path / "state")
    with again.lock():
        assert again.snapshot() == second
        assert again.checkpoints("r1")[1] == commit == again.checkpoint("r1", 1)
        assert [change.path for change in again.changes(first.tree, second.tree)] == ["d1/f1"]
        assert again.read(second.tree, "d1/f1") == b"changed"


def test_a_first_look_without_any_rules_starts_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "work"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_text("f")
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(tmp_path / "empty"))
        workspace = ShadowWorkspace(root, tmp_path / "state")
        first = workspace.snapshot()
        workspace.commit(first, run="r1", number=0, parent=None, at=0, message="start")
    assert workspace.paths(first.tree) == ("d/f",)
    assert fsck(workspace) == ""
    (root / "d" / "g").write_text("g")
    (root / ".gitignore").write_text("g\n")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "d/f")


def test_a_directory_that_becomes_a_file_of_the_same_name_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_text("f")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    assert workspace.paths(workspace.snapshot().tree) == ("a/b/f",)
    shutil.rmtree(root / "a" / "b")
    (root / "a" / "b").write_text("now a file")
    assert workspace.paths(workspace.snapshot().tree) == ("a/b",)
    (root / "a" / "b").unlink()
    (root / "a" / "b").symlink_to("/etc")
    found = workspace.snapshot()
    assert workspace.read(found.tree, "a/b") == b"/etc"
    shutil.rmtree(root / "a")
    (root / "a").symlink_to("/etc")
    assert workspace.paths(workspace.snapshot().tree) == ("a",)


def test_very_deep_and_very_many_names_are_no_trouble(tmp_path: Path) -> None:
    root = tmp_path / "work"
    deep = root.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "f").write_text("deep")
    (root / "many").mkdir()
    for number in range(3000):
        (root / "many" / f"{number:0100d}").write_text(str(number))
    (root / ".gitignore").write_text("[" + "0-9" * 3000 + "]*7\n")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    found = workspace.paths(workspace.snapshot().tree)
    assert "/".join(["d"] * 300) + "/f" in found
    assert len(found) == 2 + 3000 - 300
    (deep / "g").write_text("deeper")
    assert len(workspace.paths(workspace.snapshot().tree)) == len(found) + 1


def test_an_ignored_directory_is_gone_into_only_for_what_is_tracked(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "out" / "sub").mkdir(parents=True)
    (root / "out" / "sub" / "kept").write_text("kept")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    workspace.snapshot()
    (root / ".gitignore").write_text("out/\n")
    (root / "out" / "sub" / "new").write_text("new")
    for look in (workspace, ShadowWorkspace(root, tmp_path / "state")):
        assert look.paths(look.snapshot().tree) == (".gitignore", "out/sub/kept")
    settle(root / ".gitignore")
    workspace.snapshot()
    (root / "out" / "sub" / "kept").unlink()
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)
    (root / "out" / "sub" / "kept").write_text("kept again")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)


def test_what_the_users_index_begins_to_track_is_kept_from_then_on(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "out").mkdir(parents=True)
    for name in ("a", "b"):
        (root / "out" / name).write_text(name)
    (root / ".gitignore").write_text("out/\n")
    subprocess.run(["git", "init", "-q", root], env=ENV, check=True)
    settle(root / ".gitignore")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)
    subprocess.run(["git", "-C", root, "add", "-f", "out/a"], env=ENV, check=True)
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "out/a")


def test_an_include_in_the_users_configuration_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, root = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    root.mkdir()
    (home / ".gitconfig").write_text("[Include]\n\tpath = more\n")
    (home / "more").write_text("[core]\n\texcludesfile = ~/mine\n")
    (home / "mine").write_text("*.swp\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (root / "a.swp").write_text("x")
    (root / "a").write_text("x")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    assert workspace.paths(workspace.snapshot().tree) == ("a",)


def test_a_file_too_young_to_show_the_next_write_is_looked_at_again(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    workspace = ShadowWorkspace(root, tmp_path / "state")
    seen: list[object] = []
    while seen != [None]:  # unless this machine sleeps for a tick between the two lines
        (root / "a").write_text("a")
        workspace.snapshot()
        seen = list(workspace._open().root.seen)
    settle(root / "a")
    status = (root / "a").lstat()
    workspace.snapshot()
    assert workspace._open().root.seen == [identity(status)]


def test_an_ignored_directory_that_becomes_a_file_is_judged_as_one(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "out").mkdir(parents=True)
    (root / ".gitignore").write_text("out/\n")
    settle(root / ".gitignore")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)
    (root / "out").rmdir()
    (root / "out").write_text("a file is not ignored")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "out")


def test_what_a_killed_process_kept_against_the_rules_is_kept_by_the_next(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "out").mkdir(parents=True)
    (root / "out" / "a").write_text("a")
    (root / ".gitignore").write_text("out/\n")
    settle(root / ".gitignore", root / "out" / "a")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    with workspace.lock():  # what it saves knows nothing of out/a
        assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)
    workspace.expect({b"out/a": Entry(FILE, name_of(b"a"))})
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "out/a")
    again = ShadowWorkspace(root, tmp_path / "state")
    assert again.paths(again.snapshot().tree) == (".gitignore", "out/a")


def test_what_a_killed_process_saw_deleted_does_not_count_as_kept(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "d").mkdir(parents=True)
    for name in ("x", "d/y", "z"):
        (root / name).write_text(name)
    workspace = ShadowWorkspace(root, tmp_path / "state")
    with workspace.lock():
        workspace.snapshot()
    (root / "x").unlink()
    shutil.rmtree(root / "d")
    assert workspace.paths(workspace.snapshot().tree) == ("z",)
    (root / "d").mkdir()
    for name in (".gitignore", "x", "d/y"):
        (root / name).write_text("x\nd\n")
    again = ShadowWorkspace(root, tmp_path / "state")
    assert again.paths(again.snapshot().tree) == (".gitignore", "z")
