"""What an answer is bound to: every part of the call, and every file of the workspace that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.app.asking import Asking
from runner.policy.action import differing
from runner.policy.facts import facts_of
from runner.ports import Judged
from runner.tools.surroundings import WorkspaceSurroundings
from runner.values import Decision, Gate, Ruling

YOU = Gate(id="you", allow_self=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "deploy.sh").write_text("echo one\n")
    (tmp_path / "notes.txt").write_text("a\nb\n")
    return tmp_path


def asked(root: Path, tool: str, arguments: dict[str, object], *, gate: Gate = YOU, tree: str = "t1") -> Judged:
    around = WorkspaceSurroundings(root, {"PATH": "/usr/bin:/bin"})
    asking = Asking(
        gates={gate.id: gate},
        around=around,
        root=root,
        schemas={tool: {"type": "object"}},
        environment=("PATH",),
        sandbox="bubblewrap",
        tree=lambda: tree,
        mask=lambda text: text.replace("s3cret", "***"),
    )
    effect = "commands" if tool in {"run", "shell"} else "writes"
    decision = Decision(ruling=Ruling.ASK, policy="p", gates=(gate.id,))
    return asking.judged(decision, facts_of(tool, arguments, effect, around))


WRITE: dict[str, object] = {"path": "notes.txt", "content": "a\nc s3cret\n"}
COMMANDS: list[tuple[str, dict[str, object]]] = [
    ("run", {"argv": ["scripts/deploy.sh", "prod"]}),
    ("run", {"argv": ["bash", "./scripts/deploy.sh"]}),
    ("run", {"argv": ["./deploy.sh"], "cwd": "scripts"}),
    ("run", {"argv": ["python3", "--file=scripts/deploy.sh"]}),
    ("shell", {"command": "sh scripts/deploy.sh && echo done"}),
    ("shell", {"command": 'for x in 1 2; do sh "scripts/deploy.sh" $x; done'}),
    ("shell", {"command": "cat < scripts/deploy.sh | sh"}),
    ("shell", {"command": "echo $(sh scripts/deploy.sh)"}),
]


@pytest.mark.parametrize(("tool", "arguments"), COMMANDS)
def test_one_byte_of_a_file_that_a_command_names_is_another_action(
    root: Path, tool: str, arguments: dict[str, object]
) -> None:
    before = asked(root, tool, arguments)
    assert asked(root, tool, arguments).decision.action == before.decision.action
    (root / "scripts" / "deploy.sh").write_text("echo onf\n")
    after = asked(root, tool, arguments)
    assert after.decision.action != before.decision.action
    assert differing(before.bound, after.bound) == ("file scripts/deploy.sh",)


def test_the_file_behind_a_link_counts(root: Path) -> None:
    (root / "link.sh").symlink_to("scripts/deploy.sh")
    before = asked(root, "run", {"argv": ["sh", "link.sh"]})
    (root / "scripts" / "deploy.sh").write_text("echo two\n")
    assert asked(root, "run", {"argv": ["sh", "link.sh"]}).decision.action != before.decision.action


def test_a_file_that_is_there_later_is_another_action(root: Path) -> None:
    before = asked(root, "run", {"argv": ["sh", "later.sh"]})
    (root / "later.sh").write_text("echo here\n")
    assert asked(root, "run", {"argv": ["sh", "later.sh"]}).decision.action != before.decision.action


def test_what_a_writing_tool_would_replace_is_bound_and_shown(root: Path) -> None:
    before = asked(root, "write_file", WRITE)
    assert before.diff.split("\n")[3:] == [" a", "-b", "+c ***", " "]
    assert "s3cret" not in before.shown
    edit = asked(root, "edit_file", {"path": "notes.txt", "old": "b", "new": "c"})
    assert edit.diff.split("\n")[3:] == [" a", "-b", "+c", " "]
    (root / "notes.txt").write_text("a\nB\n")
    assert asked(root, "write_file", WRITE).decision.action != before.decision.action


def test_a_gate_may_bind_the_whole_tree(root: Path) -> None:
    whole = replace(YOU, bind="tree")
    argv: dict[str, object] = {"argv": ["make", "release"]}
    first, second = (asked(root, "run", argv, gate=whole, tree=tree) for tree in ("t1", "t2"))
    assert differing(first.bound, second.bound) == ("tree",)
    alike = (asked(root, "run", argv, tree=tree).decision.action for tree in ("t1", "t2"))
    assert len(set(alike)) == 1


def test_more_words_than_anybody_can_look_at_are_not_asked_about(root: Path) -> None:
    with pytest.raises(ValueError, match="too many words"):
        asked(root, "run", {"argv": ["echo", *(f"w{number}" for number in range(3_000))]})
