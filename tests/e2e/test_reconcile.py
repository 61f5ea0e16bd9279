"""`runner budget unknown` and `reconcile`: evidence lowers what a lost call counts for, nothing else does."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from runner.app import evidence
from runner.app.places import State
from runner.errors import ConfigError
from runner.events.facts import CallSettled, CallUnknown, IterationStarted, RunCreated
from runner.models.recording import Recording
from runner.store import journal, ledger
from runner.store.lease import Lease
from runner.store.recorder import create_run, take_over
from runner.testing.fakes import FakeClock
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import CallId, Limits, Period, Scope, ScopeKind
from tests.contract.store_parts import dispatch, settled
from tests.e2e.test_cli_look_json import DOCUMENTED

NOW = int(time.time() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR
BEGAN = NOW - 3 * DAY
MODEL = "openai/gpt-5"
USER = Scope(ScopeKind.USER, "u")


def utc(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat()


@pytest.fixture
def lost(runner) -> State:
    """Three days ago: a call that cost 20 nano-dollars, and two lost ones that count with 112 each."""
    state = State(runner.state)
    with closing(state.open()) as database:
        clock = FakeClock(at=BEGAN, step_ms=1)
        created = RunCreated(
            run="r1",
            spec_path="spec.md",
            spec_key="k",
            spec_text="",
            workspace=str(runner.cwd),
            origin=str(runner.cwd),
            worktree=False,
            model=MODEL,
            prices_digest="d",
            scopes=(Scope(ScopeKind.RUN, "r1"), USER),
            limits=Limits(usd=10_000),
        )
        recorder = create_run(database, created, clock)
        take_over(recorder, MODEL)
        recorder.record(IterationStarted(iteration=1, system="", prompt=""))
        for step in (1, 2, 3):
            recorder.record(replace(dispatch(step), model=MODEL))
            if step == 1:
                recorder.record(settled(step))
            else:
                recorder.record(CallUnknown(call=CallId(1, step, 1), reason="dropped", request_id=f"req-{step}"))
    return state


def counted(state: State) -> tuple[int, int]:
    """What the user's budget counts as spent, and as unknown."""
    with closing(state.open()) as database, database.transaction(durable=False) as tx:
        (row,) = [one for one in ledger.budgets(tx, [USER], NOW) if one.period is Period.TOTAL]
        return row.spent, row.unknown


