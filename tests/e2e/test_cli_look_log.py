"""The log on the command line: read, followed, checked and repaired."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest


def log_of(runner):
    return next(runner.state.glob("runs/*/log.jsonl"))


@pytest.fixture
def spoilt(ran, runner):
    """A copy of the state of `ran`, whose log a test may spoil."""
    shutil.copytree(ran.state, runner.state)
    return runner


def test_every_event_is_a_line_and_json_lines_are_the_stored_ones(ran):
    stored = log_of(ran).read_text()
    assert ran("log", "--json").stdout == stored
    shown = ran("log").stdout.splitlines()
    assert len(shown) == len(stored.splitlines())
    kinds = [json.loads(line)["kind"] for line in stored.splitlines()]
    assert [line.split()[2] for line in shown] == kinds
    assert "call 1.1.1" in ran("log", "last").stdout


def test_lines_the_file_does_not_hold_come_from_the_journal(spoilt):
    stored = log_of(spoilt).read_text()
    log_of(spoilt).unlink()
    assert spoilt("log", "--json").stdout == stored


def test_follow_ends_when_the_run_stands_still(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Wait\n\nWait.\n")
    wait = {
        "iteration": 1,
        "step": 1,
        "text": "",
        "tools": [{"name": "shell", "arguments": {"command": "touch up; while ! test -e go; do sleep 0.05; done"}}],
    }
    driver = runner.start("loop", "spec.md", "--model", runner.recording(wait, {"otherwise": True, "text": "x"}))
    until((runner.cwd / "up").exists)
    for_people, for_machines = runner.start("log", "--follow"), runner.start("log", "last", "--follow", "--json")
    assert "RunCreated" in for_people.stdout.readline()
    assert json.loads(for_machines.stdout.readline())["kind"] == "RunCreated"
    runner.write("go", "")
    last = for_people.communicate(timeout=60)[0].splitlines()[-1]
    assert " RunStopped " in last
    assert json.loads(for_machines.communicate(timeout=60)[0].splitlines()[-1])["kind"] == "RunStopped"
    driver.communicate(timeout=60)
    assert (driver.returncode, for_people.returncode, for_machines.returncode) == (0, 0, 0)


def until(true, seconds=30.0):
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def changed(lines):
    lines[3] = lines[3].replace("e", "f", 1)
    return lines, "broken at 4 (changed)"


def missing(lines):
    del lines[3]
    return lines, "broken at 4 (missing)"


def swapped(lines):
    lines[3], lines[4] = lines[4], lines[3]
    return lines, "broken at 4 (reordered)"


def cut(lines):
    return lines[:-2], f"tail cut after {len(lines) - 2}"


@pytest.mark.parametrize("spoil", [changed, missing, swapped, cut])
def test_verify_names_what_was_done_and_repairs_nothing_and_repair_does(spoilt, spoil):
    whole = log_of(spoilt).read_text()
    lines, name = spoil(whole.splitlines(keepends=True))
    log_of(spoilt).write_text("".join(lines))
    bad = log_of(spoilt).read_bytes()
    done = spoilt("log", "verify", "last")
    assert done.returncode == 1
    assert f"log: {name}" in done.stdout
    assert "journal: intact" in done.stdout
    assert spoilt.json("log", "verify", "--json")["intact"] is False
    assert log_of(spoilt).read_bytes() == bad

    mended = spoilt("log", "repair")
    assert mended.returncode == 0, mended.stderr
    assert spoilt("log", "verify").returncode == 0
    after = log_of(spoilt).read_text()
    assert after.startswith(whole)
    assert json.loads(after.splitlines()[-1])["kind"] == "LogRepaired"
    assert spoilt.json("show", "--json")["status"] == "ended"
    (kept,) = log_of(spoilt).parent.glob("log.jsonl.before-repair-*")
    assert json.loads(kept.read_text().splitlines()[0])["seq"] == 1


def test_an_intact_log_is_left_alone_by_repair(spoilt):
    before = log_of(spoilt).read_bytes()
    assert spoilt("log", "repair").returncode == 0
    assert log_of(spoilt).read_bytes() == before


def test_a_spoilt_journal_is_named_and_its_log_is_not_written_over(spoilt):
    connection = sqlite3.connect(spoilt.state / "runner.db")
    with connection:
        connection.execute("UPDATE event SET body = replace(body, 'Nothing', 'Anything') WHERE kind = 'CallSettled'")
    connection.close()
    before = log_of(spoilt).read_bytes()
    done = spoilt("log", "verify")
    assert (done.returncode, "journal: broken at" in done.stdout) == (1, True)
    refused = spoilt("log", "repair")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert log_of(spoilt).read_bytes() == before


def test_too_many_words_are_refused(ran):
    assert ran("log", "last", "last").returncode == 2
