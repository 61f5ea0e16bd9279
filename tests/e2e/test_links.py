"""An approval by those who can prove who they are: the loop parks, a server takes the answer, the call runs once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import Runner
from tests.e2e.test_approvals import NAMED, deployed, deploys, policy, waiting

__all__ = ["deploys"]
ROOT = os.getuid() == 0


@contextmanager
def serving(runner: Runner, *words: str) -> Iterator[str]:
    """A server of approvals; gives how its links begin."""
    server = runner.start("approvals", "serve", "--listen", "127.0.0.1:0", *words)
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert first.startswith("links   http://127.0.0.1:"), first + server.communicate()[1]
        assert server.stdout.readline().startswith("socket  ")
        yield first.split()[1].removesuffix("/a/…")
    finally:
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
        assert (server.returncode, err) == (0, ""), out + err


def opened(url: str, **form: str) -> int:
    """The status of a page that is looked at, or posted to."""
    data = urllib.parse.urlencode(form).encode() if form else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data=data), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def link(runner: Runner, person: str, base: str) -> str:
    done = runner("approvals", "link", "a-", person, "--url", base)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_parked_call_runs_once_after_somebody_answered_by_link(deploys: Runner) -> None:
    policy(deploys, NAMED)
    assert deploys("loop", "spec.md").returncode == 75
    stranger = deploys("approvals", "link", "last", "mallory")
    assert (stranger.returncode, "mallory cannot answer this" in stranger.stderr) == (1, True), stranger.stderr
    with serving(deploys) as base:
        url = link(deploys, "alice", base)
        # whoever scans mail opens links
        assert [opened(url), opened(url)] == [200, 200]
        assert deploys("loop", "spec.md").returncode == 75
        assert deployed(deploys) == ""

        assert opened(url, answer="approve", note="seen") == 200
        done = deploys("loop", "spec.md")
        assert done.returncode == 0, done.stdout + done.stderr
        assert deployed(deploys) == "deployed prod\n"
        # the same link, and one that was made before
        assert opened(url, answer="approve") == 410
        assert deploys("approvals", "link", "a-", "bob").returncode == 2
    assert deploys("loop", "spec.md", "--new").returncode == 75
    assert not [one for one in deploys.events("ToolStarted") if one["body"]["approval"]]
    done = deploys("audit", "verify")
    assert done.returncode == 0, done.stdout
    lines = [json.loads(line) for line in deploys("audit", "export").stdout.splitlines()]
    (vote,) = [one for one in lines if one["event"] == "approval.voted"]
    assert (vote["approver"], vote["identity"], vote["outcome"], vote["detail"]) == ("alice", "link", "approve", "seen")
    (start,) = [one for one in lines if one["event"] == "tool.started" and one["approval"]]
    assert (start["decision"], start["approver"], start["rule"]) == ("ask", "alice (link)", "deploys")
    assert start["owner"] not in {"", start["approver"]}
    assert start["agent"].startswith("builtin ")


@pytest.mark.skipif(not ROOT, reason="needs root, to speak as another user")
def test_another_user_of_the_machine_answers_at_the_socket(deploys: Runner) -> None:
    """The state directory is closed to that user: everything goes through the socket."""
    import tempfile
    from pathlib import Path

    policy(deploys, NAMED.replace("alice", "nobody"))
    assert deploys("loop", "spec.md").returncode == 75
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        path = f"{folder}/socket"
        with serving(deploys, "--socket", path):
            (question,) = waiting(deploys)
            assert deploys("approvals", "approve", "last").returncode == 1
            request = {"want": "answer", "approval": question["approval"], "approve": True, "by": "root"}
            code = (
                "import os, socket, sys\n"
                "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
                "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())\n"
            )
            argv = ["/usr/bin/python3", "-I", "-c", code, path, json.dumps(request)]
            said = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
            assert json.loads(said)["text"] == "approved by nobody (peercred)"
    assert deploys("loop", "spec.md").returncode == 0
    assert deployed(deploys) == "deployed prod\n"


def test_the_owner_of_a_run_answers_his_own_nowhere(deploys: Runner) -> None:
    import pwd

    me = pwd.getpwuid(os.getuid()).pw_name
    policy(deploys, NAMED.replace("alice", me))
    assert deploys("loop", "spec.md").returncode == 75
    with serving(deploys) as base:
        assert opened(link(deploys, me, base), answer="approve") == 410
        said = deploys("approvals", "approve", "last")
        assert (said.returncode, "nobody approves his own" in said.stderr) == (1, True), said.stdout + said.stderr
    said = deploys("approvals", "approve", "last")
    assert (said.returncode, "does not count" in said.stdout) == (1, True), said.stdout + said.stderr
    assert deploys("loop", "spec.md").returncode == 75
    assert deployed(deploys) == ""


def test_what_cannot_be_served_is_said(deploys: Runner) -> None:
    deploys("loop", "spec.md")
    for words, told in (
        (("--listen", "0.0.0.0:0"), "without TLS"),
        (("--listen", "nowhere"), "not a host and a port"),
        (("--webhook", "https://hooks.example.com"), "not signed"),
        (("--webhook", "http://hooks.example.com"), "without TLS"),
    ):
        done = deploys("approvals", "serve", *words)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    with serving(deploys):
        again = deploys("approvals", "serve", "--listen", "127.0.0.1:0")
        assert (again.returncode, "held by another process" in again.stderr) == (75, True)
        done = deploys("clean", "--all", "--yes")
        assert (done.returncode, "approvals are served from here" in done.stderr) == (75, True)
    deploys.env["RUNNER_APPROVALS_SOCKET"] = str(deploys.cwd / "none")
    done = deploys("approvals", "list")
    assert (done.returncode, "nobody serves approvals" in done.stderr) == (73, True)
