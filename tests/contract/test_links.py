"""One-time links: GET shows, POST answers; used twice, late, forged or for another action they answer nothing."""

import http.client
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec import structs

from runner.app.links import key_at
from runner.errors import ConfigError
from runner.events.facts import ApprovalDecided, ApprovalVoted
from runner.store.recorder import open_run
from runner.values import Vote
from tests.contract.serving_parts import SECRET, Waiting, get, now, post, waiting
from tests.contract.store_parts import Clock

__all__ = ["waiting"]


def test_a_link_is_looked_at_as_often_as_anybody_likes_and_answers_once(waiting: Waiting):
    with waiting.served() as served:
        url = f"{served.url}/a/{waiting.link()}"
        for method in ("GET", "HEAD", "GET"):
            assert get(url, method)[0] == 200
        assert waiting.votes() == []

        status, page = post(url, answer="approve", note="checked  with\nops\u202e \x1b[2J")
        assert (status, "approved by alice (link)" in page) == (200, True)
        (vote,) = waiting.votes()
        assert vote == Vote(by="alice", approve=True, identity="link", note="checked with ops\ufffd \ufffd[2J")

        for answer in ("approve", "deny"):
            status, page = post(url, answer=answer)
            assert (status, "used before" in page) == (410, True)
        assert get(url)[0] == 410
        assert len(waiting.votes()) == 1


def test_the_page_shows_what_would_run_and_nothing_in_it_is_markup(waiting: Waiting):
    with waiting.served() as served:
        _, page, headers = get(f"{served.url}/a/{waiting.link()}")
    assert "deploy &lt;b&gt;--now&lt;/b&gt;" in page
    assert "<b>--now" not in page
    assert SECRET not in page
    assert "You answer as <b>alice</b>" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")


def test_links_that_are_forged_late_or_for_something_else_answer_nothing(waiting: Waiting):
    good = waiting.link()
    payload, _, signature = good.partition(".")
    other = key_at(waiting.state.root / "other.key")
    read = key_at(waiting.state.approvals / "key").read(good)
    bad = {
        "no signature": payload,
        "another payload": f"{payload[:-2]}xx.{signature}",
        "another key": other.sign(read),
        "unsigned": f"{payload}.",
        "upper case": f"{payload}.{signature.upper()}",
        "not ASCII": f"{payload}.%C3%A9",
        "endless": "A" * 60_000,
        "late": waiting.link(until=now() - 1),
        "another approval": waiting.link(approval="a-9"),
        "another action": waiting.signed(structs.replace(read, action="d2" * 32)),
        "another run": waiting.signed(structs.replace(read, run="run-x")),
    }
    with waiting.served() as served:
        for name, link in bad.items():
            status, _ = post(f"{served.url}/a/{link}", answer="approve")
            assert status in {410, 414}, name
        for form in ({}, {"answer": "yes"}, {"answer": ""}):
            assert post(f"{served.url}/a/{good}", **form)[0] == 400
        assert get(f"{served.url}/")[0] == 404
        assert post(f"{served.url}/b/{good}", answer="approve")[0] == 404
    assert waiting.votes() == []


def test_nobody_approves_what_his_own_run_asks_and_no_stranger_answers(waiting: Waiting):
    waiting.ask("a-2", owner="alice (uid 1000)")
    with waiting.served() as served:
        status, page = post(f"{served.url}/a/{waiting.link('alice', 'a-2')}", answer="approve")
        assert (status, "nobody approves his own" in page) == (410, True)
        for answer in ("approve", "deny"):
            status, page = post(f"{served.url}/a/{waiting.link('mallory')}", answer=answer)
            assert (status, "has no say in this" in page) == (410, True)
        assert (waiting.votes("a-2"), waiting.votes()) == ([], [])

        # a no of one's own needs nobody, and a link that brought nothing was not used up
        assert post(f"{served.url}/a/{waiting.link('alice', 'a-2')}", answer="deny")[0] == 200
        (vote,) = waiting.votes("a-2")
        assert (vote.approve, vote.own) == (False, True)


def test_a_closed_question_takes_no_answer(waiting: Waiting):
    waiting.ask("a-3", lasts_s=0)
    open_run(waiting.database, "run-a-1", Clock()).record(ApprovalDecided(approval="a-1", outcome="void"))
    with waiting.served() as served:
        for approval in ("a-1", "a-3"):
            assert post(f"{served.url}/a/{waiting.link(approval=approval)}", answer="approve")[0] == 410
    assert (waiting.votes("a-1"), waiting.votes("a-3")) == ([], [])


def test_one_link_at_the_same_moment_from_everywhere_is_one_vote(waiting: Waiting):
    with waiting.served() as served:
        url = f"{served.url}/a/{waiting.link()}"
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(post(url, answer="approve")[0])) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200, *[410] * 11]
    assert len(waiting.votes()) == 1


@pytest.mark.parametrize("length", ["", "-1", "x", "5000"])
def test_a_form_without_an_honest_length_is_refused(waiting: Waiting, length: str):
    with waiting.served() as served:
        connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
        connection.putrequest("POST", f"/a/{waiting.link()}")
        if length:
            connection.putheader("Content-Length", length)
        connection.endheaders(b"answer=approve")
        assert connection.getresponse().status == 400
        connection.close()
    assert waiting.votes() == []


def test_a_link_is_spent_in_the_transaction_that_leaves_its_vote(waiting: Waiting):
    from runner.store.links import is_spent, leave_vote

    voted = ApprovalVoted(approval="a-1", vote=Vote(by="alice", approve=True, identity="link"), link="j1")
    assert leave_vote(waiting.database, "run-a-1", voted, 1)
    assert not leave_vote(waiting.database, "run-a-1", replace(voted, approval="a-1"), 2)
    assert is_spent(waiting.database, "j1")
    assert len(waiting.votes()) == 1


def test_the_key_is_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "key"
    made = key_at(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_at(path) == made
    assert repr(made) == "LinkKey(…)"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="readable by nobody else"):
        key_at(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        key_at(path)
