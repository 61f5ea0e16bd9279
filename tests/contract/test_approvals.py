"""A call that needs people, on a real store: who is asked, what an answer is bound to, and that it counts once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runner.events import facts
from runner.policy.model import Policy
from runner.values import Effect, Ruling, StopKind, ToolCall, Vote
from tests.contract.approval_parts import ATTENDED, GO, PARKING, SECURITY, YOU, Case, asks, own, says


@pytest.fixture
def prod(tmp_path: Path) -> Case:
    """A gate that names approvers, asked about in an unattended run, which has parked."""
    made = Case(tmp_path, gates=(SECURITY,), policy=Policy(), replies=[asks(GO)])
    stop = made.drive()
    assert stop is not None
    assert (stop.kind, stop.rule) == (StopKind.PARKED, "approval")
    return made


def test_a_parked_call_runs_once_after_a_member_said_yes(prod: Case) -> None:
    assert prod.tools.ran == []
    prod.vote(says("alice"))
    stop = prod.drive()
    assert stop is not None
    assert stop.kind is StopKind.DONE
    assert prod.tools.ran == [GO]
    (started,) = prod.events(facts.ToolStarted)
    assert isinstance(started, facts.ToolStarted)
    assert started.approval == prod.question.request.approval
    assert started.decision is not None
    assert (started.decision.ruling, started.decision.approver) == (Ruling.ASK, "alice (link)")
    assert prod.question.consumed


def test_approving_twice_runs_it_once(prod: Case) -> None:
    prod.vote(says("alice"))
    prod.vote(says("bob"))
    prod.vote(says("alice"))
    prod.drive()
    prod.vote(says("bob"))
    prod.drive()
    assert prod.tools.ran == [GO]


def test_a_second_firing_while_parked_asks_nobody_anew(prod: Case) -> None:
    for _ in range(2):
        stop = prod.drive()
        assert stop is not None
        assert stop.exit_code == 75
    assert len(prod.events(facts.ApprovalRequested)) == 1


CHANGES: dict[str, Callable[[Case], None]] = {
    "cwd": lambda case: setattr(case.around, "cwd", "sub"),
    "tool schema": lambda case: setattr(case.around, "schema", "v2"),
    "sandbox": lambda case: setattr(case.around, "sandbox", "none"),
    "environment": lambda case: setattr(case.around, "environment", ("PATH", "LD_PRELOAD")),
    "programs": lambda case: setattr(case.around, "program", "/tmp/sh"),
    "policy": lambda case: setattr(case.around, "policy", "p2"),
    "file deploy.sh": lambda case: case.files.files.update({"deploy.sh": b"echo onf"}),
}


@pytest.mark.parametrize("part", CHANGES)
def test_what_changed_after_the_approval_does_not_run(prod: Case, part: str) -> None:
    prod.vote(says("alice"))
    prod.until_it_would_run()
    CHANGES[part](prod)
    prod.run_the_tool()
    assert prod.tools.ran == []
    assert prod.said().startswith(f"not run: what was approved is not what would run now ({part})")


def test_one_byte_of_the_arguments_is_another_question(prod: Case) -> None:
    prod.vote(says("alice"))
    other = ToolCall("t1", "go", GO.arguments.replace("prod", "prox"))
    prod.replies += [asks(other)]
    stop = prod.drive()
    assert prod.tools.ran == [GO]
    assert stop is not None
    assert stop.kind is StopKind.PARKED
    assert prod.question.request.call == other


def test_a_start_on_an_approval_is_refused_in_its_transaction_if_anything_is_amiss(prod: Case) -> None:
    prod.vote(says("alice"))
    prod.until_it_would_run()
    recorder, decision = prod.driver(), prod.question.request.decision
    good = facts.ToolStarted(
        call=GO, effect=Effect.COMMANDS, decision=decision, approval=prod.question.request.approval
    )
    for bad in (
        replace(good, approval=""),
        replace(good, approval="a-000000000000"),
        replace(good, decision=replace(decision, action="other")),
        replace(good, decision=replace(decision, policy="other")),
        replace(good, decision=replace(decision, ruling=Ruling.DENY)),
    ):
        assert isinstance(recorder.record(facts.StartTool(started=bad)), facts.ToolRefused)
    assert isinstance(recorder.record(facts.StartTool(started=good)), facts.ToolStarted)
    again = recorder.record(facts.StartTool(started=good))
    assert isinstance(again, facts.ToolRefused)
    assert again.reason == "not run: the approval was for one call, and that has run"


def test_after_its_time_nothing_starts_on_it(prod: Case) -> None:
    prod.vote(says("alice"))
    prod.until_it_would_run()
    prod.later(3_600)
    prod.drive()
    assert prod.tools.ran == []


def test_a_no_that_comes_before_the_start_comes_in_time(prod: Case) -> None:
    prod.vote(says("alice"))
    prod.until_it_would_run()
    prod.vote(says("bob", yes=False))
    prod.drive()
    assert prod.tools.ran == []
    assert prod.said() == "not run: it is not approved any more: denied by bob (link)"


def test_time_runs_out_while_parked_and_the_model_is_told_once(prod: Case) -> None:
    prod.later(3_600)
    prod.vote(says("alice"))  # too late
    stop = prod.drive()
    assert stop is not None
    assert stop.kind is StopKind.DONE
    assert prod.tools.ran == []
    assert prod.question.outcome == "expired"
    assert prod.said() == "not approved: nobody approved it in time, so do not try it or a variant of it again"


def test_a_gate_may_stop_the_run_when_time_runs_out_and_a_resume_asks_again(tmp_path: Path) -> None:
    case = Case(tmp_path, gates=(replace(SECURITY, on_timeout="stop"),), policy=Policy(), replies=[asks(GO)])
    case.drive()
    case.later(3_600)
    stop = case.drive()
    assert stop is not None
    assert (stop.kind, stop.rule) == (StopKind.DENIED, "approval.timeout")
    again = case.drive()
    assert again is not None
    assert (again.kind, again.rule) == (StopKind.PARKED, "approval")
    assert len(case.events(facts.ApprovalRequested)) == 2
    case.vote(says("bob"))
    case.drive()
    assert case.tools.ran == [GO]


@pytest.mark.parametrize(
    "vote",
    [
        own(),
        own(identity="unproved"),
        own(identity="peercred"),
        says("carol"),  # by a link, in the owner's own name
        says("alice", identity="peercred", uid=1000),  # under a colleague's name, with the owner's user id
        says("alice", identity="unproved"),
        says("alice", identity="terminal"),
        says("mallory"),
    ],
)
def test_no_channel_lets_the_owner_or_a_stranger_approve(tmp_path: Path, vote: Vote) -> None:
    gate = replace(SECURITY, groups={"security": ("alice", "bob", "carol")})
    case = Case(tmp_path, gates=(gate,), policy=Policy(), replies=[asks(GO)])
    case.drive()
    case.vote(vote)
    stop = case.drive()
    assert stop is not None
    assert stop.kind is StopKind.PARKED
    assert case.tools.ran == []
    assert len(case.question.votes) == 1


def test_a_changed_policy_makes_every_open_question_void_and_decides_again(prod: Case) -> None:
    prod.around.policy, prod.around.ruling = "p2", Ruling.ALLOW
    prod.drive()
    assert prod.question.outcome == "void"
    assert prod.tools.ran == [GO]


def test_somebody_working_in_the_workspace_meanwhile_makes_it_void(prod: Case) -> None:
    prod.vote(says("alice"))
    prod.files.files["other.txt"] = b"somebody was here"
    prod.drive()
    assert prod.question.outcome == "void"
    assert prod.tools.ran == []


def test_one_no_ends_it_and_the_model_is_told_by_whom(prod: Case) -> None:
    prod.vote(says("bob", yes=False, note="not on a Friday"))
    prod.vote(says("alice"))
    prod.replies += [asks(replace(GO, id="t1"))]
    prod.drive()
    assert prod.tools.ran == []
    told = [one.reason for one in prod.events(facts.ToolRefused) if isinstance(one, facts.ToolRefused)]
    assert told == [
        "not approved: denied by bob (link): not on a Friday, so do not try it or a variant of it again",
        "not approved: denied by bob (link): not on a Friday, as before",
    ]
    assert len(prod.events(facts.ApprovalRequested)) == 1


def test_an_unattended_run_denies_what_only_its_owner_could_approve_and_goes_on(tmp_path: Path) -> None:
    case = Case(tmp_path, policy=Policy(on_ask="deny"), replies=[asks(GO)])
    stop = case.drive()
    assert stop is not None
    assert stop.kind is StopKind.DONE
    assert case.tools.ran == []
    assert case.events(facts.ApprovalRequested) == []
    assert case.said().startswith("denied: it needs an approval, and an unattended run asks nobody")


def test_it_may_stop_instead(tmp_path: Path) -> None:
    case = Case(tmp_path, policy=Policy(on_ask="stop"), replies=[asks(GO)])
    stop = case.drive()
    assert stop is not None
    assert (stop.kind, stop.rule, stop.exit_code) == (StopKind.DENIED, "approval", 7)


def test_a_person_at_the_terminal_is_asked_and_recorded_as_the_owner(tmp_path: Path) -> None:
    case = Case(tmp_path, policy=ATTENDED, replies=[asks(GO)])
    case.person.answers = [own()]
    case.drive()
    assert case.person.asked == ["./deploy.sh prod"]
    assert case.tools.ran == [GO]
    assert case.question.approver == "carol (terminal, self)"


@pytest.mark.parametrize(("scope", "questions"), [("once", 2), ("run", 1)])
def test_an_answer_reaches_as_far_as_it_was_given(tmp_path: Path, scope: str, questions: int) -> None:
    case = Case(tmp_path, policy=ATTENDED, replies=[asks(GO), asks(replace(GO, id="t1"))])
    case.person.answers = [own(scope=scope), own()]
    case.drive()
    assert len(case.person.asked) == questions
    assert len(case.tools.ran) == 2


def test_an_answer_for_the_run_is_for_exactly_this_action(tmp_path: Path) -> None:
    other = ToolCall("t1", "go", GO.arguments.replace("prod", "prox"))
    case = Case(tmp_path, policy=ATTENDED, replies=[asks(GO), asks(other)])
    case.person.answers = [own(scope="run")]
    case.drive()
    assert len(case.person.asked) == 2
    assert case.tools.ran == [GO]


def test_a_gate_that_does_not_list_it_remembers_nothing(tmp_path: Path) -> None:
    gate = replace(YOU, remember=("once",))
    case = Case(tmp_path, gates=(gate,), policy=ATTENDED, replies=[asks(GO), asks(replace(GO, id="t1"))])
    case.person.answers = [own(scope="run"), own(yes=False)]
    case.drive()
    assert len(case.person.asked) == 2
    assert case.tools.ran == [GO]


def test_nobody_at_the_terminal_is_a_no(tmp_path: Path) -> None:
    case = Case(tmp_path, policy=ATTENDED, replies=[asks(GO)])
    case.drive()
    assert case.tools.ran == []
    assert case.said().startswith("not approved: nobody answered at this terminal")


def test_a_stop_while_somebody_is_asked_ends_the_run_and_the_question_stays_open(tmp_path: Path) -> None:
    case = Case(tmp_path, policy=ATTENDED, replies=[asks(GO)])
    case.person.meanwhile = lambda: case.leave(facts.StopAsked(by="SIGINT", now=False))
    stop = case.drive()
    assert stop is not None
    assert stop.kind is StopKind.INTERRUPTED
    assert case.question.outcome == ""
    case.person.meanwhile = lambda: None
    case.person.answers = [own()]
    case.drive()
    assert case.tools.ran == [GO]


def test_whoever_is_asked_all_the_time_is_asked_no_more(tmp_path: Path) -> None:
    calls = [replace(GO, id=f"t{n}", arguments=f'{{"n": {n}}}') for n in range(4)]
    policy = replace(ATTENDED, asks_per_hour=2)
    case = Case(tmp_path, policy=policy, replies=[asks(one) for one in calls])
    case.person.answers = [own() for _ in calls]
    stop = case.drive()
    assert stop is not None
    assert (stop.kind, stop.rule) == (StopKind.DENIED, "approval.fatigue")
    assert len(case.tools.ran) == 2
    case.later(3_600)
    case.person.answers = [own() for _ in calls]
    case.drive()
    assert len(case.tools.ran) > 2


def test_half_its_time_gone_somebody_is_reminded_once(prod: Case) -> None:
    prod.drive()
    assert prod.events(facts.ApprovalReminded) == []
    prod.later(1_800)
    for _ in range(2):
        prod.drive()
    assert len(prod.events(facts.ApprovalReminded)) == 1
    assert prod.question.outcome == ""


def test_amended_arguments_are_decided_from_the_start(prod: Case) -> None:
    prod.vote(says("alice"), arguments='{"argv": ["./deploy.sh", "staging"]}')
    stop = prod.drive()
    assert stop is not None
    assert stop.kind is StopKind.PARKED
    first, second = prod.state.approvals.values()
    assert (first.outcome, second.outcome) == ("amended", "")
    assert second.request.call.arguments == '{"argv": ["./deploy.sh", "staging"]}'
    prod.vote(says("bob"))
    prod.drive()
    assert [one.arguments for one in prod.tools.ran] == ['{"argv": ["./deploy.sh", "staging"]}']


@pytest.mark.parametrize("by", ["carol", "mallory"])
def test_only_who_may_approve_may_amend(prod: Case, by: str) -> None:
    prod.vote(says(by), arguments='{"argv": ["./deploy.sh", "staging"]}')
    prod.drive()
    assert prod.question.outcome == ""
    assert len(prod.state.approvals) == 1


def test_what_is_too_long_to_show_is_asked_of_nobody(tmp_path: Path) -> None:
    case = Case(tmp_path, gates=(SECURITY,), policy=PARKING, replies=[asks(GO)])
    case.around.shown = "x" * 300_000
    case.drive()
    assert case.events(facts.ApprovalRequested) == []
    assert "too long" in case.said()


def test_an_ask_without_a_gate_is_a_no(tmp_path: Path) -> None:
    case = Case(tmp_path, gates=(), policy=ATTENDED, replies=[asks(GO)])
    case.person.answers = [own()]
    case.drive()
    assert (case.person.asked, case.tools.ran) == ([], [])


@pytest.mark.parametrize("effect", [Effect.COMMANDS, Effect.WRITES])
def test_a_driver_that_dies_between_consuming_and_running_leaves_a_call_that_is_not_repeated(
    prod: Case, effect: Effect
) -> None:
    prod.vote(says("alice"))
    prod.until_it_would_run()
    question = prod.question.request
    started = facts.ToolStarted(call=GO, effect=effect, decision=question.decision, approval=question.approval)
    prod.driver().record(facts.StartTool(started=started))
    prod.drive()
    assert prod.tools.ran == []
    (finished,) = prod.events(facts.ToolFinished)
    assert isinstance(finished, facts.ToolFinished)
    assert finished.interrupted


def test_votes_that_name_nothing_or_come_in_floods_change_nothing(prod: Case) -> None:
    prod.vote(says("alice"), approval="a-nothing")
    for number in range(200):
        prod.vote(says(f"m{number}"))
    prod.drive()
    assert prod.question.outcome == ""
    assert len(prod.question.votes) == 50
