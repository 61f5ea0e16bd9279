"""The user's repository is never changed and never obeyed, whatever runner does in it."""

import hashlib
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import RefusedError, WorkspaceError
from runner.ports import Snapshot
from runner.workspace import ShadowWorkspace, apply_back, clone_for, export

PLAIN = {
    "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LANG": "C",
    "GIT_AUTHOR_NAME": "U", "GIT_AUTHOR_EMAIL": "u@localhost", "GIT_COMMITTER_NAME": "U", "GIT_COMMITTER_EMAIL": "u@localhost",
}  # fmt: skip


def git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", root, *args], env=PLAIN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def everything(folder: Path) -> dict[str, str]:
    """Every file, link and directory below, with type, mode, modification time of files, and content."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        what = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            what = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {status.st_mtime_ns}"
        found[str(path.relative_to(folder))] = f"{stat.filemode(status.st_mode)} {what}"
    return found


def content(folder: Path) -> dict[str, str]:
    """As `everything`, without times: the agent's own git refreshes those of objects it finds in the alternates."""
    return {path: " ".join(what.split(" ")[:2]) for path, what in everything(folder).items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository in the middle of somebody's work: a stash, a branch, a hook, staged, unstaged and new files."""
    root = tmp_path / "work"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for name in ("staged", "unstaged", "stashed", "gone", "same", "src/deep"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"{name} 1\n")
    (root / ".gitignore").write_text(".env\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    git(root, "tag", "v1")
    git(root, "branch", "topic")
    (root / "stashed").write_text("stashed 2\n")
    git(root, "stash", "-q")
    (root / "staged").write_text("staged 2\n")
    git(root, "add", "staged")
    (root / "staged").write_text("staged 3\n")
    (root / "unstaged").write_text("unstaged 2\n")
    (root / "new").write_text("new\n")
    (root / "gone").unlink()
    (root / ".env").write_text("KEY=1\n")
    (root / ".git" / "hooks").mkdir(exist_ok=True)
    (root / ".git" / "hooks" / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (root / ".git" / "hooks" / "pre-commit").chmod(0o755)
    return root


@pytest.fixture
def workspace(root: Path, tmp_path: Path) -> ShadowWorkspace:
    return ShadowWorkspace(root, tmp_path / "state")


def keep(workspace: ShadowWorkspace, number: int, parent: str | None = None) -> tuple[Snapshot, str]:
    found = workspace.snapshot()
    return found, workspace.commit(found, run="r1", number=number, parent=parent, at=1_700_000_000_000, message="step")


def everything_runner_can_do(workspace: ShadowWorkspace, copy: Path, state: Path) -> None:
    """Each operation that has to do with the user's directory, once; export apart."""
    root = workspace.root
    with workspace.lock():
        first, commit = keep(workspace, 0)
        (root / "same").write_text("the agent was here\n")
        (root / "more").write_text("more\n")
        second, _ = keep(workspace, 1, commit)
        workspace.diff(first.tree, second.tree)
        workspace.changes(first.tree, second.tree)
        workspace.read(second.tree, "more")
        workspace.restore(first.tree)
        assert workspace.snapshot().tree == first.tree
        clone = clone_for(workspace, into=copy, state=state)
        (clone.workspace.root / "same").write_text("done elsewhere\n")
        result = clone.workspace.snapshot().tree
        applied = apply_back(clone.workspace, workspace, base=clone.start.tree, result=result, keep=print)
        assert applied.paths == ("same",)
        workspace.restore(applied.before.tree)
        workspace.tidy()


def test_branch_head_index_stash_refs_hooks_and_config_stay_byte_identical(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    before, status = everything(root / ".git"), git(root, "--no-optional-locks", "status", "--porcelain")
    everything_runner_can_do(workspace, tmp_path / "copy", tmp_path / "state")
    assert everything(root / ".git") == before
    assert git(root, "--no-optional-locks", "status", "--porcelain") == status
    assert (root / ".env").read_text() == "KEY=1\n"


def _filter(root: Path, canary: Path) -> None:
    for kind in ("clean", "smudge", "process"):
        git(root, "config", f"filter.evil.{kind}", str(canary))
    git(root, "config", "filter.evil.required", "true")
    git(root, "config", "diff.evil.textconv", str(canary))
    git(root, "config", "diff.evil.command", str(canary))
    git(root, "config", "merge.evil.driver", str(canary))
    (root / ".gitattributes").write_text("* filter=evil diff=evil merge=evil text eol=crlf\n")


def _settings(root: Path, canary: Path) -> None:
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "diff.external", "gpg.program",
                 "credential.helper", "core.askPass", "core.alternateRefsCommand", "uploadpack.packObjectsHook"):  # fmt: skip
        git(root, "config", name, str(canary))
    git(root, "config", "commit.gpgSign", "true")
    git(root, "config", "core.untrackedCache", "true")


def _hooks(root: Path, canary: Path) -> None:
    for hook in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc",
                 "post-rewrite", "prepare-commit-msg", "commit-msg", "post-commit", "fsmonitor-watchman"):  # fmt: skip
        shutil.copy(canary, root / ".git" / "hooks" / hook)
    git(root, "config", "core.hooksPath", str(root / ".git" / "hooks"))


def _elsewhere(root: Path, canary: Path) -> None:
    (root.parent / "victim").mkdir()
    (root / "included").write_text(f"[core]\n\tfsmonitor = {canary}\n")
    git(root, "config", "include.path", str(root / "included"))
    git(root, "config", "core.worktree", str(root.parent / "victim"))


def _submodules(root: Path, canary: Path) -> None:
    inner = root / "module"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "f").write_text("f")
    git(inner, "add", "-A")
    git(inner, "commit", "-qm", "x")
    git(root, "-c", "advice.addEmbeddedRepo=false", "add", "module")
    git(inner, "config", "core.fsmonitor", str(canary))
    (inner / "f").write_text("g")
    (root / ".gitmodules").write_text(
        f'[submodule "module"]\n\tpath = module\n\turl = ext::{canary}\n\tupdate = !{canary}\n'
    )
    git(root, "config", "submodule.module.update", f"!{canary}")


def _alternates(root: Path, canary: Path) -> None:
    (root / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (root / ".git" / "objects" / "info" / "alternates").write_text("/nowhere/objects\n../../../nowhere\n")
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "attributes").write_text("* filter=evil\n")
    (root / ".git" / "config.worktree").write_text(f"[core]\n\tfsmonitor = {canary}\n")
    git(root, "config", "extensions.worktreeConfig", "true")


@pytest.mark.parametrize("attack", [_filter, _settings, _hooks, _elsewhere, _submodules, _alternates])
def test_nothing_an_agent_plants_is_ever_executed(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path, attack: Callable[[Path, Path], None]
) -> None:
    ran = tmp_path / "ran"
    canary = tmp_path / "canary"
    canary.write_text(f"#!/bin/sh\nenv >> {ran}\ncat\n")
    canary.chmod(0o755)
    attack(root, canary)
    everything_runner_can_do(workspace, tmp_path / "copy", tmp_path / "state")
    (root / "same").write_text("for the branch\n")
    keep(workspace, 2)
    export(workspace, "r1")
    assert not ran.exists()
    assert not list(tmp_path.glob("victim/*"))


def test_a_git_the_agent_put_on_the_path_is_not_ours(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = root / ".venv" / "bin"
    own.mkdir(parents=True)
    (own / "git").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (own / "git").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(own), ".venv/bin", "", PLAIN["PATH"]]))
    monkeypatch.chdir(root)
    everything_runner_can_do(workspace, tmp_path / "copy", tmp_path / "state")
    keep(workspace, 2)
    export(workspace, "r1")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("attack", [_filter, _settings])
