"""`runner audit`: a whole record is intact, any hand in it is named, and an export says who, what, and by which rule."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Runner


@pytest.fixture
def copy(ran: Runner, tmp_path: Path) -> Runner:
    """The shared run's state directory, to be spoiled."""
    shutil.copytree(ran.state, tmp_path / "state")
    return Runner(cwd=ran.cwd, state=tmp_path / "state")


def sql(runner: Runner, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(runner.state / "runner.db")
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def rewritten(runner: Runner, kind: str, change: Callable[[dict[str, object]], object]) -> int:
    """Change the first event of a kind, and everything after it so that chain, head and log fit again."""
    from runner.events.codec import GENESIS, chain

    head, changed = GENESIS, 0
    (run,) = sql(runner, "SELECT run FROM event LIMIT 1")[0]
    rows = sql(runner, "SELECT seq, at, kind, body FROM event WHERE run = ? ORDER BY seq", run)
    for seq, at, name, body in rows:
        assert isinstance(seq, int)
        assert isinstance(at, int)
        text = str(body)
        if name == kind and not changed:
            document = json.loads(text)
            change(document)
            text, changed = json.dumps(document, separators=(",", ":"), sort_keys=True), seq
        own = chain(run=str(run), seq=seq, at=at, kind=str(name), body=text, prev=head)
        sql(
            runner, "UPDATE event SET body = ?, prev = ?, hash = ? WHERE run = ? AND seq = ?", text, head, own, run, seq
        )
        head = own
    sql(runner, "UPDATE run SET head_hash = ? WHERE id = ?", head, run)
    assert runner("log", "repair").returncode == 0
    return changed


def test_a_whole_record_is_intact_and_says_what_it_cannot_show(ran: Runner):
    done = ran("audit", "verify")
    assert done.returncode == 0, done.stdout
    assert "1 run, " in done.stdout
    assert ": intact\n" in done.stdout
    assert "a record rewritten as a whole would not be seen" in done.stdout


def test_an_event_that_was_changed_is_named(copy: Runner):
    sql(copy, "UPDATE event SET body = replace(body, 'out.txt', 'our.txt') WHERE kind = 'ToolStarted'")
    done = copy("audit", "verify")
    assert done.returncode == 1
    assert "NOT intact" in done.stdout
    assert "journal: broken at" in done.stdout


def test_a_tool_that_nobody_decided_is_named_though_the_chain_fits(copy: Runner):
    seq = rewritten(copy, "ToolStarted", lambda body: body.update(decision=None))
    done = copy("audit", "verify")
    assert done.returncode == 1, done.stdout
    assert f"event {seq}: write_file started and nobody decided it" in done.stdout


def test_a_tool_that_started_on_no_approval_is_named(copy: Runner):
    def ask(body: dict[str, object]) -> None:
        decision = body["decision"]
        assert isinstance(decision, dict)
        decision["ruling"] = "ask"

    rewritten(copy, "ToolStarted", ask)
    done = copy("audit", "verify")
    assert done.returncode == 1
    assert "write_file started, though it was not approved" in done.stdout


def test_a_start_while_everything_was_stopped_is_named(copy: Runner):
    (at,) = sql(copy, "SELECT at FROM event WHERE kind = 'ToolStarted' ORDER BY seq")[0]
    assert isinstance(at, int)
    values = (at - 1, "alice", "", at + 1, "bob")
    sql(copy, 'INSERT INTO halted (at, "by", why, lifted, lifted_by) VALUES (?, ?, ?, ?, ?)', *values)
    done = copy("audit", "verify")
    assert done.returncode == 1
    assert "it began while everything was stopped" in done.stdout


def test_a_record_rewritten_as_a_whole_is_seen_against_an_earlier_result(copy: Runner, tmp_path: Path):
    kept = tmp_path / "kept.json"
    kept.write_text(copy("audit", "verify", "--json").stdout)
    done = copy("audit", "verify", "--against", str(kept))
    assert done.returncode == 0
    assert "0 events came since" in done.stdout

    rewritten(copy, "Warned", lambda body: body.update(text="nothing to see"))
    assert copy("audit", "verify").returncode == 0
    done = copy("audit", "verify", "--against", str(kept))
    assert done.returncode == 1
    assert "it is not what it was when this head was taken" in done.stdout

    kept.write_text('{"heads": [{"run": 1}]}')
    assert copy("audit", "verify", "--against", str(kept)).returncode == 2


def exported(runner: Runner, *words: str) -> list[dict[str, object]]:
    done = runner("audit", "export", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_export_names_agent_owner_and_rule_of_every_tool(ran: Runner):
    records = exported(ran)
    kinds = {record["event"] for record in records}
    assert {"run.created", "tool.started", "tool.finished", "call.settled", "checks.finished", "run.stopped"} <= kinds
    for record in records:
        if record["event"] == "tool.started":
            assert record["tool"] == "write_file"
            assert record["decision"] == "allow"
            assert str(record["agent"]).startswith("builtin ")
            assert "(uid " in str(record["owner"])
            assert record["approver"] == ""
            assert all(record[name] for name in ("rule", "place", "policy", "action", "hash", "at"))
    assert "sk-ant-REDACTED0123456789" not in json.dumps(records)


def test_an_export_holds_what_happened_between_two_moments(ran: Runner):
    every = exported(ran)
    middle = str(every[len(every) // 2]["at"])
    before, after = exported(ran, "--to", middle), exported(ran, "--from", middle)
    assert before + after == every
    assert before
    assert exported(ran, "--to", "2001-01-01") == []
    for words in (("--from", "yesterday"), ("--to", "2026-13-01"), ("--format", "xml")):
        assert ran("audit", "export", *words).returncode == 2


def test_a_table_for_a_spreadsheet_has_the_same_records_and_no_formula(copy: Runner):
    insert = 'INSERT INTO halted (at, "by", why, lifted, lifted_by) VALUES (1, ?, ?, 2, ?)'
    sql(copy, insert, "alice", "=HYPERLINK(1)\nnext", "@bob")
    rows = list(csv.DictReader(io.StringIO(copy("audit", "export", "--format", "csv").stdout)))
    assert [(row["event"], row["approver"], row["detail"]) for row in rows[:2]] == [
        ("starts.blocked", "alice", "'=HYPERLINK(1)\nnext"),
        ("starts.allowed", "'@bob", ""),
    ]
    records = exported(copy)
    assert len(rows) == len(records)
    assert list(rows[0]) == list(records[0])


def test_a_file_that_is_there_is_not_written_over(ran: Runner, tmp_path: Path):
    file = tmp_path / "out.jsonl"
    assert ran("audit", "export", "--out", str(file)).returncode == 0
    kept = file.read_bytes()
    assert kept
    assert ran("audit", "export", "--out", str(file)).returncode == 2
    assert file.read_bytes() == kept


def test_a_run_that_was_cleaned_away_leaves_no_silent_gap(copy: Runner):
    assert copy("clean", "--older-than", "0d", "--yes").returncode == 0
    (record,) = exported(copy)
    assert (record["event"], bool(record["hash"])) == ("run.forgotten", True)
    assert copy("audit", "verify").returncode == 0
