"""The log shows every event, hides keys, and any change of it has a name."""

import hashlib
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import RefusedError
from runner.events.codec import GENESIS, chain, encode
from runner.events.facts import (
    CallReleased,
    CallSettled,
    Event,
    IterationStarted,
    RunResumed,
    RunStopped,
    Stamped,
    ToolFinished,
    Warned,
    WorkspaceChanged,
)
from runner.log import Finding, Report, Row, RunLog, render, repair, row_of, verify
from runner.log.line import LONGEST_TEXT, sealed
from runner.secrets import Vault
from runner.values import CallId, Effect, Opaque, Reply, StopKind, Usage

RUN = "r1"
TEXT = st.text(max_size=60)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Warned, topic=TEXT, text=TEXT),
    st.builds(CallReleased, call=st.just(CallId(1, 2, 3)), reason=TEXT, retry_after_ms=st.none() | st.integers(0, 9)),
    st.builds(RunStopped, kind=st.sampled_from(StopKind), rule=TEXT, detail=TEXT),
    st.builds(WorkspaceChanged, paths=st.lists(TEXT, max_size=3).map(tuple)),
    st.builds(
        CallSettled,
        call=st.just(CallId(1, 2, 3)),
        usage=st.just(Usage(1, 2)),
        cost=st.just(3),
        reply=st.builds(
            Reply,
            text=TEXT,
            opaque=st.lists(
                st.builds(Opaque, provider=TEXT, chars=st.integers(0, 9), calls=st.just(0), data=TEXT), max_size=2
            ).map(tuple),
        ),
    ),
    st.builds(IterationStarted, iteration=st.integers(0, 99), system=TEXT, prompt=TEXT),
)


def journal(events: Sequence[Event]) -> list[Stamped]:
    """Chain events as the store does."""
    stamped: list[Stamped] = []
    prev = GENESIS
    for seq, event in enumerate(events, start=1):
        at = 1_700_000_000_000 + seq * 1_001
        digest = chain(run=RUN, seq=seq, at=at, kind=type(event).__name__, body=encode(event), prev=prev)
        stamped.append(Stamped(run=RUN, seq=seq, at=at, event=event, body=encode(event), prev=prev, hash=digest))
        prev = digest
    return stamped


STAMPED = journal([Warned(topic=f"t{number}", text=f"text {number}") for number in range(1, 9)])
ROWS = [row_of(one) for one in STAMPED]
HEAD = (len(ROWS), ROWS[-1].hash)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    written = RunLog(path, Vault({}))
    written.write(STAMPED)
    written.close()
    return path


def look(path: Path, rows: Sequence[Row] = ROWS, head: tuple[int, str] | None = HEAD) -> Report:
    before = path.read_bytes()
    report = verify(path, rows, head)
    assert path.read_bytes() == before, "verify repairs nothing"
    return report


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def after(seq: int) -> Iterator[Row]:
    return (row for row in ROWS if row.seq > seq)


# ---- what a line shows -----------------------------------------------------------------------------------


def test_a_line_is_json_with_the_place_and_the_fields_of_its_event() -> None:
    line = json.loads(render(ROWS[0]))
    digest = line.pop("sum")
    assert len(digest) == 64
    assert line == {
        "seq": 1,
        "at": "2023-11-14T22:13:21.001Z",
        "run": RUN,
        "kind": "Warned",
        "prev": GENESIS,
        "hash": ROWS[0].hash,
        "body": {"topic": "t1", "text": "text 1"},
        "v": 2,
    }


