"""Makes the attempts as a chosen user: with an interpreter and a copy of the code that this user can reach."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.sandbox import landlock

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "nobody"
STRANGER = 64_321
"""An ordinary user that owns nothing on this machine and needs no entry in it."""
MUST = os.environ.get("RUNNER_TEST_SANDBOX") == "must"
"""`make test-sandbox`: nothing may be skipped."""


def absent(reason: str) -> None:
    """Skip, in one line; where everything must run, fail."""
    if MUST:
        pytest.fail(reason)
    pytest.skip(reason)


def needs(backend: str, *, root: bool) -> None:
    """Skip where this machine cannot make the attempts."""
    if root and os.geteuid() != 0:
        absent("attempts as root are made by root: sudo make test-sandbox")
    if backend == "bubblewrap" and shutil.which("bwrap") is None:
        absent("bubblewrap is not installed: apt install bubblewrap, or make test-sandbox")
    if backend == "landlock" and landlock.abi() < landlock.LEAST_ABI:
        absent(f"the fallback needs Landlock ABI {landlock.LEAST_ABI}: Linux 6.2 or newer")


@functools.cache
def interpreter() -> str:
    """A Python that every user of this machine can run."""
    own = os.path.realpath(sys.executable)
    for program in dict.fromkeys((own, *(f"/usr/bin/python3.{minor}" for minor in range(11, 16)))):
        if os.access(program, os.X_OK) and _reaches(program):
            return program
    absent("no Python 3.11 or newer that other users can run: install one in /usr/bin")
    return own


def _reaches(program: str) -> bool:
    if os.geteuid() != 0:
        return True
    # by way of a shell: setpriv itself still executes with root's rights
    words = [*as_user(STRANGER), "/bin/sh", "-c", '"$0" -I -c ""', program]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def as_user(uid: int) -> list[str]:
    return ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if os.geteuid() == 0 and uid else []


@contextmanager
def place() -> Generator[Path]:
    """A directory that everybody can reach, and that no walls show."""
    where = tempfile.mkdtemp(prefix="attempts-", dir="/var/tmp")
    try:
        Path(where).chmod(0o755)
        yield Path(where)
    finally:
        shutil.rmtree(where, ignore_errors=True)


def results(backend: str, *, root: bool, abi: int = 0, names: tuple[str, ...] = ()) -> Mapping[str, tuple[bool, str]]:
    """Every attempt's name, whether it succeeded and what was said, made as root or as an ordinary user."""
    run_as = NOBODY if root and backend == "landlock" else ""
    uid = 0 if root else STRANGER
    with place() as where:
        code, scene = _copied(where), where / "scene"
        shutil.copytree(code / "runner/sandbox", scene / "code/runner/sandbox")
        found: dict[str, tuple[bool, str]] = json.loads(
            _output(where, uid, "tests.sandbox.driver", str(scene), backend, run_as, str(abi), *names)
        )
        return found


# What a story found is whatever it found: each test knows its own.
def told(story: str) -> Any:
    """What came out of a story of `held`, told by an ordinary user behind Landlock."""
    with place() as where:
        _copied(where)
        return json.loads(_output(where, STRANGER, "tests.sandbox.held", str(where / "scene"), story))


def _copied(where: Path) -> Path:
    """The code, beside an empty `scene` and a `tmp`."""
    code = where / "code"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "runner", code / "runner", ignore=ignored)
    shutil.copytree(ROOT / "tests/sandbox", code / "tests/sandbox", ignore=ignored)
    for name in ("scene", "tmp"):
        (where / name).mkdir()
    return code


def _output(where: Path, uid: int, *words: str) -> str:
    """What a module of these tests prints, run by a user to whom all of it is given."""
    open_to_all(where, uid)
    done = subprocess.run(
        [*as_user(uid), interpreter(), "-m", *words],
        cwd=where / "code",
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(where / "tmp"),
            "PYTHONPATH": str(where / "code"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def open_to_all(where: Path, uid: int) -> None:
    """Give a directory to a user, for all to read; what links in it lead to is left alone."""
    for above, folders, files in os.walk(where):
        for name in (*folders, *files):
            path = Path(above, name)
            if path.is_symlink():
                continue
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, uid, uid, follow_symlinks=False)
