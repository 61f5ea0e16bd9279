"""Directories that root lends to the user whom its commands run as."""

import os
from pathlib import Path

import pytest

from runner.app import belongings
from runner.app.lending import account, lend, lent
from runner.app.places import State
from runner.sandbox.enclosure import Enclosure

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends: run the tests as root")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_what_is_lent_can_be_reached_and_is_written_by_its_user_alone(state: State) -> None:
    place = state.run("20260101-000000-abcdef")
    user = account("nobody")
    lend(place.scratch)
    lend(place.home, user)
    try:
        before = [one.resolve() for one in (place.scratch, place.home)]
        found = [(one.stat().st_uid, one.stat().st_mode & 0o777) for one in before]
        assert found == [(0, 0o711), (user[0], 0o700)]
        lend(place.scratch)
        assert place.scratch.resolve() == before[0]
        assert sorted(lent(place.root)) == sorted(before)
    finally:
        belongings.forget_all(state)
    assert not any(one.exists() for one in before)


def test_what_was_cleaned_away_is_lent_anew(state: State) -> None:
    place = state.run("20260101-000000-abcdef")
    lend(place.scratch)
    place.scratch.resolve().rmdir()
    lend(place.scratch)
    assert place.scratch.is_dir()
    belongings.forget_all(state)


def test_handing_over_follows_no_link(tmp_path: Path) -> None:
    other, fresh = tmp_path / "other", tmp_path / "fresh"
    (fresh / "deep").mkdir(parents=True)
    (other / "folder").mkdir(parents=True)
    (other / "file").write_text("x")
    (fresh / "deep" / "file").write_text("x")
    (fresh / "to-file").symlink_to(other / "file")
    (fresh / "to-folder").symlink_to(other / "folder")
    uid, gid = account("nobody")
    Enclosure(user=(uid, gid)).hand_over(fresh)
    handed = (fresh, fresh / "deep", fresh / "deep" / "file", fresh / "to-file", fresh / "to-folder")
    assert {one.lstat().st_uid for one in handed} == {uid}
    assert {one.lstat().st_uid for one in (other, other / "file", other / "folder")} == {0}
