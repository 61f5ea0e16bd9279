"""What `ports.Workspace` promises, on real directories and real git."""

import os
import resource
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from runner.errors import BusyError, NotFoundError, RefusedError, StateError, WorkspaceError
from runner.ports import Snapshot, Workspace
from runner.workspace import ShadowWorkspace
from runner.workspace.folders import is_settled
from runner.workspace.objects import FILE, TREE, Entry, trees
from runner.workspace.pack import Pack

PLAIN = {
    "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LANG": "C",
    "GIT_AUTHOR_NAME": "U", "GIT_AUTHOR_EMAIL": "u@localhost", "GIT_COMMITTER_NAME": "U", "GIT_COMMITTER_EMAIL": "u@localhost",
}  # fmt: skip


def git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", root, *args], env=PLAIN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree_of(root: Path) -> dict[str, object]:
    """Every file below `root` that is not git's: bytes and exec bit, or where a link points."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*files, *(name for name in folders if (Path(folder) / name).is_symlink())]:
            path = Path(folder) / name
            if name == ".git":
                continue
            key = str(path.relative_to(root))
            found[key] = str(path.readlink()) if path.is_symlink() else (path.read_bytes(), path.stat().st_mode & 0o100)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def workspace(root: Path, tmp_path: Path) -> ShadowWorkspace:
    return ShadowWorkspace(root, tmp_path / "state")


def keep(
    workspace: ShadowWorkspace, number: int, *, run: str = "r1", parent: str | None = None
) -> tuple[Snapshot, str]:
    found = workspace.snapshot()
    return found, workspace.commit(found, run=run, number=number, parent=parent, at=1_700_000_000_123, message="a step")


def test_it_is_a_workspace(workspace: ShadowWorkspace) -> None:
    port: Workspace = workspace
    assert port.root.is_dir()


def test_a_directory_without_a_repository_is_kept_and_set_back(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a.txt").write_bytes(b"one\r\n\0")
    (root / "bin").mkdir()
    (root / "bin" / "go").write_bytes(b"#!/bin/sh\n")
    (root / "bin" / "go").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    (root / os.fsdecode(b"odd\xff\nname :(x)")).write_bytes(b"odd")
    (root / ":(top)x").write_bytes(b"colon")
    before = tree_of(root)
    first, _ = keep(workspace, 0)
    assert first.skipped == ()
    (root / "a.txt").write_bytes(b"two")
    (root / "bin" / "go").chmod(0o644)
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link" / "inside").write_bytes(b"x")
    (root / "new" / "deep").mkdir(parents=True)
    (root / "new" / "deep" / "file").write_bytes(b"new")
    second, _ = keep(workspace, 1)
    after = tree_of(root)
    workspace.restore(first.tree)
    assert tree_of(root) == before
    assert not (root / "new").exists()
    assert workspace.snapshot().tree == first.tree
    workspace.restore(second.tree)
    assert tree_of(root) == after
    assert {(c.path, c.kind) for c in workspace.changes(first.tree, second.tree)} == {
        ("a.txt", "changed"), ("bin/go", "changed"), ("link", "deleted"), ("link/inside", "added"), ("new/deep/file", "added"),
    }  # fmt: skip


def test_an_empty_directory_is_a_tree_too(root: Path, workspace: ShadowWorkspace) -> None:
    first, commit = keep(workspace, 0)
    (root / "a").write_bytes(b"a")
    keep(workspace, 1, parent=commit)
    workspace.restore(first.tree)
    assert list(root.iterdir()) == []


def test_the_tree_is_the_one_git_would_write(root: Path, workspace: ShadowWorkspace) -> None:
    for name in ("a", "a.b", "a-b", "b/c", "b.c", "b0", "z/y/x"):
        path = root / "t" / name if name != "a" else root / "t" / "a" / "in"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    git(root, "init", "-q")
    git(root, "add", "-A")
    assert workspace.snapshot().tree == git(root, "write-tree").strip()
    git(workspace.git.directory, "fsck", "--strict")


def test_what_git_attributes_ask_for_changes_no_byte(root: Path, workspace: ShadowWorkspace) -> None:
    git(root, "init", "-q")
    git(root, "config", "filter.big.clean", "tr a-z A-Z")
    git(root, "config", "filter.big.smudge", "tr A-Z a-z")
    (root / ".gitattributes").write_text(
        "* text=auto eol=crlf\n*.big filter=big\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n"
    )
    content = {
        "crlf.txt": b"a\r\nb\r\n", "lf.txt": b"a\nb\n", "mixed.txt": b"a\r\nb\n", "x.big": b"pointer oid\n",
        "v.id": b"$Id: abc$\n", "w.u16": "grün\n".encode("utf-16"),
    }  # fmt: skip
    for name, data in content.items():
        (root / name).write_bytes(data)
    first = workspace.snapshot()
    assert {name: workspace.read(first.tree, name) for name in content} == content
    for name in content:
        (root / name).write_bytes(b"gone")
    workspace.restore(first.tree)
    assert {name: (root / name).read_bytes() for name in content} == content


def test_ignored_files_are_left_out_and_left_alone(root: Path, workspace: ShadowWorkspace) -> None:
    git(root, "init", "-q")
    (root / ".gitignore").write_text(".env\nbuild/\n!build/keep\n*.log\n!important.log\n")
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "exclude").write_text("/private\n")
    for name in (".env", "build/x", "a.log", "important.log", "private", "src/private", "src/.env"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    first = workspace.snapshot()
    assert workspace.paths(first.tree) == (".gitignore", "important.log", "src/private")
    (root / "src" / ".gitignore").write_text("private2\n")
    (root / "src" / "private2").write_text("x")
    (root / ".env").write_text("KEY=new")
    second = workspace.snapshot()
    assert workspace.paths(second.tree) == (".gitignore", "important.log", "src/.gitignore", "src/private")
    workspace.restore(first.tree)
    assert (root / ".env").read_text() == "KEY=new"
    assert (root / "build" / "x").read_text() == "build/x"


def test_a_rule_that_changes_is_noticed(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a.tmp").write_text("a")
    (root / ".gitignore").write_text("*.tmp\n")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)
    (root / ".gitignore").write_text("*.pmt\n")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "a.tmp")
    # What a checkpoint holds stays in the next ones of the run, as with git's own index; a new run asks again.
    (root / ".gitignore").write_text("*.tmp\n")
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "a.tmp")
    workspace.forget()
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore",)


def test_the_users_own_excludes_file_counts(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text("[core]\n\texcludesFile = ~/mine\n")
    (tmp_path / "home" / "mine").write_text("*.swp\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (root / "a.swp").write_text("x")
    (root / "a").write_text("x")
    assert workspace.paths(workspace.snapshot().tree) == ("a",)


@pytest.mark.parametrize("version", ["2", "4", "split"])
def test_a_tracked_file_is_kept_although_a_rule_ignores_it(
    root: Path, workspace: ShadowWorkspace, version: str
) -> None:
    git(root, "init", "-q")
    (root / ".gitignore").write_text("vendor/\n")
    for name in ("vendor/lib/a.so", "vendor/lib/ab.so", "vendor/other"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    git(root, "add", "-f", "vendor/lib/a.so", "vendor/lib/ab.so")
    git(root, "update-index", *(["--split-index"] if version == "split" else ["--index-version", version]))
    assert workspace.paths(workspace.snapshot().tree) == (".gitignore", "vendor/lib/a.so", "vendor/lib/ab.so")


def test_an_index_that_cannot_be_read_is_said(root: Path, workspace: ShadowWorkspace) -> None:
    git(root, "init", "-q")
    (root / ".git" / "index").write_bytes(b"DIRC\0\0\0\2\0\0\0\7short")
    (note,) = workspace.snapshot().skipped
    assert note.startswith(".git/index: ")


def test_a_part_of_a_repository_obeys_the_rules_above_it(root: Path, tmp_path: Path) -> None:
    git(root, "init", "-q")
    (root / ".gitignore").write_text("node_modules\n/pkg/a/out\n")
    for name in ("pkg/a/x", "pkg/a/out", "pkg/a/node_modules/m", "pkg/b/y"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    part = ShadowWorkspace(root / "pkg" / "a", tmp_path / "state")
    first = part.snapshot()
    assert part.paths(first.tree) == ("x",)
    (root / ".gitignore").write_text("")
    assert part.paths(part.snapshot().tree) == ("node_modules/m", "out", "x")
    part.restore(first.tree)
    assert (root / "pkg" / "b" / "y").exists()


def test_a_directory_that_an_outer_repository_ignores_is_none_of_its_business(root: Path, tmp_path: Path) -> None:
    # Dotfiles kept in a repository at home, with "*" in its .gitignore: nothing below would ever be kept.
    git(root, "init", "-q")
    (root / ".gitignore").write_text("*\n")
    (root / "project").mkdir()
    (root / "project" / "a").write_text("a")
    inner = ShadowWorkspace(root / "project", tmp_path / "state")
    assert inner.paths(inner.snapshot().tree) == ("a",)
    assert inner.repository is None
    git(root, "add", "-f", "project/a")
    again = ShadowWorkspace(root / "project", tmp_path / "state2")
    assert again.paths(again.snapshot().tree) == ("a",)
    assert again.repository is not None


def test_worktrees_and_submodules_have_their_git_elsewhere(root: Path, tmp_path: Path) -> None:
    git(root, "init", "-q")
    (root / "a").write_text("a")
    git(root, "add", "a")
    git(root, "commit", "-qm", "one")
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "exclude").write_text("*.skip\n")
    git(root, "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "tree" / "b.skip").write_text("b")
    other = ShadowWorkspace(tmp_path / "tree", tmp_path / "state")
    assert other.paths(other.snapshot().tree) == ("a",)
    assert other.repository is not None
    assert other.repository.head()[1] == git(root, "rev-parse", "HEAD").strip()


def test_nested_repositories_are_kept_as_files_and_said(root: Path, workspace: ShadowWorkspace) -> None:
    git(root, "init", "-q")
    for name in ("empty", "full", "deep/er"):
        (root / name).mkdir(parents=True)
        git(root / name, "init", "-q")
        (root / name / "f").write_text(name)
    git(root / "full", "add", "-A")
    git(root / "full", "commit", "-qm", "x")
    git(root, "-c", "advice.addEmbeddedRepo=false", "add", "full")
    (root / "file").mkdir()
    (root / "file" / ".git").write_text("gitdir: ../.git/modules/file\n")
    (root / "file" / "f").write_text("file")
    first = workspace.snapshot()
    assert workspace.paths(first.tree) == ("deep/er/f", "empty/f", "file/f", "full/f")
    said = "a repository of its own; its files are kept, its history is not"
    assert first.skipped == tuple(f"{name}/.git: {said}" for name in ("deep/er", "empty", "file", "full"))
    (root / "full" / "f").write_text("changed")
    shutil.rmtree(root / "empty")
    workspace.restore(first.tree)
    assert (root / "full" / "f").read_text() == "full"
    assert (root / "empty" / "f").read_text() == "empty"
    assert git(root / "full", "rev-parse", "HEAD")


def test_big_untracked_files_stay_out_stay_put_and_are_listed(root: Path, workspace: ShadowWorkspace) -> None:
    with (root / "model.bin").open("wb") as file:
        file.truncate(60_000_000)
    (root / "a").write_text("a")
    first = workspace.snapshot()
    assert first.skipped == ("model.bin: 60 MB, larger than 20 MB",)
    assert workspace.paths(first.tree) == ("a",)
    (root / "a").write_text("b")
    workspace.restore(first.tree)
    assert (root / "model.bin").stat().st_size == 60_000_000


def test_a_file_that_grew_too_big_is_never_written_over(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("small")
    (root / "b").write_text("old")
    first = workspace.snapshot()
    (root / "b").write_text("new")
    with (root / "a").open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(RefusedError, match=r"in no checkpoint: a"):
        workspace.restore(first.tree)
    assert (root / "b").read_text() == "new"
    assert (root / "a").stat().st_size == 30_000_000


def test_a_big_tracked_file_is_kept(root: Path, workspace: ShadowWorkspace) -> None:
    git(root, "init", "-q")
    with (root / "data").open("wb") as file:
        file.truncate(21_000_000)
    git(root, "add", "data")
    first = workspace.snapshot()
    assert first.skipped == ()
    (root / "data").unlink()
    workspace.restore(first.tree)
    assert (root / "data").stat().st_size == 21_000_000


def test_pipes_and_sockets_are_listed_and_nobody_waits_for_them(
    root: Path, workspace: ShadowWorkspace, monkeypatch
) -> None:
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door")
        assert workspace.snapshot().skipped == ("door: a socket", "pipe: a named pipe")


def test_a_pipe_in_place_of_the_ignore_rules_is_an_error_and_no_hang(root: Path, workspace: ShadowWorkspace) -> None:
    os.mkfifo(root / ".gitignore")
    (root / "a").write_text("a")
    with pytest.raises(WorkspaceError, match=r"\.gitignore is a named pipe"):
        workspace.snapshot()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an ordinary user for a moment")
def test_unreadable_files_are_listed_and_not_fatal() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o777)
        (base / "work" / "shut").mkdir(parents=True)
        (base / "work" / "secret").write_text("x")
        (base / "work" / "open").write_text("x")
        (base / "work" / "secret").chmod(0)
        (base / "work" / "shut").chmod(0)
        os.seteuid(65534)
        try:
            found = ShadowWorkspace(base / "work", base / "state").snapshot()
        finally:
            os.seteuid(0)
        assert found.skipped == ("secret: cannot be read", "shut/: cannot be read")


def test_links_are_kept_as_links_and_never_followed(root: Path, workspace: ShadowWorkspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("outside")
    (root / "d").mkdir()
    (root / "d" / "f").write_text("inside")
    (root / "out").symlink_to(outside)
    first = workspace.snapshot()
    assert workspace.paths(first.tree) == ("d/f", "out")
    assert workspace.read(first.tree, "out") == os.fsencode(outside)
    shutil.rmtree(root / "d")
    (root / "d").symlink_to(outside)
    workspace.restore(first.tree)
    assert (outside / "f").read_text() == "outside"
    assert (root / "d" / "f").read_text() == "inside"
    assert not (root / "d").is_symlink()


def test_an_ignored_link_to_elsewhere_is_refused_not_followed(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "d").mkdir()
    (root / "d" / "f").write_text("inside")
    first = workspace.snapshot()
    shutil.rmtree(root / "d")
    (root / "d").symlink_to(outside)
    (root / ".gitignore").write_text("/d\n")
    with pytest.raises(RefusedError, match="in no checkpoint: d"):
        workspace.restore(first.tree)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", [b".git/config", b"a/.GIT/hooks/x", b"../x", b"git~1/x", b"a//b"])
def test_a_tree_that_names_forbidden_paths_is_refused(root: Path, workspace: ShadowWorkspace, path: bytes) -> None:
    (root / "a").write_text("a")
    found = workspace.snapshot()
    blob = workspace.entries(found.tree)[b"a"].blob
    tree, made = trees({path: Entry(FILE, blob)})
    pack = Pack(workspace.store, set())
    for data in made.values():
        pack.add(TREE, len(data), [data])
    pack.store()
    pack.close()
    with pytest.raises(WorkspaceError):
        workspace.restore(tree)
    assert [p.name for p in root.parent.iterdir() if p.name == "x"] == []
    assert tree_of(root) == {"a": (b"a", 0)}


def test_permissions_a_user_gave_survive_a_change_of_content(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("one")
    (root / "a").chmod(0o600)
    first = workspace.snapshot()
    (root / "a").write_text("two")
    workspace.restore(first.tree)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o600


def test_a_commit_made_twice_is_one_commit_and_another_is_refused(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("a")
    first, commit = keep(workspace, 0)
    assert keep(workspace, 0) == (first, commit)
    (root / "a").write_text("b")
    with pytest.raises(WorkspaceError, match="exists already"):
        keep(workspace, 0)
    (root / "a").write_text("a")
    again = workspace.commit(
        workspace.snapshot(), run="r1", number=0, parent=None, at=1_800_000_000_000, message="later"
    )
    assert again == commit
    (root / "a").write_text("b")
    assert workspace.checkpoint("r1", 0) == commit
    with pytest.raises(NotFoundError):
        workspace.checkpoint("r1", 1)
    second = keep(workspace, 1, parent=commit)[1]
    assert workspace.checkpoints("r1") == (commit, second)


def test_a_checkpoint_a_killed_process_left_does_not_block_the_next(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("a")
    left = keep(workspace, 0)[1]
    (root / "a").write_text("b")
    with workspace.lock():
        commit = keep(workspace, 0)[1]
    assert workspace.checkpoint("r1", 0) == commit != left
    assert workspace.checkpoints("r1") == (commit,)
    assert (
        git(workspace.git.directory, "for-each-ref", "--format=%(refname)", "refs/left") == f"refs/left/r1/0/{left}\n"
    )


def test_the_same_work_elsewhere_gives_the_same_commit(tmp_path: Path) -> None:
    commits = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("a")
        commits.add(keep(ShadowWorkspace(tmp_path / name, tmp_path / "state"), 0)[1])
    assert len(commits) == 1


@pytest.mark.parametrize("run", ["", "../x", "a/b", "a..b", "x.lock", "-x"])
def test_a_run_that_is_no_name_is_refused(workspace: ShadowWorkspace, run: str) -> None:
    with pytest.raises(WorkspaceError, match="not the name"):
        keep(workspace, 0, run=run)


def test_another_process_sees_the_same_tree(root: Path, workspace: ShadowWorkspace, tmp_path: Path) -> None:
    for number in range(300):
        (root / f"f{number}").write_text(str(number))
    first = workspace.snapshot()
    again = ShadowWorkspace(root, tmp_path / "state")
    assert again.snapshot() == first
    (root / "f7").write_text("eight")
    assert [c.path for c in again.changes(first.tree, again.snapshot().tree)] == ["f7"]
    assert workspace.snapshot() == again.snapshot()


def test_a_change_that_keeps_size_and_time_is_seen(root: Path, workspace: ShadowWorkspace) -> None:
    path = root / "a"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    while not is_settled(path.stat(), time.time_ns()):
        pass  # a tenth of a second: only then is the file remembered at all
    first = workspace.snapshot()
    path.write_text("two")
    os.utime(path, ns=(10**18, 10**18))
    assert workspace.snapshot().tree != first.tree


def test_a_file_edited_meanwhile_is_kept_whole(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "busy").write_bytes(b"a" * 300_000)
    (root / "calm").write_text("calm")
    done = threading.Event()

    def edit() -> None:
        letter = 0
        while not done.wait(0.001):
            letter += 1
            temporary = root.parent / "busy.new"
            temporary.write_bytes(bytes([97 + letter % 26]) * 300_000)
            temporary.replace(root / "busy")

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        trees_seen = [workspace.snapshot().tree for _ in range(20)]
    finally:
        done.set()
        editor.join()
    for tree in set(trees_seen):
        data = workspace.read(tree, "busy")
        assert data is not None
        assert (len(data), len(set(data))) == (300_000, 1)


def test_a_file_that_never_stands_still_is_kept_as_it_was_at_one_moment(root: Path, workspace: ShadowWorkspace) -> None:
    done = threading.Event()

    def grow() -> None:
        with (root / "server.out").open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"x")

    (root / "server.out").write_bytes(b"x" * 2_000_000)
    writer = threading.Thread(target=grow)
    writer.start()
    try:
        seen = [workspace.snapshot()]
        deadline = time.monotonic() + 60  # a busy machine may let the writer rest during a whole look
        while not any("at one moment" in note for note in seen[-1].skipped) and time.monotonic() < deadline:
            seen.append(workspace.snapshot())
    finally:
        done.set()
        writer.join()
    assert any("kept as it was at one moment" in note for note in seen[-1].skipped)
    assert all(set(workspace.read(one.tree, "server.out") or b"") == set(b"x") for one in seen)
    first = workspace.snapshot()
    assert workspace.paths(first.tree) == ("server.out",)
    git(workspace.git.directory, "fsck", "--strict")
    data = workspace.read(first.tree, "server.out")
    assert data == (root / "server.out").read_bytes()


def test_runners_own_state_inside_the_workspace_is_left_out(root: Path) -> None:
    (root / "a").write_text("a")
    workspace = ShadowWorkspace(root, root / "sub" / "state")
    workspace.snapshot()
    assert workspace.paths(workspace.snapshot().tree) == ("a",)


def test_materialise_writes_everything_and_only_into_an_empty_place(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    (root / "d").mkdir()
    (root / "d" / "go").write_text("x")
    (root / "d" / "go").chmod(0o755)
    (root / "l").symlink_to("/etc")
    found = workspace.snapshot()
    into = tmp_path / "into"
    into.mkdir()
    workspace.materialise(found.tree, into)
    assert tree_of(into) == tree_of(root)
    with pytest.raises(WorkspaceError, match="not empty"):
        workspace.materialise(found.tree, into)


def test_diff_tells_what_changed(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("one\n")
    old = workspace.snapshot().tree
    (root / "a").write_text("two\n")
    new = workspace.snapshot().tree
    assert "-one\n+two\n" in workspace.diff(old, new)
    assert "a | 2 +-" in workspace.diff(old, new, stat=True)
    assert "\x1b[" in workspace.diff(old, new, colour=True)
    assert workspace.diff(old, old) == ""


def test_one_process_at_a_time_and_the_other_is_named(root: Path, workspace: ShadowWorkspace, tmp_path: Path) -> None:
    other = ShadowWorkspace(root, tmp_path / "state")
    with workspace.lock(), pytest.raises(BusyError, match=f"process {os.getpid()} is working"), other.lock():
        pass
    with other.lock():
        pass


def test_a_lock_left_by_a_killed_git_blocks_nothing(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("a")
    found = workspace.snapshot()
    ref = workspace.git.directory / "refs" / "runner" / "r1"
    ref.mkdir(parents=True)
    (ref / "0.lock").touch()
    with pytest.raises(WorkspaceError):
        keep(workspace, 0)
    with workspace.lock():
        assert keep(workspace, 0)[0] == found


def test_a_killed_restore_leaves_nothing_that_becomes_work(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("a")
    first = workspace.snapshot()
    (root / ".runner-tmp-0123456789abcdef").write_text("half")
    found = workspace.snapshot()
    assert found.tree == first.tree
    assert found.skipped == (".runner-tmp-0123456789abcdef: left by an interrupted write of runner, safe to delete",)


@pytest.mark.parametrize(("size", "limit"), [(3_000_000, 1_000_000), (900_000, 500_000)])
def test_a_state_directory_that_takes_no_more_is_said_and_leaves_no_half_object(
    root: Path, workspace: ShadowWorkspace, size: int, limit: int
) -> None:
    (root / "a").write_text("a")
    first = workspace.snapshot()
    (root / "a").write_bytes(os.urandom(size))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StateError, match="cannot write to"):
            workspace.snapshot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((workspace.git.directory / "objects").rglob("tmp_*")) == []
    second = workspace.snapshot()
    assert workspace.read(second.tree, "a") == (root / "a").read_bytes()
    assert [change.path for change in workspace.changes(first.tree, second.tree)] == ["a"]


def test_dropping_a_run_frees_it_and_nothing_else(root: Path, workspace: ShadowWorkspace) -> None:
    (root / "a").write_text("a")
    keep(workspace, 0, run="old")
    (root / "a").write_text("b")
    kept, _ = keep(workspace, 0, run="new")
    workspace.drop("old")
    assert workspace.checkpoints("old") == ()
    workspace.tidy()
    assert workspace.read(kept.tree, "a") == b"b"
    assert workspace.snapshot().tree == kept.tree
    git(workspace.git.directory, "fsck", "--strict")


def test_a_lost_object_is_written_again(root: Path, workspace: ShadowWorkspace, tmp_path: Path) -> None:
    for number in range(250):
        (root / f"f{number}").write_text(str(number))
    first, _ = keep(workspace, 0)
    for pack in (workspace.git.directory / "objects" / "pack").iterdir():
        pack.unlink()
    again = ShadowWorkspace(root, tmp_path / "state")
    assert again.snapshot().tree == first.tree
    assert again.read(first.tree, "f7") == b"7"
