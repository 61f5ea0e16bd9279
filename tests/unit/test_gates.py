"""Who must say yes, and which votes say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events.facts import ApprovalRequested, ApprovalVoted
from runner.policy.gates import Tally, tally
from runner.values import Decision, Gate, Ruling, ToolCall, Vote

OWNER = "carol (uid 1000)"
GROUPS: dict[str, tuple[str, ...]] = {"security": ("alice", "bob"), "platform": ("dan", "alice")}
TWO = Gate(id="two", groups=GROUPS, least=2, each=1)


def request(*gates: Gate) -> ApprovalRequested:
    return ApprovalRequested(
        approval="a-1",
        call=ToolCall("t", "run", "{}"),
        decision=Decision(ruling=Ruling.ASK, owner=OWNER),
        shown="x",
        gates=gates,
        expires_at=1_000,
    )


def yes(by: str, identity: str = "link", uid: int = -1) -> ApprovalVoted:
    return ApprovalVoted(approval="a-1", vote=Vote(by=by, approve=True, identity=identity, uid=uid))


def no(by: str, identity: str = "link") -> ApprovalVoted:
    return ApprovalVoted(approval="a-1", vote=Vote(by=by, approve=False, identity=identity))


def told(*votes: ApprovalVoted, gates: tuple[Gate, ...] = (TWO,), now: int = 0) -> Tally:
    return tally(request(*gates), votes, now)


@pytest.mark.parametrize(
    ("votes", "missing"),
    [
        ((), "two: 2 more of security, platform, 1 of security, 1 of platform"),
        ((yes("alice"),), "two: 1 more of security, platform"),
        ((yes("alice"), yes("alice", "peercred")), "two: 1 more of security, platform"),
        ((yes("dan", "peercred", 7), yes("bob", "peercred", 7)), "two: 1 more of security, platform, 1 of security"),
        ((yes("bob"), yes("mallory")), "two: 1 more of security, platform, 1 of platform"),
        ((yes("bob"), yes("dan", "unproved")), "two: 1 more of security, platform, 1 of platform"),
    ],
)
def test_who_is_still_missing_is_said(votes: tuple[ApprovalVoted, ...], missing: str) -> None:
    found = told(*votes)
    assert (found.outcome, found.missing) == ("", missing)


def test_enough_people_one_of_each_group() -> None:
    found = told(yes("bob"), yes("dan", "peercred", 1001))
    assert (found.outcome, found.approver) == ("approved", "bob (link), dan (peercred)")
    more = Gate(id="more", groups={"law": ("eve",)})
    assert told(yes("bob"), yes("dan"), gates=(TWO, more)).missing == "more: 1 more of law"


def test_a_no_ends_it_whoever_says_yes_unless_it_is_a_strangers() -> None:
    assert told(yes("bob"), yes("dan"), no("alice")).outcome == "denied"
    assert told(yes("bob"), yes("dan"), no("carol", "unproved")).outcome == "denied"
    assert told(yes("bob"), yes("dan"), no("mallory")).outcome == "approved"


def test_time_that_is_over_approves_nothing() -> None:
    assert told(yes("bob"), yes("dan"), now=999).outcome == "approved"
    assert told(yes("bob"), yes("dan"), now=1_000).outcome == "expired"


_NAMES = st.sampled_from(["alice", "bob", "carol", "dan", "mallory"])
_VOTES = st.builds(
    ApprovalVoted,
    approval=st.just("a-1"),
    vote=st.builds(
        Vote,
        by=_NAMES,
        approve=st.booleans(),
        identity=st.sampled_from(["terminal", "unproved", "peercred", "link", "made up"]),
        uid=st.sampled_from([-1, 0, 1000, 1001]),
        own=st.booleans(),
        scope=st.sampled_from(["once", "run", "ever"]),
    ),
)


@given(votes=st.lists(_VOTES, max_size=6), self_too=st.booleans(), least=st.integers(0, 3))
def test_whatever_is_voted_an_approval_has_enough_proved_members_who_are_not_the_owner(
    votes: list[ApprovalVoted], self_too: bool, least: int
) -> None:
    gate = Gate(id="g", groups={**GROUPS, "owners": ("carol",)}, least=least, allow_self=self_too)
    found = told(*votes, gates=(gate,))
    assert found.outcome in {"", "approved", "denied"}
    if found.outcome == "approved" and not self_too:
        good = {
            one.vote.by
            for one in votes
            if one.vote.approve
            and one.vote.identity in {"peercred", "link"}
            and not one.vote.own
            and one.vote.uid != 1000
            and one.vote.by in {"alice", "bob", "dan"}
        }
        assert len(good) >= max(1, least)
    assert told(*votes, no("alice"), gates=(gate,)).outcome == "denied"