def test_the_form_of_a_line_changes_only_with_its_version() -> None:
    # If this differs, raise VERSION in runner/log/line.py: logs written before must still verify.
    event = ToolFinished(
        call_id="c1",
        name="run",
        text="Bearer " + "abcdefgh01234567 é",
        ok=True,
        effect=Effect.COMMANDS,
        left_behind=("a",),
    )
    row = row_of(journal([event])[0])
    older = render(row, version=1)
    assert render(row) == sealed(older.replace(b'"v":1', b'"v":2').rpartition(b',"sum"')[0] + b"}")
    assert older.decode() == (
        '{"seq":1,"at":"2023-11-14T22:13:21.001Z","run":"r1","kind":"ToolFinished","prev":"' + GENESIS + '",'
        '"hash":"8a9a5eee3e2e30d1f9ed6ad4d09a1c8232cb11a19d6c23d5dad93f43514051c6","body":{"artefact":"","call_id":"c1","effect":"commands","interrupted":false,"left_behind":["a"],'
        '"name":"run","ok":true,"seconds":0.0,"text":"Bearer [masked:bearer] é"},"v":1,"sum":"26a8cf3d0e4c400b510d61b8c760157587429b10420a7ada0ce77f893d769912"}\n'
    )


def test_lines_of_an_older_version_are_compared_with_what_was_written_then(log: Path) -> None:
    old = b"".join(render(row, version=1) for row in ROWS[:4])
    log.write_bytes(old + b"".join(lines(log)[4:]))
    report = look(log)
    assert report.ok
    assert report.notes == ()
    forged = sealed(render(ROWS[3], version=1).replace(b"text 4", b"text 5").rpartition(b',"sum"')[0] + b"}")
    whole = lines(log)
    log.write_bytes(b"".join([*whole[:3], forged, *whole[4:]]))
    assert str(look(log).log).startswith("log: broken at 4 (changed)")


THOUGHT = '{"signature":"EqQBCgIYAhIM","thinking":"The user wants more.","type":"thinking"}'


def test_blocks_only_a_provider_can_read_are_left_out_of_the_log_and_kept_in_the_journal() -> None:
    reply = Reply(
        text='it said "opaque":[{"data":"x"}] and went on',
        opaque=(Opaque(provider="anthropic", chars=0, calls=0, data=THOUGHT),),
    )
    settled = CallSettled(call=CallId(1, 1, 1), usage=Usage(1, 1), cost=1, reply=reply)
    row = row_of(journal([settled])[0])
    assert json.dumps(THOUGHT)[1:-1] in row.body
    line = render(row)
    assert b"EqQBCgIYAhIM" not in line
    assert b"The user wants" not in line
    shown = json.loads(line)["body"]["reply"]
    assert shown["text"] == reply.text
    digest = hashlib.sha256(THOUGHT.encode()).hexdigest()
    assert shown["opaque"] == [
        {
            "provider": "anthropic",
            "chars": 0,
            "calls": 0,
            "data": f"[left out: {len(THOUGHT)} characters, sha256 {digest}]",
        }
    ]
    assert chain(run=row.run, seq=1, at=row.at, kind=row.kind, body=row.body, prev=row.prev) == row.hash


def test_long_text_is_cut_with_its_digest_and_long_lists_are_counted() -> None:
    events: list[Event] = [
        IterationStarted(iteration=1, system="s", prompt="x" * (LONGEST_TEXT + 5)),
        WorkspaceChanged(paths=tuple(str(number) for number in range(1_000))),
    ]
    prompt, paths = (json.loads(render(row_of(one)))["body"] for one in journal(events))
    assert prompt["prompt"].startswith("x" * LONGEST_TEXT + "… [5 more characters, sha256 ")
    assert len(paths["paths"]) == 201
    assert paths["paths"][-1] == "… 800 more"


def test_a_key_cut_by_the_bound_is_masked_first() -> None:
    key = "ghp_" + "a1" * 18
    event = Warned(topic="t", text="y" * (LONGEST_TEXT - 10) + " " + key)
    assert b"ghp_" not in render(row_of(journal([event])[0]))


def test_a_known_secret_never_reaches_the_file(tmp_path: Path) -> None:
    stamped = journal([Warned(topic="t", text="it is opensesame42")])
    written = RunLog(tmp_path / "log", Vault({"DOOR": "opensesame42"}))
    written.write(stamped)
    assert "opensesame42" not in (tmp_path / "log").read_text()
    assert "[secret:DOOR]" in (tmp_path / "log").read_text()
    report = verify(tmp_path / "log", [row_of(stamped[0])], (1, stamped[0].hash))
    assert report.ok
    assert "had a secret masked" in report.notes[0]