def reconcile(runner, text: str, *, code: int = 0):
    path = runner.write("usage.csv", text)
    done = runner("budget", "reconcile", "--from", str(path), "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def window(cost: str, *, start: int = BEGAN - HOUR, end: int = BEGAN + 2 * HOUR, model: str = MODEL) -> str:
    return f"start,end,model,cost_usd\n{utc(start)},{utc(end)},{model},{cost}\n"


def test_lost_calls_are_listed_with_what_they_count_for(runner, lost):
    found = json.loads(runner("budget", "unknown", "--json").stdout)
    assert [(one["call"], one["unknown_nano_usd"], one["request_id"]) for one in found] == [
        ("1.2.1", 112, "req-2"),
        ("1.3.1", 112, "req-3"),
    ]
    assert {one["reason"] for one in found} == {"dropped"}
    assert set(found[0]) == DOCUMENTED["runner budget unknown --json"]
    said = runner("budget", "unknown").stdout
    assert "req-2" in said
    assert "2 unknown, " in said


def test_a_requests_own_cost_is_what_it_counts_for_from_then_on(runner, lost):
    assert counted(lost) == (20, 224)
    found = reconcile(runner, "request_id,cost_usd\nreq-2,0.000000050\nreq-9,1\n")
    assert [(one["call"], one["held_nano_usd"], one["cost_nano_usd"]) for one in found["lowered"]] == [
        ("1.2.1", 112, 50)
    ]
    assert [one["call"] for one in found["unknown"]] == ["1.3.1"]
    assert set(found) == DOCUMENTED["runner budget reconcile --json"]
    assert set(found["lowered"][0]) == DOCUMENTED["lowered of runner budget reconcile --json"]
    assert counted(lost) == (70, 112)
    assert '"kind":"CallReconciled"' in runner("log", "r1", "--json").stdout
    assert runner("log", "verify", "r1").returncode == 0
    # the same report says nothing new
    assert reconcile(runner, "request_id,cost_usd\nreq-2,0.000000050\n")["lowered"] == []
    assert counted(lost) == (70, 112)


def test_a_cost_above_the_hold_is_recorded_and_not_clipped(runner, lost):
    reconcile(runner, "request_id,cost_usd\nreq-2,0.0000002\n")
    assert counted(lost) == (220, 112)
    assert '"kind":"BoundViolated"' in runner("log", "r1", "--json").stdout


def test_no_call_of_a_span_cost_more_than_its_whole_bill(runner, lost):
    # the call that is known may be on another bill, and either of the lost ones may be the one that was billed
    found = reconcile(runner, window("0.00000005"))
    assert [(one["call"], one["cost_nano_usd"]) for one in found["lowered"]] == [("1.2.1", 50), ("1.3.1", 50)]
    assert counted(lost) == (120, 0)
    assert reconcile(runner, window("0.00000005"))["lowered"] == []
    assert counted(lost) == (120, 0)


def test_a_span_that_was_billed_nothing_frees_all_of_it(runner, lost):
    reconcile(runner, window("0"))
    assert counted(lost) == (20, 0)


def another(runner, lost: State, event: CallUnknown | CallSettled, *, model: str = MODEL) -> None:
    """A second run, whose one call ends as said."""
    with closing(lost.open()) as database:
        (created,) = [
            stamped.event
            for row in journal.rows(database, "r1")
            if row.kind == "RunCreated" and (stamped := journal.known("r1", row)) is not None
        ]
        assert isinstance(created, RunCreated)
        scopes = (Scope(ScopeKind.RUN, "r2"), USER)
        recorder = create_run(database, replace(created, run="r2", scopes=scopes), FakeClock(at=BEGAN, step_ms=1))
        take_over(recorder, model)
        recorder.record(IterationStarted(iteration=1, system="", prompt=""))
        recorder.record(replace(dispatch(1), model=model))
        recorder.record(event)


TWICE: list[CallUnknown | CallSettled] = [
    CallUnknown(call=CallId(1, 1, 1), reason="dropped", request_id="req-2"),
    replace(settled(1), request_id="req-2"),
]


@pytest.mark.parametrize("other", TWICE, ids=["unknown", "settled"])
def test_an_id_that_two_calls_had_is_evidence_for_neither(runner, lost, other):
    another(runner, lost, other)
    before = counted(lost)
    found = reconcile(runner, "request_id,cost_usd\nreq-2,0.000000050\n")
    refused = {(one["run"], one["call"]): one["refused"] for one in found["lowered"]}
    assert "call 1.1.1 of run r2 had the id req-2, too" in refused["r1", "1.2.1"]
    assert len(refused) == 1 + isinstance(other, CallUnknown)
    assert all(refused.values())
    assert counted(lost) == before


def test_a_forgotten_runs_ids_are_still_taken(runner, lost):
    another(runner, lost, TWICE[1])
    with closing(lost.open()) as database, database.transaction(durable=True) as tx:
        journal.forget(tx, "r2")
    found = reconcile(runner, "request_id,cost_usd\nreq-2,0.000000050\n")
    assert "1.1.1 of run r2" in found["lowered"][0]["refused"]
    assert counted(lost) == (40, 224)


def test_a_report_may_say_which_model_a_request_was_for(runner, lost):
    another(runner, lost, TWICE[0], model="desk/small")
    found = reconcile(runner, "request_id,model,cost_usd\nreq-2,desk/small,0.00000003\nreq-3,desk/small,0\n")
    assert [(one["run"], one["cost_nano_usd"], one["refused"]) for one in found["lowered"]] == [("r2", 30, None)]
    assert counted(lost) == (50, 224)


@pytest.mark.parametrize(
    "text",
    [
        window("0.000000112"),  # as much as counts already
        window("0", start=BEGAN + HOUR),  # before it began
        window("0", end=BEGAN + HOUR // 2),  # might have been billed after it ended
        window("0", end=NOW - HOUR),  # not reported whole yet
        window("0", model="openai/gpt-5-mini"),
        "request_id,cost_usd\nreq-1,0\n",  # what was settled stays settled
    ],
    ids=["bound", "began", "late", "fresh", "other", "settled"],  # not the times, which differ between processes
)
def test_what_is_no_evidence_lowers_nothing(runner, lost, text):
    assert reconcile(runner, text)["lowered"] == []
    assert counted(lost) == (20, 224)


def test_a_driven_run_keeps_its_holds_until_it_stands_still(runner, lost):
    lease = Lease(lost.run("r1").lease, "run r1")
    found = reconcile(runner, window("0"), code=75)
    assert [one["refused"] for one in found["lowered"]] == 2 * ["its run is being driven; again when it stands still"]
    assert counted(lost) == (20, 224)
    lease.release()
    reconcile(runner, window("0"))
    assert counted(lost) == (20, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request,cost_usd\na,1\n", ["usage.csv:1", "unknown column 'request'", "Did you mean 'request_id'?"]),
        ("request_id\na\n", ["usage.csv:1", "columns are missing"]),
        ("request_id,cost_usd\na,free\n", ["usage.csv:2", "not an amount of US dollars: 'free'"]),
        ("request_id,cost_usd\na,-1\n", ["usage.csv:2", "not an amount"]),
        ("request_id,cost_usd\na,1\na,1\n", ["usage.csv:3", "said before"]),
        ("request_id,cost_usd\na\n", ["usage.csv:2", "too few values"]),
        ("request_id,cost_usd,model\na,1,b/c\na,1,b/d\na,2,b/c\n", ["usage.csv:4", "said before"]),
        (window("1").replace("+00:00", ""), ["usage.csv:2", "not a time in UTC"]),
        (window("1", end=BEGAN - 2 * HOUR), ["usage.csv:2", "ends before it begins"]),
        (window("1") + window("1", start=BEGAN).partition("\n")[2], ["usage.csv:3", "said before"]),
        ("", ["usage.csv:1", "columns are missing"]),
    ],
    ids=[str(number) for number in range(11)],
)
def test_a_report_that_cannot_be_meant_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "usage.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        evidence.read(path)
    assert all(part in str(caught.value) for part in said), caught.value


def test_a_broken_report_changes_nothing(runner, lost):
    path = runner.write("usage.csv", window("0") + "soon,later,openai/gpt-5,0\n")
    done = runner("budget", "reconcile", "--from", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage.csv:3" in done.stderr
    assert counted(lost) == (20, 224)


def test_a_request_that_was_really_lost_can_be_found_in_a_report(runner):
    lines = ({"recording": 1, "model": MODEL}, {"otherwise": True, "text": "Done.\n<promise>COMPLETE</promise>"})
    recording = Recording.parse("\n".join(map(json.dumps, lines)), runner.cwd / "r.jsonl")
    runner.write("spec.md", "# Work\n\nDo the work.\n")
    with ScriptedProvider(Script(recording=recording, faults=(Fault.DROP_MIDSTREAM,))) as provider:
        runner.env |= {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "OPENAI_BASE_URL": provider.url}
        assert runner("loop", "spec.md", "--model", MODEL, "--in-place").returncode in {0, 2}
    (lost,) = json.loads(runner("budget", "unknown", "--json").stdout)
    assert lost["request_id"]
    cost = provider.billed[0].billed_nano_usd
    assert 0 < cost < lost["unknown_nano_usd"]
    found = reconcile(runner, f"request_id,cost_usd\n{lost['request_id']},{cost / 10**9:.9f}\n")
    assert (found["lowered"][0]["cost_nano_usd"], found["unknown"]) == (cost, [])