def test_the_same_plants_do_run_under_plain_git(
    root: Path, tmp_path: Path, attack: Callable[[Path, Path], None]
) -> None:
    canary = tmp_path / "canary"
    canary.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\ncat\n")
    canary.chmod(0o755)
    attack(root, canary)
    subprocess.run(["git", "-C", root, "add", "-A"], env=PLAIN, capture_output=True, check=False)
    assert (tmp_path / "ran").exists()


def test_a_users_gc_breaks_no_checkpoint(root: Path, workspace: ShadowWorkspace, tmp_path: Path) -> None:
    first, commit = keep(workspace, 0)
    content = {path: workspace.read(first.tree, path) for path in workspace.paths(first.tree)}
    git(root, "checkout", "-q", "-f", "--orphan", "fresh")
    for branch in ("main", "topic"):
        git(root, "branch", "-D", branch)
    git(root, "tag", "-d", "v1")
    git(root, "stash", "clear")
    git(root, "rm", "-rfq", "--cached", ".")
    git(root, "reflog", "expire", "--expire=now", "--all")
    git(root, "gc", "-q", "--prune=now")
    shutil.rmtree(root / ".git" / "objects" / "pack")
    again = ShadowWorkspace(root, tmp_path / "state")
    assert {path: again.read(first.tree, path) for path in again.paths(first.tree)} == content
    assert again.checkpoint("r1", 0) == commit
    git(again.git.directory, "fsck", "--strict")


