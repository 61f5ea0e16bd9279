"""A hostile agent's git settings run nothing, whichever runner command comes afterwards; the user's git stays as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

HOSTILE = """\
cat > evil.sh <<'END'
#!/bin/sh
echo "$0 $*" >> {canary}
cat
END
chmod +x evil.sh
git config core.fsmonitor "$PWD/evil.sh"
git config filter.evil.clean "$PWD/evil.sh"
git config filter.evil.smudge "$PWD/evil.sh"
git config filter.evil.process "$PWD/evil.sh"
git config filter.evil.required true
git config diff.external "$PWD/evil.sh"
git config diff.evil.textconv "$PWD/evil.sh"
git config core.hooksPath "$PWD/hooks"
git config core.sshCommand "$PWD/evil.sh"
git config core.pager "$PWD/evil.sh"
git config core.editor "$PWD/evil.sh"
git config credential.helper "$PWD/evil.sh"
git config alias.diff "!$PWD/evil.sh"
git config include.path "$PWD/more.gitconfig"
git config core.worktree /tmp
printf '* filter=evil diff=evil\\n' > .gitattributes
printf '[submodule "x"]\\n\\tpath = x\\n\\turl = ext::%s\\n\\tupdate = !%s\\n' "$PWD/evil.sh" "$PWD/evil.sh" > .gitmodules
mkdir -p hooks bin .git/hooks
for hook in pre-commit post-commit post-checkout post-index-change reference-transaction pre-auto-gc; do
  cp evil.sh hooks/$hook; cp evil.sh .git/hooks/$hook
done
cp evil.sh bin/git
mkdir nested && cp -r .git/. nested/.git
rm -f {canary}
echo worked > result.txt
"""

COMMANDS = [
    ("runs",),
    ("show", "last"),
    ("log", "last"),
    ("log", "verify", "last"),
    ("checkpoints", "last"),
    ("diff", "last", "0", "last"),
    ("where",),
    ("export", "last"),
    ("budget", "show"),
    ("protect", "last"),
    ("rollback", "last", "0"),
    ("spec", "check", "spec.md"),
]


@pytest.fixture
def hostile(runner, tmp_path):
    """A repository with staged, unstaged and untracked work in which an agent has just planted everything it knows."""
    runner.git("init", "-q")
    runner.write("a.txt", "first\n")
    runner.git("add", "-A")
    runner.git("commit", "-qm", "first")
    runner.write("a.txt", "second\n")
    runner.git("stash", "-q")
    runner.write("staged.txt", "staged\n")
    runner.git("add", "staged.txt")
    runner.write("a.txt", "unstaged\n")
    runner.write("untracked.txt", "untracked\n")
    canary = tmp_path / "canary"
    runner.write("spec.md", "---\nchecks: ['test -f result.txt']\n---\n# Work\n\nMake result.txt.\n")
    # in a file: as the text of a call the policy would refuse it
    runner.write("work.sh", HOSTILE.format(canary=canary))
    model = runner.recording(
        {"step": 1, "text": "", "tools": [{"name": "run", "arguments": {"argv": ["sh", "work.sh"]}}]},
        {"step": 2, "text": "", "tools": [{"name": "write_file", "arguments": {"path": "b.txt", "content": "b\n"}}]},
        {"otherwise": True, "text": "Done."},
    )
    done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (runner.cwd / "result.txt").exists()
    runner.env = {"PATH": f"{runner.cwd / 'bin'}:{runner.environ()['PATH']}"}
    return canary


def test_nothing_the_agent_planted_runs(runner, hostile):
    assert not hostile.exists(), hostile.read_text()
    before = _git_files(runner.cwd)
    for command in COMMANDS:
        done = runner(*command)
        assert not hostile.exists(), (command, hostile.read_text())
        assert done.returncode in {0, 1, 2}, (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert "No such command" not in done.stderr
        if command[0] != "export":
            assert _git_files(runner.cwd) == before, command
        before = _git_files(runner.cwd)


def _git_files(root: Path) -> dict[str, str]:
    paths = sorted(path for path in (root / ".git").rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_what_was_planted_would_run_under_plain_git(runner, hostile):
    """The control: the traps of this test are live ones."""
    import contextlib
    import subprocess

    for command in ("status", "add -A"):
        with contextlib.suppress(subprocess.TimeoutExpired):  # a filter that speaks no protocol may hang git
            subprocess.run(
                ["git", *command.split()],
                cwd=runner.cwd,
                env={**runner.environ(), "GIT_WORK_TREE": str(runner.cwd)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=15,
                check=False,
                start_new_session=True,
            )
        if hostile.exists():
            return
    pytest.fail("nothing that was planted ran")


def test_branch_index_stash_and_config_are_byte_identical_after_a_run(runner):
    runner.git("init", "-q")
    runner.write("a.txt", "first\n")
    runner.git("add", "-A")
    runner.git("commit", "-qm", "first")
    runner.write("a.txt", "second\n")
    runner.git("stash", "-q")
    runner.write("staged.txt", "staged\n")
    runner.git("add", "staged.txt")
    runner.write("a.txt", "unstaged\n")
    runner.write("spec.md", "---\nchecks: ['test -f b.txt']\n---\n# Work\n\nMake b.txt.\n")
    before = _git_files(runner.cwd)
    model = runner.recording(
        {"step": 1, "text": "", "tools": [{"name": "write_file", "arguments": {"path": "b.txt", "content": "b\n"}}]},
        {"otherwise": True, "text": "Done."},
    )
    assert runner("loop", "spec.md", "--model", model).returncode == 0
    assert _git_files(runner.cwd) == before
