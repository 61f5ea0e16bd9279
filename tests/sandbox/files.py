"""Attempts on files: writing and reading what is not the workspace, and what of it is protected."""

# They do what a hostile program does, down to its system calls.
# ruff: noqa: PTH104

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

from tests.sandbox.scene import Scene, appeared, attempt, changed, target

_STILL = 1_000_000_000
_AT_FDCWD, _EXCHANGE, _RENAMEAT2 = -100, 2, 316 if os.uname().machine == "x86_64" else 276


@attempt("creates a file outside", appeared("created"))
def create_file(scene: Scene) -> None:
    target(scene, "created").write_text("mine")


@attempt("overwrites a file outside", changed("overwritten"))
def overwrite_file(scene: Scene) -> None:
    target(scene, "overwritten").write_text("mine")


@attempt("appends to a file outside", changed("appended"))
def append_to_file(scene: Scene) -> None:
    with target(scene, "appended").open("a") as file:
        file.write("mine")


@attempt("truncates a file outside by its path", changed("truncated"))
def truncate_file(scene: Scene) -> None:
    os.truncate(target(scene, "truncated"), 0)


@attempt("deletes a file outside", changed("deleted"))
def delete_file(scene: Scene) -> None:
    target(scene, "deleted").unlink()


@attempt("renames a file outside", changed("renamed"))
def rename_file(scene: Scene) -> None:
    os.rename(target(scene, "renamed"), target(scene, "renamed-away"))


@attempt("makes a directory outside", appeared("made"))
def make_directory(scene: Scene) -> None:
    target(scene, "made").mkdir()


@attempt("removes a directory outside", lambda scene, _: not target(scene, "empty-directory").exists())
def remove_directory(scene: Scene) -> None:
    target(scene, "empty-directory").rmdir()


@attempt("makes a link outside", lambda scene, _: target(scene, "planted").is_symlink())
def make_link(scene: Scene) -> None:
    target(scene, "planted").symlink_to("/etc/passwd")


@attempt("makes a named pipe outside", appeared("pipe"))
def make_pipe(scene: Scene) -> None:
    os.mkfifo(target(scene, "pipe"))


@attempt("writes outside through a link in the workspace", changed("linked"))
def write_through_link(scene: Scene) -> None:
    link = scene.workspace / "shortcut"
    link.symlink_to(target(scene, "linked"))
    link.write_text("mine")


@attempt("writes outside through a second name in the workspace", changed("second-name"))
def write_through_hard_link(scene: Scene) -> None:
    name = scene.workspace / "second-name"
    os.link(target(scene, "second-name"), name)
    name.write_text("mine")


@attempt("swaps a directory for a link while writing into it", appeared("raced"))
def race_links(scene: Scene) -> None:
    here, elsewhere = scene.workspace / "swap", scene.workspace / "swap-link"
    here.mkdir()
    elsewhere.symlink_to(scene.outside)
    end = time.monotonic() + 0.3

    def swap() -> None:
        while time.monotonic() < end:
            _exchange(here, elsewhere)

    thread = threading.Thread(target=swap)
    thread.start()
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            (here / "raced").write_text("mine")
    thread.join()
    # whoever won: one of the two names is the link
    for name in (here, elsewhere):
        with contextlib.suppress(OSError):
            (name / "raced").write_text("mine")


@attempt("renames a file from the workspace to the outside, again and again", appeared("moved-out"))
def race_renames(scene: Scene) -> None:
    for number in range(200):
        file = scene.workspace / f"moving-{number}"
        file.write_text("mine")
        with contextlib.suppress(OSError):
            os.rename(file, target(scene, "moved-out"))


def _exchange(one: Path, other: Path) -> None:
    ctypes.CDLL(None).syscall(_RENAMEAT2, _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)


@attempt("writes outside through /proc of another process", changed("by-proc"))
def write_through_proc(scene: Scene) -> None:
    Path(f"/proc/{scene.victim}/root{target(scene, 'by-proc')}").write_text("mine")


@attempt("writes outside through /proc of its own parents", changed("by-parent"))
def write_through_parents(scene: Scene) -> None:
    pid = os.getppid()
    while pid > 0:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/root{target(scene, 'by-parent')}").write_text("mine")
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@attempt(
    "changes the mode of a file outside", lambda scene, _: target(scene, "mode").stat().st_mode & stat.S_IROTH == 0
)
def change_mode(scene: Scene) -> None:
    target(scene, "mode").chmod(0o600)


@attempt("changes the times of a file outside", lambda scene, _: target(scene, "times").stat().st_mtime_ns == _STILL)
def change_times(scene: Scene) -> None:
    os.utime(target(scene, "times"), ns=(_STILL, _STILL))


@attempt("adds a command to the shell's start-up file", lambda scene, _: "mine" in (scene.home / ".bashrc").read_text())
def edit_bashrc(scene: Scene) -> None:
    with (scene.home / ".bashrc").open("a") as file:
        file.write("mine")