def test_a_rollback_is_byte_identical_with_everything_odd_at_once(root: Path, workspace: ShadowWorkspace) -> None:
    chance = random.Random(7)
    git(root, "config", "filter.lfs.clean", "sha256sum")
    git(root, "config", "filter.lfs.smudge", "cat")
    (root / ".gitattributes").write_text("* text=auto eol=crlf\n*.bin filter=lfs -text\n")
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "exclude").write_text("scratch\n")
    (root / "scratch").write_text("mine")
    (root / "crlf.txt").write_bytes(b"a\r\nb\n")
    (root / "x.bin").write_bytes(chance.randbytes(5000))
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "up").symlink_to("../..")
    (root / "huge").write_bytes(chance.randbytes(60_000_000))
    (root / "nested").mkdir()
    git(root / "nested", "init", "-q")
    (root / "nested" / "f").write_text("f")
    before = content(root)
    first, _ = keep(workspace, 0)
    for name in ("crlf.txt", "x.bin", "run", "nested/f", "src/deep", "staged"):
        (root / name).unlink()
        (root / name).write_text("agent")
    (root / "up").unlink()
    (root / "added").write_text("agent")
    workspace.restore(first.tree)
    assert content(root) == before


def test_a_working_copy_has_its_own_git_and_the_users_stays_as_it_is(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    before, status = content(root), git(root, "--no-optional-locks", "status", "--porcelain", "-uno")
    clone = clone_for(workspace, into=tmp_path / "copy", state=tmp_path / "state")
    copy = clone.workspace.root
    assert clone.start.tree == workspace.snapshot().tree
    assert git(copy, "rev-parse", "HEAD", "v1", "topic") == git(root, "rev-parse", "HEAD", "v1", "topic")
    assert git(copy, "branch", "--show-current") == "main\n"
    assert git(copy, "status", "--porcelain", "-uno") == status.replace("MM staged", " M staged")
    assert not (copy / ".env").exists()
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "the agent commits")
    git(copy, "gc", "-q", "--prune=now")
    git(copy, "branch", "-D", "topic")
    git(copy, "fsck", "--strict")
    assert content(root) == before


