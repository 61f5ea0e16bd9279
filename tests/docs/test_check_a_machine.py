"""The page on checking a machine names every check and mark, and its commands work as they stand."""

import os
import subprocess
import sys
from pathlib import Path

from runner.app.health import CHECKS, Mark
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "check-a-machine.md"


def test_its_commands_work_one_after_the_other(tmp_path):
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(tmp_path)}
    typed = [block.text.replace("/tmp/", f"{tmp_path}/") for block in blocks(PAGE) if block.language == "sh"]
    assert len(typed) == 6
    for text in ("runner init", *typed):
        done = subprocess.run(
            ["sh", "-euc", text], cwd=project, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, text + done.stdout + done.stderr
    written = home / ".config" / "runner" / "config.toml"
    if sys.platform == "linux":
        assert "max_output" in written.read_text()
    assert not (home / ".local" / "state" / "runner").exists()


def test_it_names_every_check_and_every_mark():
    text = PAGE.read_text("utf-8")
    assert all(f"`{name}`" in text for name in (*CHECKS, *Mark))


def test_the_help_names_every_check():
    from runner.cli.doctor import doctor

    named = (doctor.__doc__ or "").partition("Checks: ")[2].partition(". ")[0]
    assert [name.strip() for name in named.split(",")] == [*CHECKS]