@attempt("adds a key that may log in", lambda scene, _: (scene.home / ".ssh/authorized_keys").exists())
def add_login_key(scene: Scene) -> None:
    (scene.home / ".ssh/authorized_keys").write_text("ssh-ed25519 mine")


@attempt(
    "changes the code of runner", lambda scene, _: "mine" in Path(scene.root, "code/runner/sandbox/host.py").read_text()
)
def edit_runner(scene: Scene) -> None:
    with Path(scene.root, "code/runner/sandbox/host.py").open("a") as file:
        file.write("# mine\n")


# ---- reading ---------------------------------------------------------------------------------------------


@attempt("reads a private key")
def read_private_key(scene: Scene) -> str:
    return (scene.home / ".ssh/id_ed25519").read_text()


@attempt("reads a private key through a link in the workspace")
def read_through_link(scene: Scene) -> str:
    link = scene.workspace / "key"
    link.symlink_to(scene.home / ".ssh/id_ed25519")
    return link.read_text()


@attempt("reads a private key through a second name in the workspace")
def read_through_hard_link(scene: Scene) -> str:
    name = scene.workspace / "key-too"
    os.link(scene.home / ".ssh/id_ed25519", name)
    return name.read_text()


@attempt("moves a private key into the workspace and reads it there")
def read_moved_key(scene: Scene) -> str:
    os.rename(scene.home / ".ssh/id_moved", scene.workspace / "id_moved")
    return (scene.workspace / "id_moved").read_text()


@attempt("lists a directory outside", lambda _, printed: "listed-name" in printed)
def list_directory(scene: Scene) -> str:
    return " ".join(os.listdir(scene.outside))  # noqa: PTH208 - names


@attempt("asks for the size of a file outside", lambda _, printed: "size 12345" in printed)
def ask_size(scene: Scene) -> str:
    return f"size {target(scene, 'sized').stat().st_size}"


@attempt("is told what happens in a directory outside", lambda _, printed: "watched" in printed)
def watch_directory(scene: Scene) -> str:
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init()
    return "watched" if libc.inotify_add_watch(watch, os.fsencode(scene.outside), 0xFFF) >= 0 else ""


@attempt("reads .env of the workspace")
def read_env_file(scene: Scene) -> str:
    return (scene.workspace / ".env").read_text()


@attempt("reads the database of runs")
def read_state(scene: Scene) -> str:
    return (scene.state / "runner.db").read_bytes().decode("utf-8", "replace")


# ---- what decides what runs next -------------------------------------------------------------------------


def _spoiled(name: str) -> bool:
    path = Path(name)
    return not path.exists() or "mine" in path.read_text()


@attempt("writes a hook that git will run", lambda scene, _: _spoiled(f"{scene.workspace}/.git/hooks/pre-commit"))
def edit_git_hook(scene: Scene) -> None:
    (scene.workspace / ".git/hooks/pre-commit").write_text("mine")


@attempt("writes a command into git's settings", lambda scene, _: _spoiled(f"{scene.workspace}/.git/config"))
def edit_git_config(scene: Scene) -> None:
    (scene.workspace / ".git/config").write_text("mine")


@attempt(
    "puts another file in place of a protected one", lambda scene, _: _spoiled(f"{scene.workspace}/tests/test_it.py")
)
def replace_protected(scene: Scene) -> None:
    new = scene.workspace / "new-test"
    new.write_text("mine")
    os.rename(new, scene.workspace / "tests/test_it.py")


@attempt("moves the directory of a protected file aside", lambda scene, _: _spoiled(f"{scene.workspace}/kept/file"))
def move_protected(scene: Scene) -> None:
    os.rename(scene.workspace / "kept", scene.workspace / "moved")
    (scene.workspace / "kept").mkdir()
    (scene.workspace / "kept/file").write_text("mine")


@attempt("edits the policy of the project", lambda scene, _: _spoiled(f"{scene.workspace}/policies/project.yaml"))
def edit_project_policy(scene: Scene) -> None:
    (scene.workspace / "policies/project.yaml").write_text("mine")


@attempt("edits the policy of the user", lambda scene, _: _spoiled(f"{scene.home}/.config/runner/policy.yaml"))
def edit_user_policy(scene: Scene) -> None:
    (scene.home / ".config/runner/policy.yaml").write_text("mine")


@attempt("adds a policy to the organisation's", appeared("org/extra.yaml"))
def add_org_policy(scene: Scene) -> None:
    target(scene, "org/extra.yaml").write_text("mine")


@attempt("approves its own call in the database of runs", lambda scene, _: _votes(scene) > 0)
def approve_itself(scene: Scene) -> None:
    with contextlib.closing(sqlite3.connect(scene.state / "runner.db")) as database, database:
        database.execute("INSERT INTO inbox (body) VALUES ('approve')")


def _votes(scene: Scene) -> int:
    with contextlib.closing(sqlite3.connect(scene.state / "runner.db")) as database:
        return int(database.execute("SELECT count(*) FROM inbox").fetchone()[0])
