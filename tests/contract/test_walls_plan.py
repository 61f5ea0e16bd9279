"""What a run's walls let in, worked out from real repositories, homes and policies."""

import os
import subprocess
from pathlib import Path

import pytest

from runner.app import wallplan
from runner.app.wallplan import Ground
from runner.config import policies
from runner.policy.book import PathRules, SandboxRules
from runner.sandbox import bubblewrap, places
from runner.sandbox.plan import Plan
from tests.contract.walled import PATH, Scene, needs_bubblewrap

RULES = policies.load("default", environ={})


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def git(place: Path, *words: str) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(["git", *words], cwd=place, env={**os.environ, **who}, check=True, capture_output=True)


def repository(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    git(place, "init", "-q", "-b", "main")
    (place / "file").write_text("one\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "one")
    return place


def plan(scene: Scene, *, root: Path | None = None, paths: PathRules | None = None, **more) -> Plan:
    workspace = root or scene.workspace
    ground = {"workspace": workspace, "origin": workspace, "state": scene.private.parent, "home": scene.private}
    env = {"PATH": PATH, "HOME": str(scene.home)}
    wallplan.furnish(scene.private, env)
    return wallplan.plan(Ground(**{**ground, **more}), env, RULES.sandbox, paths or RULES.paths)


@needs_bubblewrap
def test_git_works_inside_and_its_settings_and_hooks_stay(scene):
    repository(scene.workspace)
    (scene.home / ".gitconfig").write_text('[user]\n\tname = Ada "A" \\\\o/\n\temail = ada@example.org\n')
    with scene.walls(plan(scene)) as walled:
        assert walled.sh("echo two > file && git commit -qam two && git log --format='%s %an' -1") == "two Ada A \\o/\n"
        for attempt in (
            "echo x > .git/hooks/pre-commit",
            "git config core.fsmonitor evil",
            "git config --global core.hooksPath /tmp; test -e .git/hooks/x",
            "mv .git other",
            "mv .git/hooks .git/old",
            "rm -rf .git/hooks",
            "echo '* filter=x' > .git/info/attributes",
        ):
            assert "done" not in walled.sh(f"{attempt} && echo done"), attempt
    assert "fsmonitor" not in (scene.workspace / ".git" / "config").read_text()
    assert not (scene.workspace / ".git" / "hooks" / "pre-commit").exists()


def test_of_the_users_settings_of_git_only_what_holds_no_secret_goes_along(scene):
    (scene.home / ".gitconfig").write_text(
        '[user]\n\tname = Ada\n[http]\n\textraheader = "Authorization: SECRET"\n'
        '[url "https://SECRET@example.org"]\n\tinsteadOf = x\n[credential]\n\thelper = store\n'
    )
    plan(scene)
    assert (scene.private / ".gitconfig").read_text() == '[user]\n\tname = "Ada"\n'


def test_a_link_left_where_the_settings_of_git_go_is_replaced_not_followed(scene, tmp_path):
    (scene.home / ".gitconfig").write_text("[user]\n\tname = Ada\n")
    (tmp_path / "victim").write_text("mine")
    (scene.private / ".gitconfig").symlink_to(tmp_path / "victim")
    plan(scene)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (scene.private / ".gitconfig").is_symlink()


@needs_bubblewrap
def test_a_linked_worktree_is_committed_to_and_a_forged_one_is_not_there(scene):
    main = repository(scene.home / "main")
    scene.workspace.rmdir()
    git(main, "worktree", "add", "-q", str(scene.workspace))
    made = plan(scene)
    assert main / ".git" in made.writable
    assert main / ".git" / "hooks" in made.read_only
    with scene.walls(made) as walled:
        assert walled.sh("echo two > file && git commit -qam two; git log --format=%s -1; ls ../../main") == "two\n"
        assert "done" not in walled.sh(f"echo x > {main}/.git/hooks/post-commit && echo done")
    other = repository(scene.home / "private")
    (scene.workspace / ".git").unlink()
    (scene.workspace / ".git").write_text(f"gitdir: {other / '.git'}\n")
    forged = plan(scene)
    assert forged.writable == ()
    assert not any(path.is_relative_to(other) for path in forged.read_only)


def test_what_an_agent_can_write_in_the_repository_opens_no_other_place(scene):
    repository(scene.workspace)
    other = repository(scene.home / "private")
    (scene.workspace / ".git" / "commondir").write_text(f"{other / '.git'}\n")
    (scene.workspace / ".git" / "objects" / "info" / "alternates").write_text(f"{scene.home / '.ssh'}\n")
    made = plan(scene)
    assert made.writable == ()
    assert [path for path in made.read_only if not path.is_relative_to(scene.workspace)] == []


@needs_bubblewrap
def test_a_part_of_a_repository_sees_the_rest_and_writes_its_own(scene):
    top = repository(scene.home / "mono")
    part = top / "services" / "one"
    part.mkdir(parents=True)
    (part / "code").write_text("1\n")
    git(top, "add", ".")
    git(top, "commit", "-qm", "part")
    with scene.walls(plan(scene, root=part)) as walled:
        assert walled.sh("git status --short; cat ../../file") == "one\n"
        assert walled.sh("echo 2 > code && git commit -qam two && git show --stat --format=%s | tail -1").startswith(
            " 1 file"
        )
        assert "Read-only" in walled.sh("echo x > ../../file")


@needs_bubblewrap
def test_a_copy_finds_its_objects_in_the_users_repository(scene, tmp_path):
    origin = repository(scene.home / "origin")
    git(tmp_path, "clone", "-q", "--shared", str(origin), str(scene.workspace / "copy"))
    with scene.walls(plan(scene, root=scene.workspace / "copy", origin=origin)) as walled:
        assert walled.sh("git log --format=%s; cat file") == "one\none\n"
        assert "Read-only" in walled.sh(f"echo x > {origin}/.git/objects/x")


@needs_bubblewrap
def test_a_policys_paths_are_hidden_and_kept_examples_aside(scene):
    for name in (".env", "app/.env", ".env.example", "policies/own.yaml", "node_modules/x/.env"):
        (scene.workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (scene.workspace / name).write_text("KEY=1\n")
    (scene.workspace / "link").symlink_to(".env")
    paths = PathRules(deny_read=("**/.env", "**/.env.*", "~/.ssh/**"), deny_write=("policies/**",))
    with scene.walls(plan(scene, paths=paths)) as walled:
        assert walled.sh("cat .env app/.env link; cat .env.example") == "KEY=1\n"
        assert "Read-only" in walled.sh("echo x > policies/new.yaml")


def test_protected_in_part_and_the_spec_stay_writable_and_the_rest_does_not(scene):
    names = ("spec.md", "tests/test_a.py", "pyproject.toml", "sub/package.json")
    for name in names:
        (scene.workspace / name).parent.mkdir(exist_ok=True)
        (scene.workspace / name).touch()
    made = plan(scene, protected=names, spec="spec.md")
    assert made.read_only == (scene.workspace / "tests" / "test_a.py",)


def test_a_home_that_is_the_workspace_hides_what_is_nobodys(scene):
    (scene.home / ".aws").mkdir()
    made = plan(scene, root=scene.home)
    assert {scene.home / ".ssh", scene.home / ".aws", scene.private.parent} <= set(made.hidden)


@needs_bubblewrap
def test_a_home_that_is_the_workspace_still_works(scene):
    with scene.walls(plan(scene, root=scene.home)) as walled:
        assert walled.sh("ls ~/.ssh; echo on > ~/new; cat new") == "on\n"


def test_read_only_mode_leaves_the_workspace_out_of_what_is_written(scene):
    env = {"PATH": PATH, "HOME": str(scene.home)}
    ground = Ground(workspace=scene.workspace, origin=scene.workspace, state=scene.private.parent)
    made = wallplan.plan(ground, env, SandboxRules(read_only=True), PathRules())
    assert list(made.writes) == []


# ---- where programs are ----------------------------------------------------------------------------------


def test_the_prefix_of_a_directory_of_programs_is_what_it_is_installed_in(tmp_path):
    home = tmp_path / "home"
    for name in ("pyenv/shims", ".nvm/versions/node/v20/bin", ".local/bin", "bin", "own", ".rustup", "work/.venv/bin"):
        (home / name).mkdir(parents=True)
    path = ":".join(
        str(home / name)
        for name in ("pyenv/shims", ".nvm/versions/node/v20/bin", ".local/bin", "bin", "own", "work/.venv/bin")
    )
    found = places.prefixes(f"{path}:/usr/bin:relative:", home, workspace=home / "work")
    wanted = ("pyenv", ".nvm/versions/node/v20", ".local/bin", "bin", "own", ".rustup")
    assert sorted(found) == sorted(home / name for name in wanted)


def test_links_to_programs_bring_what_they_lead_to(tmp_path):
    python = tmp_path / "versions" / "3.11" / "bin"
    venv = tmp_path / "venv" / "bin"
    python.mkdir(parents=True)
    venv.mkdir(parents=True)
    (python / "python3").touch()
    (venv / "python").symlink_to(python / "python3")
    found = places.prefixes(str(venv), tmp_path / "home", workspace=tmp_path / "work")
    assert set(found) == {tmp_path / "venv", tmp_path / "versions" / "3.11"}


def test_the_file_that_stands_for_hidden_ones_is_empty():
    assert bubblewrap.EMPTY.read_bytes() == b""