def test_the_file_is_the_users_alone_and_the_mirror_gets_the_same_lines(tmp_path: Path) -> None:
    seen: list[str] = []
    written = RunLog(tmp_path / "log", Vault({}), mirror=seen.append)
    written.write(STAMPED)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    assert "".join(seen).encode() == (tmp_path / "log").read_bytes()


def test_an_unknown_kind_and_unknown_fields_are_shown_as_stored() -> None:
    row = replace(ROWS[0], kind="FromTheFuture", body='{"new":{"deep":[1,"two"]}}')
    assert json.loads(render(row))["body"] == {"new": {"deep": [1, "two"]}}


# ---- verify ----------------------------------------------------------------------------------------------


def test_an_untouched_log_is_intact(log: Path) -> None:
    report = look(log)
    assert report.ok
    assert (str(report.journal), str(report.log), report.events, report.next) == (
        "journal: intact",
        "log: intact",
        8,
        "",
    )


def swap(all_lines: list[bytes]) -> list[bytes]:
    all_lines[2], all_lines[3] = all_lines[3], all_lines[2]
    return all_lines


DAMAGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "changed byte": (lambda a: [*a[:3], a[3].replace(b"text 4", b"test 4"), *a[4:]], "broken at 4 (changed), line 4"),
    "changed byte, sum made to fit": (
        lambda a: [*a[:3], sealed(a[3].replace(b"text 4", b"test 4").rpartition(b',"sum"')[0] + b"}"), *a[4:]],
        "broken at 4 (changed), line 4",
    ),
    "deleted line": (lambda a: [*a[:3], *a[4:]], "broken at 4 (missing), line 4"),
    "deleted first line": (lambda a: a[1:], "broken at 1 (missing), line 1"),
    "two deleted lines": (lambda a: [*a[:3], *a[5:]], "broken at 4 (missing), line 4"),
    "swapped pair": (swap, "broken at 3 (reordered), line 3"),
    "moved to the end": (lambda a: [a[0], *a[2:], a[1]], "broken at 2 (reordered), line 2"),
    "repeated line": (lambda a: [*a[:3], a[2], *a[3:]], "broken at 4 (reordered), line 4"),
    "repeated at the end": (lambda a: [*a, a[7]], "broken at 8 (reordered), line 9"),
    "cut tail": (lambda a: a[:-2], "tail cut after 6, line 6"),
    "torn last line": (lambda a: [*a[:-1], a[-1][:40]], "tail cut after 7, line 8"),
    "no last newline": (lambda a: [*a[:-1], a[-1][:-1]], "tail cut after 7, line 8"),
    "empty file": (lambda _: [], "tail cut after 0"),
    "lines nobody recorded": (lambda a: [*a, a[7].replace(b'"seq":8', b'"seq":9')], "unanchored tail from 9, line 9"),
    "inserted line": (lambda a: [*a[:3], b"{}\n", *a[3:]], "broken at 4 (changed), line 4"),
    "empty line": (lambda a: [*a[:3], b"\n", *a[3:]], "broken at 4 (changed), line 4"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_each_damage_of_the_log_has_its_name(
    log: Path, damage: Callable[[list[bytes]], list[bytes]], expected: str
) -> None:
    log.write_bytes(b"".join(damage(lines(log))))
    report = look(log)
    assert str(report.log).startswith(f"log: {expected}")
    assert report.journal.ok
    assert "runner log repair" in report.next


def test_a_log_that_is_gone_is_a_cut_tail(tmp_path: Path) -> None:
    assert verify(tmp_path / "none", ROWS, HEAD).log.result == "tail cut"


def test_a_log_behind_a_driver_at_work_is_only_late(log: Path) -> None:
    log.write_bytes(b"".join(lines(log)[:-2]))
    report = verify(log, ROWS, HEAD, live=True)
    assert report.ok
    assert report.notes == ("the log ends 2 events before the journal: the run is at work",)


def changed(row: Row, *, rehash: bool) -> Row:
    body = row.body.replace("text", "tent")
    digest = chain(run=RUN, seq=row.seq, at=row.at, kind=row.kind, body=body, prev=row.prev) if rehash else row.hash
    return replace(row, body=body, hash=digest)


JOURNALS: dict[str, tuple[list[Row], tuple[int, str], str]] = {
    "changed": ([*ROWS[:3], changed(ROWS[3], rehash=False), *ROWS[4:]], HEAD, "broken at 4 (changed)"),
    "changed and hashed anew": ([*ROWS[:3], changed(ROWS[3], rehash=True), *ROWS[4:]], HEAD, "broken at 4 (changed)"),
    "last one hashed anew": ([*ROWS[:7], changed(ROWS[7], rehash=True)], HEAD, "broken at 8 (changed)"),
    "deleted": ([*ROWS[:3], *ROWS[4:]], HEAD, "broken at 4 (missing)"),
    "first deleted": (ROWS[1:], HEAD, "broken at 1 (missing)"),
    "swapped": ([ROWS[1], ROWS[0], *ROWS[2:]], HEAD, "broken at 1 (missing)"),
    "repeated": ([*ROWS[:3], ROWS[2], *ROWS[3:]], HEAD, "broken at 4 (reordered)"),
    "tail cut": (ROWS[:5], HEAD, "tail cut after 5"),
    "all cut": ([], HEAD, "tail cut after 0"),
    "more than the head knows": (ROWS, (6, ROWS[5].hash), "unanchored tail from 7"),
}


@pytest.mark.parametrize(("rows", "head", "expected"), JOURNALS.values(), ids=JOURNALS)
def test_each_damage_of_the_journal_has_its_name(
    log: Path, rows: list[Row], head: tuple[int, str], expected: str
) -> None:
    report = look(log, rows, head)
    assert str(report.journal).startswith(f"journal: {expected}")
    assert "backup" in report.next


def test_a_body_that_is_no_json_is_named_and_breaks_nothing(log: Path) -> None:
    report = look(log, [*ROWS[:3], replace(ROWS[3], body="{"), *ROWS[4:]])
    assert (report.journal.how, report.journal.seq, report.log.how) == ("changed", 4, "changed")


def of_another_version(line: bytes, text: bytes = b"text") -> bytes:
    return sealed(line.replace(b'"v":2', b'"v":0').replace(b"text 4", text + b" 4").rpartition(b',"sum"')[0] + b"}")


def test_a_line_of_another_version_counts_by_its_place_and_sum(log: Path) -> None:
    whole = lines(log)
    old = of_another_version(whole[3], b"shown otherwise")
    log.write_bytes(b"".join([*whole[:3], old, *whole[4:]]))
    report = look(log)
    assert report.ok
    assert report.notes[0].startswith("1 lines were written by another version")
    log.write_bytes(b"".join([*whole[:3], old.replace(b"otherwise", b"other ise"), *whole[4:]]))
    assert str(look(log).log).startswith("log: broken at 4 (changed)")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, min_size=1, max_size=5), data=st.data())
