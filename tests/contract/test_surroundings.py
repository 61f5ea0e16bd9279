"""Where names and paths of a call lead, on real files."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

import pytest

from runner.policy.facts import Facts, facts_of
from runner.tools.surroundings import WorkspaceSurroundings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for program in (tmp_path / "bin" / "tool", root / "tool"):
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return root


def around(root: Path, path: str = "") -> WorkspaceSurroundings:
    return WorkspaceSurroundings(root, {"PATH": path or str(root.parent / "bin"), "HOME": "/home/agent"})


def shell(root: Path, command: str) -> Facts:
    return facts_of("shell", {"command": command}, "commands", around(root))


def test_a_plain_name_leads_to_the_first_directory_of_path_that_has_it(root: Path) -> None:
    assert around(root).program("tool", ".") == (str(root.parent / "bin" / "tool"), False)
    assert around(root).program("nothing", ".") == ("", False)
    (root.parent / "bin" / "tool").chmod(0o644)
    if os.geteuid() != 0:
        assert around(root).program("tool", ".") == ("", False)


def test_a_program_of_the_workspace_is_inside_however_it_is_reached(root: Path) -> None:
    (root.parent / "bin" / "linked").symlink_to(root / "tool")
    inside = (str(root / "tool"), True)
    assert around(root).program("./tool", ".") == inside
    assert around(root).program("../tool", "sub") == inside
    assert around(root, str(root)).program("tool", ".") == inside
    assert around(root, ".").program("tool", ".") == inside
    assert around(root).program("linked", ".")[1]


def test_a_path_is_where_its_symbolic_links_lead(root: Path) -> None:
    (root / "out").symlink_to("/etc")
    (root / "in").symlink_to("sub")
    assert around(root).path("out/passwd", ".") == ("/etc/passwd", False)
    assert around(root).path("in/new.txt", ".") == ("sub/new.txt", True)
    assert around(root).path("../x", ".") == (str(root.parent / "x"), False)
    assert around(root).path(".", "sub") == ("sub", True)
    (root / "loop").symlink_to("loop")
    assert around(root).path("loop/x", ".")[1]


def test_paths_are_compared_in_one_normal_form(root: Path) -> None:
    composed = "caf\u00e9.txt"
    assert around(root).path(unicodedata.normalize("NFD", composed), ".") == (composed, True)


def test_a_digest_is_of_a_regular_file_and_nothing_is_waited_for(root: Path) -> None:
    (root / "a").write_text("a")
    os.mkfifo(root / "pipe")
    assert around(root).file_digest("a") == hashlib.sha256(b"a").hexdigest()
    assert around(root).file_digest("missing") == ""
    assert around(root).file_digest("sub") == ""
    assert around(root).file_digest("pipe") == ""
    assert around(root).file_digest("a\0b") == ""


def test_a_link_to_a_file_that_is_kept_from_tools_is_both_its_names(root: Path) -> None:
    (root / ".env").write_text("KEY=1")
    (root / "notes").symlink_to(".env")
    assert set(shell(root, "cat notes").reads) == {".env", "notes"}


def test_a_redirect_goes_by_every_directory_the_text_may_be_in(root: Path) -> None:
    facts = shell(root, "cd sub; echo x > a")
    assert set(facts.writes) == {"a", "sub/a"}
    facts = shell(root, "cd /etc && echo x > a")
    assert "/etc/a" in facts.outside
    assert (">", "/etc/a") in facts.redirects