def test_a_working_copy_of_a_part_a_new_and_no_repository(root: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    part = clone_for(ShadowWorkspace(root / "src", state), into=tmp_path / "part", state=state)
    assert part.workspace.root == tmp_path / "part" / "src"
    assert git(part.workspace.root, "status", "--porcelain", "-uno") == ""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a").write_text("a")
    plain = clone_for(ShadowWorkspace(tmp_path / "plain", state), into=tmp_path / "p", state=state)
    assert [path.name for path in plain.workspace.root.iterdir()] == ["a"]
    git(tmp_path / "plain", "init", "-q", "-b", "trunk")
    new = clone_for(ShadowWorkspace(tmp_path / "plain", state), into=tmp_path / "n", state=state)
    assert git(new.workspace.root, "status", "--porcelain", "-b") == "## No commits yet on trunk\n?? a\n"
    with pytest.raises(RefusedError, match="not empty"):
        clone_for(ShadowWorkspace(tmp_path / "plain", state), into=tmp_path / "n", state=state)


def test_a_result_comes_back_beside_what_the_user_did_meanwhile(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    clone = clone_for(workspace, into=tmp_path / "copy", state=tmp_path / "state")
    copy = clone.workspace.root
    (copy / "same").write_text("agent\n")
    (copy / "made" / "new").mkdir(parents=True)
    (copy / "made" / "new" / "file").write_text("agent\n")
    (copy / "new").unlink()
    (copy / "both").write_text("equal\n")
    (root / "both").write_text("equal\n")
    (root / "unstaged").write_text("the user went on\n")
    result = clone.workspace.snapshot().tree
    kept: list[Snapshot] = []
    present = workspace.snapshot()
    applied = apply_back(clone.workspace, workspace, base=clone.start.tree, result=result, keep=kept.append)
    assert applied.paths == ("made/new/file", "new", "same")
    assert kept == [present] == [applied.before]
    assert (root / "same").read_text() == "agent\n"
    assert (root / "unstaged").read_text() == "the user went on\n"
    assert not (root / "new").exists()
    again = apply_back(clone.workspace, workspace, base=clone.start.tree, result=result, keep=kept.append)
    assert again.paths == ()
    workspace.restore(applied.before.tree)
    assert workspace.snapshot() == present


def test_conflicts_are_listed_and_nothing_is_changed(root: Path, workspace: ShadowWorkspace, tmp_path: Path) -> None:
    clone = clone_for(workspace, into=tmp_path / "copy", state=tmp_path / "state")
    for name in ("same", "new", "src/deep"):
        (clone.workspace.root / name).write_text("agent\n")
    (clone.workspace.root / "fresh").write_text("agent\n")
    (clone.workspace.root / ".env").write_text("ignored there too\n")
    (root / "same").write_text("user\n")
    (root / "new").unlink()
    (root / "fresh").write_text("user\n")
    result, before = clone.workspace.snapshot().tree, everything(root)
    kept: list[Snapshot] = []
    with pytest.raises(RefusedError, match=r"3 changed both here and in the run: fresh, new, same"):
        apply_back(clone.workspace, workspace, base=clone.start.tree, result=result, keep=kept.append)
    assert everything(root) == before
    assert kept == []


def test_a_result_never_replaces_what_no_checkpoint_holds(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    clone = clone_for(workspace, into=tmp_path / "copy", state=tmp_path / "state")
    (clone.workspace.root / ".gitignore").write_text("")
    (clone.workspace.root / ".env").write_text("from the agent\n")
    result = clone.workspace.snapshot().tree
    with pytest.raises(RefusedError, match=r"in no checkpoint: \.env"):
        apply_back(clone.workspace, workspace, base=clone.start.tree, result=result, keep=print)
    assert (root / ".env").read_text() == "KEY=1\n"


def test_export_adds_a_branch_and_objects_and_nothing_else(root: Path, workspace: ShadowWorkspace) -> None:
    _, commit = keep(workspace, 0)
    (root / "same").write_text("agent\n")
    keep(workspace, 1, commit)
    before = everything(root)
    done = export(workspace, "r1")
    after = everything(root)
    added = {path for path in after if path not in before}
    assert {path: after[path] for path in before} == before
    assert ".git/refs/heads/runner/r1" in added
    assert all(path.startswith((".git/refs/heads/runner", ".git/objects/")) for path in added)
    assert done.branch == "runner/r1"
    git(root, "fsck", "--strict")
    assert git(root, "log", "--format=%s", "main..runner/r1").splitlines() == ["step", "step"]
    assert git(root, "diff", "--name-status", "main", "runner/r1").split("\n")[:-1] == [
        "D\tgone", "A\tnew", "M\tsame", "M\tstaged", "M\tunstaged",
    ]  # fmt: skip
    with pytest.raises(RefusedError, match="exists already"):
        export(workspace, "r1")
    assert export(workspace, "r1", force=True) == done
    git(root, "pack-refs", "--all")
    with pytest.raises(RefusedError, match="exists already"):
        export(workspace, "r1")
    git(root, "symbolic-ref", "HEAD", "refs/heads/runner/r1")
    with pytest.raises(RefusedError, match="is checked out"):
        export(workspace, "r1", force=True)


def test_export_writes_lines_and_pointers_as_the_repository_keeps_them(root: Path, workspace: ShadowWorkspace) -> None:
    git(root, "reset", "-q", "--hard")
    big = b"a big picture\n"
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(big).hexdigest()}\nsize {len(big)}\n"
    )
    (root / "a.txt").write_text("one\ntwo\n")
    (root / "pic").write_text(pointer)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--no-verify", "-m", "as git keeps them")
    (root / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    (root / "pic").write_bytes(big)
    _, commit = keep(workspace, 0)
    (root / "a.txt").write_bytes(b"one\r\nthree\r\n")
    keep(workspace, 1, commit)
    done = export(workspace, "r1")
    assert git(root, "diff", "--numstat", "main", "runner/r1") == "1\t1\ta.txt\n"
    assert git(root, "log", "--format=%H", "-1", "runner/r1").strip() == done.commit
    assert len(git(root, "log", "--format=%H", "main..runner/r1").splitlines()) == 1


def test_export_of_a_part_keeps_the_rest_and_submodules(root: Path, tmp_path: Path) -> None:
    git(root, "reset", "-q", "--hard")
    (root / "src" / "sub").mkdir()
    git(root / "src" / "sub", "init", "-q")
    (root / "src" / "sub" / "f").write_text("f")
    git(root / "src" / "sub", "add", "-A")
    git(root / "src" / "sub", "commit", "-qm", "x")
    git(root, "-c", "advice.addEmbeddedRepo=false", "add", "-A")
    git(root, "commit", "-q", "--no-verify", "-m", "two")
    part = ShadowWorkspace(root / "src", tmp_path / "state")
    (root / "src" / "deep").write_text("deep 2\n")
    (root / "src" / "sub" / "f").write_text("g")
    keep(part, 0)
    done = export(part, "r1")
    assert git(root, "diff", "--name-status", "main", "runner/r1") == "M\tsrc/deep\n"
    assert done.notes == ("src/sub: a submodule; changes inside it are not in the branch",)


def test_export_into_a_repository_without_a_commit_and_into_none(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    root.mkdir()
    (root / "a").write_text("a")
    workspace = ShadowWorkspace(root, tmp_path / "state")
    keep(workspace, 0)
    with pytest.raises(RefusedError, match="in no git repository"):
        export(workspace, "r1")
    git(root, "init", "-q", "-b", "main")
    export(workspace, "r1")
    assert git(root, "ls-tree", "-r", "--name-only", "runner/r1") == "a\n"
    assert git(root, "status", "--porcelain") == "?? a\n"


def test_export_never_follows_a_link_out_of_the_repository(
    root: Path, workspace: ShadowWorkspace, tmp_path: Path
) -> None:
    keep(workspace, 0)
    (tmp_path / "outside").mkdir()
    (root / ".git" / "refs" / "heads" / "runner").symlink_to(tmp_path / "outside")
    with pytest.raises(WorkspaceError):
        export(workspace, "r1")
    assert list((tmp_path / "outside").iterdir()) == []