def test_what_was_written_is_intact_and_any_flipped_bit_is_found(
    tmp_path: Path, events: list[Event], data: st.DataObject
) -> None:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    stamped = journal(events)
    RunLog(path, Vault({})).write(stamped)
    rows, head = [row_of(one) for one in stamped], (len(stamped), stamped[-1].hash)
    whole = path.read_bytes()
    assert verify(path, rows, head).ok
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[at] ^ (1 << data.draw(st.integers(0, 7)))
    path.write_bytes(whole[:at] + bytes([flipped]) + whole[at + 1 :])
    report = verify(path, rows, head)
    assert report.journal.ok
    assert not report.log.ok
    path.write_bytes(whole[:at])
    assert verify(path, rows, head).log.result == "tail cut"


# ---- a disk that refuses, a kill in mid-write ------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond a size: the write is cut in the middle of a line, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_nothing_and_the_log_catches_up(tmp_path: Path, small_disk: Callable[[int], None]) -> None:
    said: list[str] = []
    path = tmp_path / "log"
    written = RunLog(path, Vault({}), say=said.append)
    written.write(STAMPED[:2])
    small_disk(path.stat().st_size + 100)
    written.write(STAMPED[2:4])
    written.write(STAMPED[4:6])
    small_disk(resource.RLIM_INFINITY)
    assert lines(path) == [render(row) for row in ROWS[:2]], "no half line stays"
    was_behind = written.behind
    assert len(said) == 1
    assert "the run goes on" in said[0]
    written.write(STAMPED[6:])
    assert (was_behind, written.behind) == (True, False)
    assert look(path).ok


