"""Which walls a run gets, and what happens where there are none: asked once at a terminal, else refused with the fix."""

import os
import shutil
from pathlib import Path

import pytest

from runner import config
from runner.app import walls
from runner.config import Flags, policies
from runner.errors import ConfigError
from runner.policy.book import SandboxRules
from runner.sandbox import bubblewrap
from runner.sandbox import walls as backends
from runner.sandbox.plan import Plan
from tests.contract.walled import BWRAP, needs_bubblewrap

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has Landlock")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH without bubblewrap."""
    place = tmp_path / "bare"
    place.mkdir()
    (place / "true").symlink_to(shutil.which("true") or "/bin/true")
    return place


def settings(tmp_path: Path, path: Path | str, said: str | None = None) -> config.Settings:
    environ = {"PATH": str(path), "HOME": str(tmp_path), "RUNNER_CONFIG": str(tmp_path / "none.toml")}
    (tmp_path / "none.toml").touch()
    return config.load(environ, flags=Flags(sandbox=said))


def choose(tmp_path: Path, path: Path | str, said: str | None = None, rules: SandboxRules | None = None, **more):
    return walls.choose(
        settings(tmp_path, path, said), rules or SandboxRules(), tmp_path, **{"recorded": False, **more}
    )


@needs_bubblewrap
def test_bubblewrap_is_taken_where_it_works_and_nothing_is_said(tmp_path):
    choice = choose(tmp_path, BWRAP.parent)
    assert (choice.name, choice.walled, choice.notes) == ("bubblewrap", True, ())
    assert choice.sandboxed(SandboxRules())


@ROOT_ONLY
def test_root_without_bubblewrap_is_refused_with_the_fix(tmp_path, bare):
    with pytest.raises(ConfigError) as refused:
        choose(tmp_path, bare)
    assert refused.value.exit_code == 2
    assert "bubblewrap: it is not installed; Landlock" in refused.value.message
    assert "apt install bubblewrap" in refused.value.hint
    assert "--sandbox none" in refused.value.hint


@ROOT_ONLY
def test_somebody_at_the_terminal_is_asked_and_their_no_is_a_refusal(tmp_path, bare):
    asked: list[str] = []

    def answer(word: bool):
        def ask(question: str) -> bool:
            asked.append(question)
            return word

        return ask

    with pytest.raises(ConfigError):
        choose(tmp_path, bare, ask=answer(False))
    choice = choose(tmp_path, bare, ask=answer(True))
    assert len(asked) == 2
    assert "as this user, with its network and HOME" in asked[0]
    assert [topic for topic, _ in choice.notes] == ["unsandboxed", walls.ACCEPTED]


@ROOT_ONLY
def test_a_run_that_was_accepted_without_a_sandbox_is_not_asked_again(tmp_path, bare):
    assert choose(tmp_path, bare, accepted=True).name == "none"


@ROOT_ONLY
def test_recorded_commands_run_without_a_sandbox_and_it_is_said(tmp_path, bare):
    choice = choose(tmp_path, bare, recorded=True)
    assert choice.notes == (("unsandboxed", "unsandboxed: recorded commands only"),)
    assert choice.sandboxed(SandboxRules())


def test_none_is_the_users_word_and_counts_where_the_policy_takes_it(tmp_path, bare):
    choice = choose(tmp_path, bare, "none")
    assert (choice.name, choice.notes) == ("none", (("unsandboxed", walls.UNSANDBOXED),))
    assert not choice.sandboxed(policies.load("overnight", environ={}).sandbox)
    assert choice.sandboxed(policies.load("default", environ={}).sandbox)


@pytest.mark.parametrize("more", [{}, {"recorded": True}, {"accepted": True}, {"ask": lambda _: True}])
@ROOT_ONLY
def test_a_policy_that_requires_a_sandbox_takes_nobodys_word_for_it(tmp_path, bare, more):
    for said in (None, "none"):
        with pytest.raises(ConfigError):
            choose(tmp_path, bare, said, SandboxRules(required=True), **more)


@ROOT_ONLY
def test_a_backend_that_was_named_and_is_not_there_is_replaced_by_none(tmp_path, bare):
    for said in ("bubblewrap", "landlock"):
        with pytest.raises(ConfigError):
            choose(tmp_path, bare, said, recorded=True, ask=lambda _: True)


def test_a_policy_says_which_backends_count(tmp_path, bare):
    with pytest.raises(ConfigError, match=r"no sandbox but landlock, and flag says bubblewrap"):
        choose(tmp_path, bare, "bubblewrap", SandboxRules(backends=("landlock",)))


def test_a_program_in_the_workspace_is_not_taken_for_bubblewrap(tmp_path):
    inside = tmp_path / "node_modules" / ".bin"
    inside.mkdir(parents=True)
    (inside / "bwrap").write_text("#!/bin/sh\nexit 0\n")
    (inside / "bwrap").chmod(0o755)
    linked = tmp_path.parent / f"{tmp_path.name}-links"
    linked.mkdir()
    (linked / "bwrap").symlink_to(inside / "bwrap")
    for path in (inside, linked, "node_modules/.bin"):
        assert bubblewrap.find(str(path), outside=tmp_path) is None


def test_a_bubblewrap_that_fails_here_says_why_in_its_own_words(tmp_path):
    broken = tmp_path / "bin" / "bwrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    plan = Plan(workspace=tmp_path / "work", user_home=tmp_path)
    found = backends.choose(plan, str(broken.parent), ("bubblewrap",))
    assert (found.name, found.missing) == ("none", "bubblewrap: bwrap: No permissions to create new namespace")