def test_a_log_without_a_folder_is_said_once_and_written_at_the_next_start(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "gone" / "log"
    written = RunLog(path, Vault({}), say=said.append)
    for one in STAMPED:
        written.write([one])
    written.close()
    assert len(said) == 1
    path.parent.mkdir()
    assert RunLog(path, Vault({})).catch_up(after, 8) is None
    assert look(path).ok


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_torn_last_line_is_repaired_at_the_next_start_and_reported(log: Path, cut: int) -> None:
    os.truncate(log, log.stat().st_size - cut)
    found = RunLog(log, Vault({})).catch_up(after, 8)
    assert found is not None
    assert found.reason == "the last line was incomplete"
    assert found.first_bad_line in {7, 8}
    assert look(log).ok


def test_missing_lines_are_added_without_a_repair(log: Path) -> None:
    log.write_bytes(b"".join(lines(log)[:5]))
    assert RunLog(log, Vault({})).catch_up(after, 8) is None
    assert look(log).ok


def test_lines_of_events_lost_with_the_power_are_set_aside(log: Path) -> None:
    kept, lost = lines(log)[:6], lines(log)[6:]
    written = RunLog(log, Vault({}))
    found = written.catch_up(lambda seq: (row for row in ROWS[:6] if row.seq > seq), 6)
    assert found is not None
    assert found.first_bad_line == 7
    assert lines(log) == kept
    assert lines(log.with_name("run.jsonl.unanchored")) == lost


def test_other_damage_is_left_for_verify_to_name(log: Path) -> None:
    whole = lines(log)
    damaged = [*whole[:2], whole[2].replace(b"text", b"tent"), *whole[3:6]]
    log.write_bytes(b"".join(damaged))
    assert RunLog(log, Vault({})).catch_up(after, 8) is None
    assert lines(log) == [*damaged, *whole[6:]]
    assert str(look(log).log).startswith("log: broken at 3 (changed), line 3")


def test_repair_writes_the_log_anew_from_an_intact_journal(log: Path) -> None:
    log.write_bytes(b"nonsense")
    found = repair(log, ROWS, HEAD, first_bad_line=1)
    assert found.first_bad_line == 1
    assert look(log).ok
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert [path.name for path in log.parent.iterdir()] == ["run.jsonl"]


def test_repair_refuses_a_journal_that_is_not_intact(log: Path) -> None:
    before = log.read_bytes()
    with pytest.raises(RefusedError, match="tail cut after 5"):
        repair(log, ROWS[:5], HEAD)
    assert log.read_bytes() == before
    assert [path.name for path in log.parent.iterdir()] == ["run.jsonl"]


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "log").symlink_to(target)
    said: list[str] = []
    RunLog(tmp_path / "log", Vault({}), say=said.append).write(STAMPED)
    assert target.read_text() == "mine"
    assert len(said) == 1


def test_a_finding_reads_as_a_sentence() -> None:
    assert str(Finding(where="log", result="intact")) == "log: intact"


def test_resumed_events_and_stored_rows_render_alike() -> None:
    stamped = journal([RunResumed(epoch=2, pid=1, boot_id="b")])[0]
    row = row_of(stamped)
    assert msgspec.json.decode(render(row))["hash"] == stamped.hash
